"""What predict leaves behind: overlays, lines, maps."""
