"""Modules weighed and dropped by labelled defects, and what each of them costs."""
