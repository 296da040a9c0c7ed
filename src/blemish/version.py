"""The version of blemish; alone in a file, so that every room can name it without the package's public face."""

__version__ = "0.1.0"
