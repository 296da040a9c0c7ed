"""What is printed: progress, tables, words."""
