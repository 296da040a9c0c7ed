"""A grid at work: rows measured one by one, and how long that takes."""
