"""What lies on the disk: files written whole or not at all, and read back with every bit checked."""
