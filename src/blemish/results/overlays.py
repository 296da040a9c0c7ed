"""What a user sees: heat over the image on a fixed colour scale, outlined regions, panels of pictures."""

from collections.abc import Sequence
from functools import cache
from io import BytesIO
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from blemish.errors import InputError, printable
from blemish.verdict.threshold import Thresholds

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Scores = NDArray[np.float32]

BLOCK = 1 << 16  # px that are coloured at a time: what is made on the way is wider than the picture
STEPS = 1024  # of the colour scale: the colours of neighbours differ by at most one level

# Light yellow to dark red: lightness falls all the way, so the order can be read without telling red from green.
HEAT = np.array([[255, 235, 120], [254, 190, 50], [244, 115, 25], [214, 38, 20], [165, 0, 10]], dtype=np.float64)
# Blue and vermilion are told apart by anyone, and the word is written on them as well.
VERDICTS = {"OK": (0, 114, 178), "REVIEW": (240, 180, 0), "NG": (213, 60, 0)}
WORDS = {"OK": (255, 255, 255), "REVIEW": (0, 0, 0), "NG": (255, 255, 255)}  # black on amber, white on the others
DASH = 6  # px of a picture of 400 px
PAPER, INK, GAP, STRIP = 255, 40, 4, 18


def overlay(
    image: Pixels,
    score_map: Scores,
    *,
    inside: Mask,
    colours: tuple[float, float],
    verdict: str | None = None,
    counted: Mask | None = None,
    surface: bool = False,
) -> Pixels:
    """Return the image in grey under heat, its regions outlined, and the verdict in the corner that they fill least.

    Image: uint8 (H, W, 3); score map: float (H, W), finite, never rescaled; inside: bool (H, W), the pixels of the
    regions. colours: the scores at which they begin,
    with nothing, and end, with dark red (`Scale.colours`): one score has one colour in every image, wherever the
    threshold lies. Verdict: OK, REVIEW, NG, or None for no label. counted: bool (H, W), the pixels that count, default
    all; the others are dimmed behind a dashed line. surface: whether the whole of it is what differs, which is written
    beside the verdict. Returns uint8 (H, W, 3). Raises InputError for other shapes, types
    or verdicts, a score that is not finite, or colours that do not run up.
    """
    _check_colours(colours)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(f"image: {image.dtype} of shape {image.shape}, allowed is uint8 of shape (H, W, 3)")
    if not score_map.shape == inside.shape == image.shape[:2]:
        shapes = f"shape {score_map.shape}, regions {inside.shape}"
        raise InputError(f"score map: {shapes}, allowed is that of its image, {image.shape[:2]}")
    if not np.isfinite(score_map).all():
        raise InputError(f"score map: {np.count_nonzero(~np.isfinite(score_map))} scores are not finite")
    if verdict is not None and verdict not in VERDICTS:
        raise InputError(f"verdict: {printable(verdict)!r} is unknown, allowed are {', '.join(VERDICTS)}")
    if counted is not None and counted.shape != score_map.shape:
        raise InputError(f"counted: shape {counted.shape}, allowed is that of the score map, {score_map.shape}")
    picture = _heated(np.asarray(Image.fromarray(image).convert("L")), score_map, colours)
    if counted is not None:
        _dim(picture, counted)
    if inside.any():
        _outline(picture, inside)
    if verdict is not None:
        _stamp(picture, verdict, inside, note=", whole surface" if surface else "")
    return picture


def colour_bar(*, thresholds: Thresholds, colours: tuple[float, float], width: int) -> Pixels:
    """Return the colour scale of `overlay` with its numbers and the thresholds marked.

    Over mid-grey, from 0 to where the colours end; uint8 (58, width, 3), width in px, at least 192.
    Raises InputError for a smaller width or colours that do not run up.
    """
    _check_colours(colours)
    top = colours[1]
    if width < 192:
        raise InputError(f"width: {width} is not allowed, give at least 192")
    margin, upper, lower = 12, 22, 38
    length = width - 2 * margin
    scores = np.broadcast_to(np.linspace(0, top, length, dtype=np.float32), (lower - upper, length))
    sheet = Image.new("RGB", (width, 58), (PAPER,) * 3)
    ground = np.full(scores.shape, 128, dtype=np.uint8)
    sheet.paste(Image.fromarray(_heated(ground, scores, colours)), (margin, upper))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    levels = [level for _, level in thresholds.named]
    marks = [margin + round(min(level / top, 1) * (length - 1)) for level in levels]
    for mark in marks:
        draw.line((mark, upper - 4, mark, lower + 3), fill=(0, 0, 0), width=2)
    names = ("NG above",) if len(levels) == 1 else ("REVIEW", "NG above")
    text = ", ".join(f"{name} {level:.3g}" for name, level in zip(names, levels, strict=True))
    half = draw.textlength(text, font=font) / 2 + 2
    draw.text((min(max(sum(marks) / len(marks), half), width - half), 2), text, fill=(INK,) * 3, font=font, anchor="ma")
    draw.text((margin, lower + 4), "0", fill=(INK,) * 3, font=font)
    draw.text((width - margin, lower + 4), f"{top:.3g} and above", fill=(INK,) * 3, font=font, anchor="ra")
    return np.asarray(sheet)


def side_by_side(
    image: Pixels, mask: Mask, heat: Pixels, *, captions: tuple[str, str, str], height: int = 192
) -> Pixels:
    """Return one row: the image, its mask in black and white, its overlay, each with its caption.

    Image and heat: uint8 (H, W) or (H, W, 3); mask: bool (H, W). Every tile is resized to `height` px, with its
    caption above it, cut off at the tile's width. Returns uint8 (height + 18, width, 3).
    """
    pictures: tuple[Pixels | Mask, ...] = (image, mask, heat)
    tiles = [_tile(picture, caption, height) for picture, caption in zip(pictures, captions, strict=True)]
    gap = np.full((height + STRIP, GAP, 3), PAPER, dtype=np.uint8)
    return np.hstack([tiles[0], *(part for tile in tiles[1:] for part in (gap, tile))])


def contact_sheet(rows: Sequence[Pixels], *, columns: int = 1) -> Pixels:
    """Return one sheet of pictures, each uint8 (H, W, 3), filled row by row, white where a picture is smaller.

    Cells have the width of the widest picture; a line is as high as its highest. Raises InputError for no pictures or
    fewer than one column.
    """
    if not rows or columns < 1:
        raise InputError(f"sheet: {len(rows)} pictures in {columns} columns, at least one of each is needed")
    width = max(row.shape[1] for row in rows)
    lines = [rows[start : start + columns] for start in range(0, len(rows), columns)]
    heights = [max(picture.shape[0] for picture in line) for line in lines]
    size = sum(heights) + GAP * (len(lines) + 1), columns * width + 4 * GAP * (columns - 1) + 2 * GAP
    sheet = np.full((*size, 3), PAPER, dtype=np.uint8)
    for index, picture in enumerate(rows):
        line, column = divmod(index, columns)
        y, x = GAP + sum(heights[:line]) + GAP * line, GAP + column * (width + 4 * GAP)
        sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return sheet


def save_png(path: Path, array: Pixels | Mask) -> None:
    """Write a picture, uint8 (H, W) or (H, W, 3), or a mask, bool (H, W), as 0 and 255, to a PNG file.

    Raises StorageError where the file cannot be written; it is then left as it was.
    """
    from blemish.storage.files import write_atomically

    data = BytesIO()
    # More than three times as fast as Pillow's level 6, and overlays are 8 to 15 % larger.
    Image.fromarray(_as_pixels(array)).save(data, "PNG", compress_level=1)
    write_atomically(path, data.getvalue())


def _check_colours(colours: tuple[float, float]) -> None:
    low, top = colours
    if not 0 <= low < top < np.inf:
        raise InputError(f"colours: from {low:g} to {top:g} is not allowed, expected two scores, the lower one first")


@cache
def _colours() -> NDArray[np.uint32]:
    """Return the pixel, R G B 0 in memory, of every step of the colour scale on every grey: (STEPS + 1, 256)."""
    position = np.linspace(0, 1, STEPS + 1)[:, None]
    opacity = 0.72 * np.clip(position / 0.25, 0, 1)
    # Pure white would swallow the yellow.
    ground = 0.88 * np.arange(256)
    table = np.zeros((STEPS + 1, 256, 4), dtype=np.uint8)
    for channel in range(3):
        heat = np.interp(position, np.linspace(0, 1, len(HEAT)), HEAT[:, channel])
        table[..., channel] = np.rint(ground + opacity * (heat - ground))
    return table.view(np.uint32)[..., 0]


def _heated(grey: Pixels, score_map: Scores, colours: tuple[float, float]) -> Pixels:
    """Return the colours of scores on a grey image (H, W): uint8 (H, W, 3)."""
    (low, top), table = colours, _colours().ravel()
    picture = np.empty((*grey.shape, 3), dtype=np.uint8)
    rows = max(1, BLOCK // grey.shape[1])
    for start in range(0, len(grey), rows):
        part = slice(start, start + rows)
        position = np.clip(score_map[part], low, top)
        position -= low
        position *= STEPS / (top - low)
        position += 0.5
        step = position.astype(np.intp)
        step *= 256
        step += grey[part]
        picture[part] = table[step].view(np.uint8).reshape(*step.shape, 4)[..., :3]
    return picture


def _outline(picture: Pixels, inside: Mask) -> None:
    """Draw a white line around the regions with a black one around that: one of the two shows on any ground."""
    step = max(1, round(min(inside.shape) / 400))
    if inside.all():  # a line around that would lie outside of the picture
        inside = np.zeros_like(inside)
        inside[2 * step : -2 * step, 2 * step : -2 * step] = True
        if not inside.any():
            return
    rows, columns = (np.flatnonzero(inside.any(axis=axis)) for axis in (1, 0))
    part = tuple(slice(max(0, ends[0] - 2 * step), ends[-1] + 1 + 2 * step) for ends in (rows, columns))
    white = _grown(inside[part], step)
    black = _grown(white, step)
    black &= ~white
    white &= ~inside[part]
    picture[part][black] = 0
    picture[part][white] = 255


def _dim(picture: Pixels, counted: Mask) -> None:
    """Darken what does not count, and draw a dashed line, black and white by turns, along its edge."""
    step = max(1, round(min(counted.shape) / 400))
    picture[~counted] //= 2
    edge = _grown(~counted, step) & counted
    y, x = np.nonzero(edge)
    picture[y, x] = np.where((x + y) // (DASH * step) % 2, 255, 0)[:, None]


def _grown(flags: Mask, step: int) -> Mask:
    """Return where a flag is at most `step` px away, also diagonally."""
    for _ in range(2):
        reach = 0
        while reach < step:
            shift = min(2 * reach + 1, step - reach)  # what is reached from both sides leaves no gap
            grown = np.copy(flags)
            grown[shift:] |= flags[:-shift]
            grown[:-shift] |= flags[shift:]
            flags, reach = grown, reach + shift
        flags = flags.T
    return flags


def _stamp(picture: Pixels, verdict: str, inside: Mask, *, note: str) -> None:
    """Write the verdict into the corner where it covers the least of the regions; of equal ones the upper left."""
    size = max(11, min(picture.shape[:2]) // 16)
    font, pad = ImageFont.load_default(size=size), size // 3
    left, upper, right, lower = map(round, font.getbbox(verdict + note))
    wide, high = right - left + 2 * pad + 1, lower - upper + 2 * pad + 1
    label = Image.new("RGB", (wide, high))
    draw = ImageDraw.Draw(label)
    draw.rectangle((0, 0, wide - 1, high - 1), fill=VERDICTS[verdict], outline=(255, 255, 255))
    draw.text((pad - left, pad - upper), verdict + note, fill=WORDS[verdict], font=font)
    height, width = inside.shape
    rows, columns = (upper + pad, height - upper - pad - high), (left + pad, width - left - pad - wide)
    parts = [(slice(max(0, y), y + high), slice(max(0, x), x + wide)) for y, x in product(rows, columns)]
    part = min(parts, key=lambda part: np.count_nonzero(inside[part]))
    picture[part] = np.asarray(label)[: len(picture[part]), : picture[part].shape[1]]


def _tile(picture: Pixels | Mask, caption: str, height: int) -> Pixels:
    way = Image.Resampling.NEAREST if picture.dtype == np.bool_ else Image.Resampling.LANCZOS
    tile = Image.fromarray(_as_pixels(picture)).convert("RGB")
    tile = tile.resize((max(1, round(tile.width * height / tile.height)), height), way)
    sheet = Image.new("RGB", (tile.width, height + STRIP), (PAPER,) * 3)
    sheet.paste(tile, (0, STRIP))
    ImageDraw.Draw(sheet).text((1, 2), printable(caption), fill=(INK,) * 3, font=ImageFont.load_default(size=12))
    return np.asarray(sheet)


def _as_pixels(array: Pixels | Mask) -> Pixels:
    return array.astype(np.uint8) * 255 if array.dtype == np.bool_ else array.astype(np.uint8, copy=False)
