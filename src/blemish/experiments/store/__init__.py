"""What is trained and kept: models, other students to compare with, module maps, times."""
