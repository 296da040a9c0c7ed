"""What was judged: the database of inspections, and the images that are kept."""
