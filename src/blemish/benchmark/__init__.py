"""The grid of experiments: what is trained, what is measured, and the tables made from it."""
