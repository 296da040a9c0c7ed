"""The processes that score: a bounded pool of them, what each does, and the bundles that they hold."""
