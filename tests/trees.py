"""What the tests of data sets share: tiny images and masks in folders, and one line for what is refused."""

import numpy as np
import pytest
from PIL import Image

from blemish.data.sources import identify
from blemish.errors import InputError


def paint(path, *, width=40, height=32, value=0, orientation=1):
    """Write an image of one grey value, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    kinds = {".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP"}
    Image.fromarray(np.full((height, width), value, np.uint8)).save(
        path, kinds.get(path.suffix.lower(), "PNG"), exif=exif
    )
    return path


def plant(folder, *names, **options):
    """Write an image for each name below a folder."""
    for name in names:
        paint(folder / name, **options)


def refused(action, *words):
    """Return the one line of the InputError, which must hold all words."""
    with pytest.raises(InputError) as caught:
        action()
    text = str(caught.value)
    assert len(text.splitlines()) == 1, text
    for word in words:
        assert word in text, text
    return text


def pixel_hashes(paths):
    """What a header says of these images."""
    return [image.sha256 for image in identify(paths)]


def names(paths, folder):
    return [path.relative_to(folder).as_posix() for path in paths]


def rows(samples, folder):
    """Return samples as plain words: (path, label, masks, split, category), paths below the folder."""
    return [
        (*names([one.path], folder), one.label, tuple(names(one.mask_paths, folder)), one.split, one.category)
        for one in samples
    ]
