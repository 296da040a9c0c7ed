"""The demo's data: photographs of textures as good parts, and defects painted into other places of them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from blemish.errors import InputError, StorageError, printable

CATEGORIES = ("brick", "grass", "gravel")
KINDS = ("scratch", "stain", "hole", "patch")
CROP = 192
# Columns of the photograph left of SPLIT serve the test (below MIDDLE) and validation (above it), the others training:
# that is the larger part, with more of the marks that belong to the texture (specks on bricks, weeds in grass), so it
# teaches what is normal. The threshold is set on pixels that no module has seen, as it is for new parts.
SPLIT, MIDDLE = 208, 256
AREAS = {
    "train": (slice(0, 512), slice(SPLIT, 512)),
    "validation": (slice(0, MIDDLE), slice(0, SPLIT)),
    "test": (slice(MIDDLE, 512), slice(0, SPLIT)),
}
LEAST_SIDE = 32
FAINTEST = 0.1  # a trace of paint weaker than this is left out of the picture, hence out of the mask too

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def make_textures(
    out: Path, *, seed: int = 0, train: int = 60, validation: int = 24, test: int = 12, defects: int = 6
) -> list[Path]:
    """Write the categories brick, grass and gravel in MVTec AD layout below `out`; return their folders.

    Each holds `train` and `validation` good crops, `test` good test crops and `defects` crops of every kind of defect
    with a mask, all grey PNG of 192 x 192 px; crops are mirrored at random, and no pixel of the photograph serves two
    of training, validation and test. The same arguments give the same bytes, and a second run writes the same files
    again. Raises InputError for a bad number or where a category's folder holds other files, StorageError where it
    cannot write. Source of the photographs: scikit-image's bundled `brick`, `grass` and `gravel` (CC0, 512 x 512 px,
    grey); no network is used.
    """
    good = {"train": train, "validation": validation, "test": test}
    for name, number in {"seed": seed, **good, "defects": defects}.items():
        if number < (least := 0 if name == "seed" else 1):
            raise InputError(f"{name}: {number} is not allowed, give a whole number of at least {least}")
    photographs = [_photograph(category) for category in CATEGORIES]
    folders = [Path(out) / category for category in CATEGORIES]
    files: dict[Path, Pixels | Mask] = {}
    for index, folder in enumerate(folders):
        rng = np.random.default_rng([seed, index])
        foreign = photographs[:index] + photographs[index + 1 :]
        parts = _good_parts(photographs[index], good, rng=rng)
        parts |= _defective_parts(photographs[index], foreign, number=defects, rng=rng)
        files |= {folder / name: part for name, part in parts.items()}
    _write(folders, files)
    return folders


def paint(image: Pixels, kind: str, *, rng: np.random.Generator, foreign: Pixels | None = None) -> tuple[Pixels, Mask]:
    """Return a copy of the image with one defect painted into it, and the mask of the defect.

    Image: uint8 (H, W) or (H, W, 3), at least 32 px a side. Kind: scratch, stain, hole or patch. Foreign: uint8, grey
    or RGB, what a patch is cut from (default: one of the photographs, taken by `rng`). The copy equals the image
    outside the mask, bool (H, W); inside, a pixel differs unless the paint happens to have its very colour. Raises
    InputError for anything else.
    """
    _check(image, "image")
    canvas = image.reshape(*image.shape[:2], -1).astype(np.float64)
    if kind == "patch":
        if foreign is None:
            foreign = _photograph(CATEGORIES[rng.integers(len(CATEGORIES))])
        _check(foreign, "foreign")
        painted, mask = _patch(canvas, foreign, rng)
    elif kind in KINDS:
        painted, mask = {"scratch": _scratch, "stain": _stain, "hole": _hole}[kind](canvas, rng)
    else:
        raise InputError(f"kind: {printable(str(kind))!r} is unknown, allowed are {', '.join(KINDS)}")
    painted = np.where(mask[..., None], np.rint(np.clip(painted, 0, 255)), canvas)
    return painted.astype(np.uint8).reshape(image.shape), mask


def _check(image: Pixels, name: str) -> None:
    colour = image.ndim == 3 and image.shape[2] == 3
    if image.dtype != np.uint8 or not (image.ndim == 2 or colour) or min(image.shape[:2]) < LEAST_SIDE:
        raise InputError(
            f"{name}: {image.dtype} of shape {image.shape}, allowed is uint8 of shape (H, W) or (H, W, 3), "
            f"at least {LEAST_SIDE} px a side"
        )


def _photograph(category: str) -> Pixels:
    from skimage import data

    photograph = np.asarray(getattr(data, category)(), dtype=np.uint8)
    # Most weeds grow in the upper part of the grass; turned to the right, it is among the good parts for training.
    return np.rot90(photograph, -1) if category == "grass" else photograph


def _crop(photograph: Pixels, split: str, rng: np.random.Generator) -> Pixels:
    area = photograph[AREAS[split]]
    row, column = rng.integers(np.array(area.shape) - CROP + 1)
    crop = area[row : row + CROP, column : column + CROP]
    # The joints of the brick photograph lean outwards on both sides of its middle: mirroring makes the two sides alike.
    return crop[:, ::-1] if rng.random() < 0.5 else crop


def _good_parts(photograph: Pixels, numbers: dict[str, int], *, rng: np.random.Generator) -> dict[str, Pixels | Mask]:
    return {
        f"{split}/good/{index:03d}.png": _crop(photograph, split, rng)
        for split, number in numbers.items()
        for index in range(number)
    }


def _defective_parts(
    photograph: Pixels, foreign: list[Pixels], *, number: int, rng: np.random.Generator
) -> dict[str, Pixels | Mask]:
    files: dict[str, Pixels | Mask] = {}
    for kind in KINDS:
        for index in range(number):
            part = _crop(photograph, "test", rng)
            painted, mask = paint(part, kind, rng=rng, foreign=foreign[index % len(foreign)])
            files[f"test/{kind}/{index:03d}.png"] = painted
            files[f"ground_truth/{kind}/{index:03d}_mask.png"] = mask
    return files


def _write(folders: list[Path], files: dict[Path, Pixels | Mask]) -> None:
    from blemish.results.overlays import save_png

    found = {path for folder in folders for path in folder.rglob("*") if path.is_file() and path.name[0] != "."}
    if strange := sorted(found - set(files)):
        raise InputError(f"{printable(strange[0])}: not from this data set; give an empty or a new folder")
    for folder in sorted({path.parent for path in files}):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{printable(folder)}: cannot be made a folder: {error.strerror}") from error
    for path, array in files.items():
        save_png(path, array)


def _cloud(shape: tuple[int, ...], rng: np.random.Generator, *, cells: int) -> Floats:
    """Smooth noise of about `cells` bumps a side, roughly in [-1, 1]."""
    coarse = Image.fromarray(rng.uniform(-1, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC), dtype=np.float64)


def _blob(shape: tuple[int, ...], rng: np.random.Generator, *, radius: float) -> tuple[Floats, Floats]:
    """An irregular disc: px inside its edge (negative outside), and how far each pixel lies to the lower right."""
    centre = [rng.uniform(1.3 * radius, side - 1.3 * radius) for side in shape[:2]]
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    y, x = rows - centre[0], columns - centre[1]
    turn, stretch = rng.uniform(0, np.pi), rng.uniform(1, 1.5)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    angle = np.arctan2(across, along)
    waves = sum(rng.normal(0, 0.18 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in range(2, 8))
    edge = radius * (1 + np.clip(waves, -0.4, 0.25))
    inside = edge - np.hypot(along / np.sqrt(stretch), across * np.sqrt(stretch))
    return inside, np.clip((x + y) / (np.sqrt(2) * edge), -1, 1)


def _scratch(canvas: Floats, rng: np.random.Generator) -> tuple[Floats, Mask]:
    """A thin bent line of varying width, bright or dark, with a shaded flank."""
    height, width = canvas.shape[:2]
    side, zoom = min(height, width), 4
    steps = np.linspace(0, 1, 4 * side)
    length, turn = side * rng.uniform(0.45, 0.8), rng.uniform(0, 2 * np.pi)
    waver = _cloud((1, len(steps)), rng, cells=6)[0]
    along = (steps - 0.5) * length
    across = rng.normal(0, 0.08) * length * (1 - (2 * steps - 1) ** 2) + 0.025 * length * waver
    x = width * rng.uniform(0.4, 0.6) + along * np.cos(turn) - across * np.sin(turn)
    y = height * rng.uniform(0.4, 0.6) + along * np.sin(turn) + across * np.cos(turn)
    pressure = 1 + 0.5 * _cloud((1, len(steps)), rng, cells=24)[0]
    # Drawn four times as large and averaged down, so that its edges are smooth; it tapers towards its ends.
    radii = zoom * max(0.6, side * rng.uniform(0.0045, 0.0075)) * pressure * np.sin(np.pi * steps) ** 0.3
    large = Image.new("L", (width * zoom, height * zoom))
    draw = ImageDraw.Draw(large)
    for column, row, radius in zip(x * zoom, y * zoom, radii, strict=True):
        draw.ellipse((column - radius, row - radius, column + radius, row + radius), fill=255)
    line = np.asarray(large.reduce(zoom), dtype=np.float64)[..., None] / 255
    flank = np.pad(line, ((1, 0), (1, 0), (0, 0)))[:-1, :-1] * 0.45
    bright = rng.random() < 0.5
    painted = canvas * (1 - flank) if bright else canvas + (255 - canvas) * 0.6 * flank
    ink = 0.25 * canvas + (175 if bright else 8)
    return painted + (ink - painted) * line, np.maximum(line, flank)[..., 0] > FAINTEST


def _stain(canvas: Floats, rng: np.random.Generator) -> tuple[Floats, Mask]:
    """A blot that darkens what is below it, unevenly and a little more where it dried last, along its edge."""
    side = min(canvas.shape[:2])
    inside, _ = _blob(canvas.shape, rng, radius=side * rng.uniform(0.1, 0.17))
    inside = inside + 0.015 * side * _cloud(canvas.shape, rng, cells=12)
    soft = 0.03 * side
    body = np.clip(inside / soft, 0, 1)
    rim = np.exp(-(((inside - soft) / soft) ** 2))
    depth = body * body * (3 - 2 * body) * (0.68 + 0.15 * _cloud(canvas.shape, rng, cells=6) + 0.25 * rim)
    brown = np.array([0.5, 0.38, 0.22]) if canvas.shape[2] == 3 else np.array([0.35])
    return canvas * (1 - depth[..., None] * (1 - brown)), depth > FAINTEST


def _hole(canvas: Floats, rng: np.random.Generator) -> tuple[Floats, Mask]:
    """A dark pit, lit from the upper left: its far wall and the near lip catch light, the rest lies in shadow."""
    side = min(canvas.shape[:2])
    inside, facing = _blob(canvas.shape, rng, radius=side * rng.uniform(0.05, 0.1))
    inside = inside + 0.006 * side * _cloud(canvas.shape, rng, cells=24)
    lip = max(2.0, 0.02 * side)
    pit = np.clip(inside + 0.5, 0, 1)
    wall = np.clip(1 - inside / (2.5 * lip), 0, 1) * np.clip(facing, 0, 1)
    floor = canvas * (0.12 + 0.03 * rng.random() + 0.4 * wall)[..., None] + 6
    edge = np.clip(1 + inside / lip, 0, 1) * (pit < 1)
    lit = canvas * (1 + edge * np.where(facing > 0, 0.45 * facing, 0.35 * facing) - 0.12 * edge)[..., None]
    return lit + (floor - lit) * pit[..., None], np.maximum(pit, edge) > FAINTEST


def _patch(canvas: Floats, foreign: Pixels, rng: np.random.Generator) -> tuple[Floats, Mask]:
    """A ragged piece of another texture, with a thin shadow around it."""
    height, width, channels = canvas.shape
    side = min(height, width)
    inside, facing = _blob(canvas.shape, rng, radius=side * rng.uniform(0.08, 0.16))
    inside = inside + 0.015 * side * _cloud(canvas.shape, rng, cells=20)
    rows = np.arange(height) + rng.integers(max(1, foreign.shape[0] - height + 1))
    columns = np.arange(width) + rng.integers(max(1, foreign.shape[1] - width + 1))
    piece = foreign.take(rows, 0, mode="wrap").take(columns, 1, mode="wrap").reshape(height, width, -1)
    if piece.shape[2] > channels:
        piece = piece.mean(axis=2, keepdims=True)
    cover = np.clip(inside + 0.5, 0, 1)
    shadow = np.clip(1 + inside / 2, 0, 1) * np.clip(0.35 + 0.3 * facing, 0, 1)
    below = canvas * (1 - shadow[..., None])
    return below + (piece - below) * cover[..., None], np.maximum(cover, shadow) > FAINTEST
