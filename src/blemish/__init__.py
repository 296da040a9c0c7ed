"""Learn what good parts look like; show, pixel by pixel, where a new part differs."""

__version__ = "0.1.0"
