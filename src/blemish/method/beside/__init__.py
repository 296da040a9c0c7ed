"""What stands beside the students and looks at the teacher's features alone; not the paper's."""
