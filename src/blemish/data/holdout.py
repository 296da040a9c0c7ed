"""Which images are learnt and which are held out: drawn by their content, so that order and names do not matter."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from blemish.errors import InputError, printable
from blemish.images.read import read_image

# Of MANY good images or more ENOUGH set the thresholds and train nothing, so that no single one of them decides, or
# SHARE where that is more; of fewer images a third.
MANY, ENOUGH, SHARE = 120, 40, 0.15
LEAST_TRAIN, LEAST_HELD_OUT = 4, 2


def fingerprints(paths: Sequence[Path]) -> list[str]:
    """Return the sha256 of each file's bytes, in hexadecimal; raises InputError for a file that cannot be read."""
    return [_file_fingerprint(path) for path in paths]


def pixel_fingerprints(paths: Sequence[Path]) -> list[str]:
    """Return the array_fingerprint of each image in a file; raises InputError as read_image does."""
    return [array_fingerprint(read_image(path)) for path in paths]


def array_fingerprint(image: NDArray[np.uint8]) -> str:
    """Return the sha256 of an image's shape and pixels, in hexadecimal: what fingerprints is to files."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def hold_out(hashes: Sequence[str], *, share: float, least: int) -> list[int]:
    """Return the ascending indices of the images to hold out of training, chosen by content alone.

    hashes: one per image, equal where the content is equal; equal images are never parted. Of the n different ones the
    max(least, round(share n)) with the smallest sha256 of their salted hash are held out: order and names do not
    matter, and one more image changes at most one choice beside its own. share is in [0, 1).
    Raises InputError if nothing would be left to train on.
    """
    if not 0 <= share < 1:
        raise InputError(f"share held out: {share} not allowed (allowed: 0 <= share < 1)")
    return _drawn(hashes, count=max(least, round(share * len(set(hashes)))))


def held_out_count(different: int) -> int:
    """Return how many of so many different good images, or groups of them, set the thresholds and train nothing."""
    if different < MANY:
        return max(LEAST_HELD_OUT, round(different / 3))
    return max(ENOUGH, round(SHARE * different))


def split_good(hashes: Sequence[str], *, apart: int) -> tuple[list[int], list[int]]:
    """Return the indices of the images to train on, and of those held out to set the threshold.

    Both are in the order of their hashes, so that neither names nor the order that images are given in matter. The last
    `apart` images are those that the user holds out; if there are none, `held_out_count` of all are, drawn by content.
    A copy among the held-out images is no further evidence, and a copy of an image that trains is none at all.
    Raises InputError where too few different ones are left.
    """
    count = len(hashes) - apart
    least = LEAST_TRAIN + (0 if apart else LEAST_HELD_OUT)
    if (found := len(set(hashes[:count]))) < least:
        beside = " beside those held out" if apart else ""
        raise InputError(f"need >= {least} different images of good parts{beside}, found {found}")
    held = list(range(count, len(hashes))) if apart else _drawn(hashes, count=held_out_count(found))
    train = sorted(set(range(count)) - set(held), key=lambda index: (hashes[index], index))
    first = {text: index for index, text in reversed(list(enumerate(hashes)))}
    held = sorted((index for index in held if first[hashes[index]] == index), key=lambda index: hashes[index])
    if len(held) < LEAST_HELD_OUT:
        raise InputError(
            f"need >= {LEAST_HELD_OUT} held-out images, unlike each other and those that train, found {len(held)}"
        )
    return train, held


def _drawn(hashes: Sequence[str], *, count: int) -> list[int]:
    ranked = sorted(set(hashes), key=lambda text: hashlib.sha256(f"blemish hold-out {text}".encode()).digest())
    if len(ranked) <= count:
        raise InputError(f"need >= {count + 1} training images of different content, found {len(ranked)}")
    held = set(ranked[:count])
    return [index for index, text in enumerate(hashes) if text in held]


def draw_share(hashes: Sequence[str], *, share: float, salt: str) -> list[int]:
    """Return the ascending indices of a share of some images, one at least, drawn by their content and a salt."""
    ranked = sorted(range(len(hashes)), key=lambda index: rank(salt, hashes[index]))
    return sorted(ranked[: max(1, round(share * len(hashes)))])


def rank(salt: str, text: str) -> bytes:
    """Return what orders texts at random, the same way for the same salt."""
    return hashlib.sha256(f"blemish draw {salt} {text}".encode()).digest()


def _file_fingerprint(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read ({error.strerror})") from error
