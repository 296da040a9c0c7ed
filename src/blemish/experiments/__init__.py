"""The paper's experiments: a grid of settings, measured row by row, and the tables made of it."""
