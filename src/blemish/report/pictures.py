"""What the page shows of an image: small pictures and heat as data URIs, outlines as paths of SVG."""

from base64 import b64encode
from collections.abc import Iterable, Iterator
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from blemish.errors import InputError
from blemish.report.shown import Pixels, Shown
from blemish.results.overlays import HEAT

Mask = NDArray[np.bool_]

SMALL, LAYER, FULL = 176, 224, 2048  # px, the longest side of a small picture, of the heat over it, of one embedded
MOST_EMBEDDED = 400_000_000  # bytes of full pictures in one page: browsers have no room for much more
OUTLINE = 320  # cells of the grid on which outlines are drawn, along the longest side
OPACITY, VISIBLE = 0.72, 0.25  # of the heat, as in results/overlays.py, and from which part of the scale on it is so


def small(image: Pixels) -> str:
    """Return an image (H, W, 3) as a small picture: a data URI of at most SMALL px."""
    return _uri(_shrunk(Image.fromarray(image), SMALL), quality=62)


def embedded(image: Pixels) -> str:
    """Return an image (H, W, 3) as a data URI of at most FULL px."""
    return _uri(_shrunk(Image.fromarray(image), FULL), quality=88)


def bounded(images: Iterable[Shown]) -> Iterator[Shown]:
    """Pass images on; raises InputError once the full pictures that are embedded in them are too many for a page."""
    size = 0
    for count, shown in enumerate(images, start=1):
        size += sum(len(url) for url in (shown.full, shown.overlay) if url and url.startswith("data:"))
        if size > MOST_EMBEDDED:
            least = f"the first {count} full pictures take more than {MOST_EMBEDDED / 1e6:.0f} MB"
            raise InputError(f"embed: {least}; leave --embed away, and the page links to them")
        yield shown


def heat_layer(score_map: NDArray[np.float32], *, low: float, top: float) -> str | None:
    """Return the heat over an image as a see-through picture: a data URI; None where there is none.

    score_map: (H, W); nothing is seen up to `low`, and the colours end at `top`, as in the overlays.
    """
    shrunk = _shrunk(Image.fromarray(score_map), LAYER)
    position = np.clip((np.asarray(shrunk, dtype=np.float64) - low) / (top - low), 0, 1)
    if not position.any():
        return None
    layer = np.empty((*position.shape, 4), np.uint8)
    for channel in range(3):
        layer[..., channel] = np.rint(np.interp(position, np.linspace(0, 1, len(HEAT)), HEAT[:, channel]))
    layer[..., 3] = np.rint(255 * opacity(position))
    return _uri(Image.fromarray(layer), quality=45)


def opacity(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much the heat covers at positions on its scale, both in [0, 1]."""
    return np.asarray(OPACITY * np.clip(position / VISIBLE, 0, 1))


def outline_path(mask: Mask) -> str | None:
    """Return the outline of a mask (H, W) as the path of an SVG in px of the image; None for an empty mask.

    It runs along the cells of a grid; a cell is inside if any of its pixels is, so that nothing thin is lost.
    """
    if not mask.any():
        return None
    height, width = mask.shape
    step = -(-max(height, width) // OUTLINE)
    cells = np.zeros((-(-height // step), -(-width // step)), np.bool_)
    rows, columns = np.nonzero(mask)
    cells[rows // step, columns // step] = True
    framed = np.pad(cells, 1)
    across = (framed[1:, 1:-1] != framed[:-1, 1:-1], False)  # edges between rows: (rows + 1, columns)
    along = ((framed[1:-1, 1:] != framed[1:-1, :-1]).T, True)
    parts = []
    for edges, turned in (across, along):
        bounds = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        lines, starts = np.nonzero(bounds == 1)
        ends = np.nonzero(bounds == -1)[1]
        for line, start, end in zip(lines.tolist(), starts.tolist(), ends.tolist(), strict=True):
            x, y = (line, start) if turned else (start, line)
            parts.append(f"M{x * step} {y * step}{'v' if turned else 'h'}{(end - start) * step}")
    return "".join(parts)


def _shrunk(picture: Image.Image, side: int) -> Image.Image:
    factor = side / max(picture.size)
    if factor >= 1:
        return picture
    size = max(1, round(picture.width * factor)), max(1, round(picture.height * factor))
    if picture.mode == "F":  # scores: none may lie outside of those around it
        return picture.resize(size, Image.Resampling.BOX)
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _uri(picture: Image.Image, *, quality: int) -> str:
    data = BytesIO()
    picture.save(data, "WEBP", quality=quality, method=2, alpha_quality=60)
    return f"data:image/webp;base64,{b64encode(data.getvalue()).decode('ascii')}"
