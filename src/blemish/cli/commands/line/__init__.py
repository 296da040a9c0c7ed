"""The commands of the production line: images that come over HTTP or into a folder."""
