"""Many categories: a model for each."""
