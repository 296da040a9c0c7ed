"""A fitted model as one value, what it says of itself, its file, and how it comes to be."""
