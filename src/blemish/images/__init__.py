"""One image or mask: read safely, resized; numpy and Pillow only."""
