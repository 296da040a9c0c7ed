"""The paper in torch: teacher, students, their training and their score maps."""
