"""Twins: one photograph saved twice, as a JPEG of a PNG, brightened a little, or resized.

A twin on the other side of a split makes the promise of a threshold false. Nearness of thumbnails (`copies.py`)
proposes pairs. It cannot decide: parts in a fixture under a fixed light come as near to each other as an image to its
own JPEG. So what is left of both after all that many images share has to agree, pixel by pixel, in a look of 64 x 64:
their mean goes, pixels that vary much (edges, where parts lie a little apart) count for less, smooth differences
(light) go, and so do the few modes that rule them all. Two photographs of different parts then have nothing in common.

Measured (docs/log.md): of one photograph saved again (JPEG of quality 75 to 95, two levels brighter, at nine tenths or
half of the size) the thumbnails are at most 0.56 apart and the rest agrees to 0.88 or more, on 763 photographs of four
sets and 102 crops of textures. Of different parts in made-up fixtures the rest agrees to 0.6 at most, and AGREE lies
between. Found are photographs of the same part, too, if it lies as before and its texture shows more than the noise of
the camera.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blemish.data.copies import BLOCK, LIMIT, STRUCTURE, distances, structure
from blemish.data.records import ImagePart

SIDE = 64
AGREE = 0.75
FLOOR = 0.5  # grey levels: no pixel varies less than values are rounded
SMOOTH = 2.0  # pixels: what is smoother is light
MODE, MODES = 0.05, 5  # a mode rules them all with more than this share of all that is left, and more than MODES images
SAMPLE = 512  # images whose modes are taken; more are slow and say the same

Pair = tuple[int, int]


def look(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what twins are told by: an image (H, W, 3) uint8 in grey, squashed to (64, 64)."""
    return np.array(Image.fromarray(image).convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def find_twins(images: Sequence[ImagePart], looks: NDArray[np.uint8]) -> list[Pair]:
    """Return the pairs of images that are one photograph saved twice, by their indices (smaller first), in order.

    images: what tells each of N again; looks: (N, 64, 64). Equal pictures are no twins, only the first of them counts;
    neither is a plain sheet: any two of them look the same.
    """
    first: dict[str, int] = {}
    for index, image in enumerate(images):
        first.setdefault(image.sha256, index)
    known = [first[text] for text in sorted(first)]  # sorted: what rounding does depends on no order
    small = [images[index].thumbnail for index in known]
    near = _near(small)
    plain = {index for index in {one for pair in near for one in pair} if structure(small[index]) <= STRUCTURE}
    near = [pair for pair in near if not plain.intersection(pair)]
    if not near:
        return []
    rest = _left_over(looks[known])
    ones, others = np.array(near).T
    agree = np.concatenate([
        np.einsum("nd,nd->n", rest[ones[start : start + BLOCK]], rest[others[start : start + BLOCK]])
        for start in range(0, len(near), BLOCK)
    ])  # fmt: skip
    pairs = [(known[one], known[other]) for (one, other), value in zip(near, agree, strict=True) if value > AGREE]
    return sorted((min(pair), max(pair)) for pair in pairs)


def _near(small: Sequence[str]) -> list[Pair]:
    """Return the pairs of thumbnails that are no more than LIMIT apart."""
    found: list[Pair] = []
    for start in range(0, len(small), BLOCK):
        rows, columns = np.nonzero(distances(small[start : start + BLOCK], small) < LIMIT)
        found += [(start + row, column) for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
                  if start + row < column]  # fmt: skip
    return found


def _left_over(looks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what is left of each look after what many share: (N, 64, 64) -> (N, 4096), each of length 1 (or 0)."""
    rest = looks.astype(np.float32)
    rest -= rest.mean(axis=0)
    rest /= rest.std(axis=0) + FLOOR
    blur = _blur()
    rest -= blur @ rest @ blur.T
    flat = rest.reshape(len(rest), -1)
    flat -= flat.mean(axis=1, keepdims=True)
    some = flat[:: -(-len(flat) // SAMPLE)]
    energy, axes = np.linalg.eigh((some @ some.T).astype(np.float64))
    shared = energy > max(MODE, MODES / len(some)) * energy.sum()
    modes = (some.T @ axes[:, shared] / np.sqrt(energy[shared])).astype(np.float32)
    flat -= (flat @ modes) @ modes.T
    length = np.sqrt(np.square(flat).sum(axis=1, keepdims=True))
    return np.asarray(flat / np.maximum(length, 1e-6), dtype=np.float32)


def _blur() -> NDArray[np.float32]:
    """Return the matrix that smooths the rows of a look, or the columns, by a Gaussian."""
    place = np.arange(SIDE)
    weights = np.exp(-0.5 * ((place[:, None] - place) / SMOOTH) ** 2)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)
