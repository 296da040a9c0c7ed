"""From what a user gives to images with their truth: data sets, folders, arrays, and what a model has met."""
