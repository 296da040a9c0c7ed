"""Near copies: whether an image shows the very photograph that a model has met before, saved once more.

A thumbnail is 16 x 16 grey bytes; the distance of two is in grey levels, root mean square. Measured on 530 photographs
of magnetic tiles and on 360 crops of `blemish.textures`: of one image saved again (JPEG of quality 75 to 95, smoothly
resized by 0.5 to 2, brightened by one level, or all three) at most 0.72; of two photographs of different tiles at least
3.9, of the same tile taken anew 2.0, and of two crops that share all but two rows 1.8. LIMIT lies between. Two pairs of
the tiles are at 0.55 and 0.59, and to the eye they are one picture. An image resized by dropping pixels is at up to 4,
and mirrored or turned it is another one: neither is found.

Parts in a fixture under a fixed light make photographs that are all as near to each other as that. What is allowed
therefore shrinks to half of how near the good images of the fit come to each other, and where they are all one picture
only the same picture is found. So it is with a plain sheet, whose thumbnail is a smooth surface and a little noise: any
two are near copies. What is left of a thumbnail after a surface of second order is at least 3.7 grey levels in the 706
photographs of the four sets that this was measured on, and at most 1.9 in sheets with a noise of 40 levels; STRUCTURE
lies between.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blemish.data.records import DataPart, ImagePart
from blemish.errors import printable

SIDE = 16
LIMIT = 1.2  # grey levels; nearer thumbnails are of one photograph
FORGIVEN = 2.0  # grey levels by which all of an image may be brighter: rounding, another conversion to grey
NEAREST = 0.1  # of the good images, this share has a neighbour nearer than what LIMIT may shrink to twice
STRUCTURE = 2.5  # grey levels, root mean square; with less beside a smooth surface two pictures cannot be told apart
BLOCK = 512  # images compared at a time

Kind = Literal["train", "held_out", "weighed", "judged", "tested"]
WORDS: dict[Kind, str] = {
    "train": "trained", "held_out": "held out", "weighed": "weighed", "judged": "judged thresholds", "tested": "tested",
}  # fmt: skip
SPOILING: tuple[Kind, ...] = ("train", "held_out", "weighed", "judged")  # a test on such images says little


@dataclass(frozen=True, slots=True)
class Use:
    """An image, by its index, that a model has met before: what for, and as the same picture or as a near copy."""

    index: int
    kind: Kind
    same_picture: bool


def thumbnail(image: NDArray[np.uint8]) -> str:
    """Return the thumbnail of an image (H, W, 3) uint8: 256 grey values of 16 x 16 pixels by rows, in hexadecimal."""
    grey = Image.fromarray(image).convert("L")
    return grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR).tobytes().hex()


def distances(ones: Sequence[str], others: Sequence[str]) -> NDArray[np.float64]:
    """Return how far apart thumbnails are, each of N from each of M: (N, M), in grey levels.

    It is the root mean square of their difference, of which a common part of up to FORGIVEN does not count.
    """
    a, b = _values(ones), _values(others)
    offset = a.mean(axis=1)[:, None] - b.mean(axis=1)
    square = (np.square(a).mean(axis=1)[:, None] + np.square(b).mean(axis=1) - 2 / SIDE**2 * (a @ b.T)) - offset**2
    rest = np.maximum(np.abs(offset) - FORGIVEN, 0)
    return np.asarray(np.sqrt(np.maximum(square, 0) + rest**2))


def structure(small: str) -> float:
    """Return how much a thumbnail differs from the surface of second order nearest to it: grey levels, rms."""
    side = np.linspace(-1, 1, SIDE)
    y, x = np.meshgrid(side, side, indexing="ij")
    surface = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1).reshape(SIDE * SIDE, 6)
    grey = _values([small])[0]
    rest = grey - surface @ np.linalg.lstsq(surface, grey)[0]
    return float(np.sqrt(np.square(rest).mean()))


def near_limit(good: Sequence[str]) -> float:
    """Return the distance below which a thumbnail is a near copy, from those of the good images of a fit."""
    different = sorted(set(good))
    if len(different) < 2:
        return LIMIT
    _, nearest = _nearest(different, different, apart=True)
    return min(LIMIT, 0.5 * float(np.quantile(nearest, NEAREST)))


def used_images(images: Sequence[ImagePart], data: DataPart, *, kinds: Collection[Kind] = SPOILING) -> list[Use]:
    """Return which of the images a model has met before, by the `data` of its header, in their order.

    kinds: which uses to look for. The same picture counts before a near copy, an earlier of WORDS before a later one.
    """
    parts = [(kind, part) for kind in WORDS if kind in kinds for part in getattr(data, kind)]
    files: dict[str, Kind] = {part.sha256: kind for kind, part in reversed(parts)}
    uses = {
        index: Use(index, files[image.sha256], same_picture=True)
        for index, image in enumerate(images)
        if image.sha256 in files
    }
    rest = [
        index for index in range(len(images)) if index not in uses and structure(images[index].thumbnail) > STRUCTURE
    ]
    if parts and rest:
        known = [part.thumbnail for _, part in parts]
        who, nearest = _nearest([images[index].thumbnail for index in rest], known)
        limit = near_limit([part.thumbnail for part in (*data.train, *data.held_out)])
        for index, part, distance in zip(rest, who, nearest, strict=True):
            if distance < limit:
                uses[index] = Use(index, parts[part][0], same_picture=False)
    return [uses[index] for index in sorted(uses)]


def describe(uses: Sequence[Use], names: Sequence[str]) -> str:
    """Return how many images were used for what, and one of each by its name, for a message of one line."""
    groups: dict[tuple[str, str], list[str]] = {}
    for use in sorted(uses, key=lambda use: (list(WORDS).index(use.kind), not use.same_picture)):
        how = "same picture" if use.same_picture else "near copy"
        groups.setdefault((WORDS[use.kind], how), []).append(names[use.index])
    return "; ".join(
        f"{len(found)} {word} ({how}), such as {printable(found[0])}" for (word, how), found in groups.items()
    )


def _nearest(
    ones: Sequence[str], others: Sequence[str], *, apart: bool = False
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Return the index and the distance of what lies nearest to each of N; apart: of the others but itself."""
    who, nearest = [], []
    for start in range(0, len(ones), BLOCK):
        block = distances(ones[start : start + BLOCK], others)
        if apart:
            np.fill_diagonal(block[:, start:], np.inf)
        who.append(block.argmin(axis=1))
        nearest.append(block.min(axis=1))
    return np.concatenate(who), np.concatenate(nearest)


def _values(thumbnails: Sequence[str]) -> NDArray[np.float64]:
    pixels = np.frombuffer(bytes.fromhex("".join(thumbnails)), np.uint8)
    return pixels.reshape(-1, SIDE * SIDE).astype(np.float64)
