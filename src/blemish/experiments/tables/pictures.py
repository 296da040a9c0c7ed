"""Pictures of the benchmark: curves over the number of modules and over coverage, and the paper's Figure 3."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from textwrap import wrap
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from blemish.errors import InputError, printable
from blemish.experiments.tables.markdown import Figure, Table
from blemish.results.overlays import contact_sheet, side_by_side
from blemish.storage.offline import folder_dropped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Sheet

Pixels = NDArray[np.uint8]

# Okabe and Ito: told apart by anyone; the markers tell the lines apart without colour as well.
STYLES = (("#0072B2", "o"), ("#D55E00", "s"), ("#009E73", "^"), ("#CC79A7", "D"), ("#E69F00", "v"), ("#56B4E9", "P"))
GREY = "#555555"
BAND = "band: lowest to highest run"
NO_SEARCH = "no search: "  # what the lines of `tables.curve` that need no labels start with
# Black over purple and orange to pale yellow: lightness rises all the way.
RAMP = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], dtype=np.float64)
BAR, FONT = 14, 12


@dataclass(frozen=True, slots=True)
class Example:
    """One row of Figure 3.

    image: uint8 (H, W) or (H, W, 3). mask: bool (H, W), None for a good part. score_map: (H, W) in [0, 1].
    """

    name: str
    image: Pixels
    mask: NDArray[np.bool_] | None
    score_map: NDArray[np.float32]


def figure_3(examples: Sequence[Example], *, top: float | None = None, side: int = 128, columns: int = 2) -> Pixels:
    """Return image, ground truth and probability map of each example, and the scale of all maps below them.

    Every picture is a square of `side` px, as the network sees it. Colours run from black at 0 to pale yellow at `top`,
    by default the highest score of all examples, the same in each. Returns uint8 (H, W, 3). Raises InputError for no
    examples, shapes that differ within one, scores outside [0, 1], or a top outside (0, 1].
    """
    if not examples:
        raise InputError("examples: none given, at least one is needed")
    for example in examples:
        _check(example)
    if top is None:
        top = max(float(example.score_map.max()) for example in examples) or 1.0  # maps may be 0 everywhere
    if not 0 < top <= 1:
        raise InputError(f"top: {top:g} is not allowed, expected a number above 0 and at most 1")
    rows = [_row(example, top, side) for example in examples]
    sheet = contact_sheet(rows, columns=min(columns, len(rows)))
    bar = _scale(top, width=sheet.shape[1])
    return np.vstack([sheet, bar])


def pictures(tables: Iterable[Table]) -> dict[str, bytes]:
    """Return the PNG of each table that has one, those of `tables.curve` and `tables.table_4`, by the table's name."""
    return {
        table.name: curve_picture(table) if table.name.startswith("curve") else coverage_picture(table)
        for table in tables
        if has_picture(table)
    }


def has_picture(table: Table) -> bool:
    """Tell whether a table is drawn, too."""
    return table.name.startswith(("curve", "table4"))


def curve_picture(table: Table) -> bytes:
    """Return AUPRO and pixel AUROC against the number of modules kept, as a PNG of 1600 x 800 px.

    table: one of `tables.curve`. A line for each objective with a band from the lowest to the highest draw; the weights
    without search are a dashed line. A missing figure leaves a gap. Raises InputError for another table.
    """
    _check_table(table, ("weights", "modules"))
    counts = sorted({int(count) for _, count in table.lines}, reverse=True)
    objectives = sorted({name for name, _ in table.lines if not name.startswith(NO_SEARCH)})
    with _panels(table) as (sheet, axes):
        for axis, name in zip(axes, ("AUPRO", "pixel AUROC"), strict=True):
            for (weights, count), cells in table.lines.items():
                cell = cells[_position(table, name)]
                if weights not in objectives and isinstance(cell, Figure) and cell.mean is not None:
                    label = f"{weights.removeprefix(NO_SEARCH)} (no search, all {count})"
                    axis.axhline(cell.mean, color=GREY, linestyle="--", label=label)
            for index, objective in enumerate(objectives):
                lines = [table.lines.get((objective, str(count))) for count in counts]
                figures = [cells[_position(table, name)] if cells else Figure() for cells in lines]
                _draw(axis, counts, figures, index=index, label=f"searched: {objective}")
            axis.set_xticks(counts)
            axis.set_xlabel("modules kept")
            axis.set_ylabel(name)
        handles, labels = axes[0].get_legend_handles_labels()
        sheet.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
        return _png(sheet)


def coverage_picture(table: Table) -> bytes:
    """Return pixel AUROC (validation and test) and AUPRO (test) against coverage, as a PNG of 1600 x 800 px.

    table: one of `tables.table_4`. Bands go from the lowest to the highest seed and draw. A missing figure leaves a
    gap. Raises InputError for another table.
    """
    _check_table(table, ("coverage",))
    shares = [int(name.split()[0]) for (name,) in table.lines]
    panels = (("test pixel AUROC", "validation pixel AUROC"), ("test AUPRO", "test AUPRO without search"))
    with _panels(table) as (sheet, axes):
        for axis, names in zip(axes, panels, strict=True):
            for index, name in enumerate(names):
                figures = [cells[_position(table, name)] for cells in table.lines.values()]
                _draw(axis, shares, figures, index=index, label=name)
            axis.set_xticks(shares)
            axis.set_xlabel("defect types with labelled images (%)")
            axis.set_ylabel(names[0].removeprefix("test "))
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, frameon=False)
        return _png(sheet)


@contextmanager
def _panels(table: Table) -> "Iterator[tuple[Sheet, list[Axes]]]":
    """Give a sheet with two panels, under the table's title and heading."""
    with folder_dropped("MPLCONFIGDIR"):
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Sheet
        from matplotlib.layout_engine import ConstrainedLayoutEngine

    with mpl.rc_context({"font.size": 10, "legend.fontsize": 9, "text.parse_math": False}):
        sheet = Sheet(figsize=(8, 4), dpi=200, layout=ConstrainedLayoutEngine(wspace=0.06))
        FigureCanvasAgg(sheet)
        text = "\n".join([printable(table.title), *wrap(f"{printable(table.heading)}; {BAND}", 120)])
        sheet.suptitle(text, fontsize=8, x=0.01, ha="left", linespacing=1.4)
        axes = list(sheet.subplots(1, 2))
        for axis in axes:
            axis.grid(color="#dddddd")
            axis.set_axisbelow(True)
            axis.spines[["top", "right"]].set_visible(False)
        yield sheet, axes


def _draw(axis: "Axes", x: Sequence[int], figures: Sequence[Figure | str], *, index: int, label: str) -> None:
    """Draw means as a line with markers, and the spread as a band where there is one."""
    colour, marker = STYLES[index % len(STYLES)]
    values = np.full((3, len(x)), np.nan)
    for position, one in enumerate(figures):
        if isinstance(one, Figure) and one.mean is not None:
            values[:, position] = one.mean, *(one.mean if end is None else end for end in (one.lowest, one.highest))
    axis.fill_between(x, values[1], values[2], color=colour, alpha=0.18, linewidth=0)
    axis.plot(x, values[0], color=colour, marker=marker, markersize=5, linewidth=1.6, label=printable(label))


def _png(sheet: "Sheet") -> bytes:
    data = BytesIO()
    sheet.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()


def _position(table: Table, name: str) -> int:
    return [column.name for column in table.columns].index(name)


def _check_table(table: Table, keys: tuple[str, ...]) -> None:
    if table.keys != keys:
        raise InputError(f"table: its lines are by {', '.join(table.keys)}, needed is {', '.join(keys)}")


def _check(example: Example) -> None:
    name, scores = printable(example.name), example.score_map
    shapes = {example.image.shape[:2], scores.shape} | ({example.mask.shape} if example.mask is not None else set())
    if len(shapes) > 1:
        raise InputError(f"{name}: shapes {', '.join(map(str, sorted(shapes)))} differ, they must be equal")
    if example.image.dtype != np.uint8:
        raise InputError(f"{name}: an image of {example.image.dtype} is not allowed, it must be uint8")
    if not (np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1):
        raise InputError(f"{name}: scores of the map are not all in [0, 1]")


def _row(example: Example, top: float, side: int) -> Pixels:
    mask = np.zeros(example.score_map.shape, np.bool_) if example.mask is None else example.mask
    image = Image.fromarray(example.image).convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    truth = Image.fromarray(mask).resize((side, side), Image.Resampling.NEAREST)
    scores = Image.fromarray(example.score_map.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR)
    captions = example.name, "truth" if mask.any() else "truth: good", f"map, up to {example.score_map.max():.2g}"
    heat = _coloured(np.asarray(scores), top)
    return side_by_side(np.asarray(image), np.asarray(truth), heat, captions=captions, height=side)


def _coloured(scores: NDArray[np.float32], top: float) -> Pixels:
    position, stops = np.clip(scores / top, 0, 1), np.linspace(0, 1, len(RAMP))
    channels = [np.interp(position, stops, RAMP[:, channel]) for channel in range(3)]
    colours: Pixels = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    return colours


def _scale(top: float, *, width: int) -> Pixels:
    """Return the colour scale with its ends written beside it, on white."""
    sheet = Image.new("RGB", (width, 2 * BAR), (255,) * 3)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=FONT)
    left, right = (int(draw.textlength(text, font=font)) + 10 for text in ("0", f"{top:.2g} and above"))
    length = max(width - left - right, 1)
    bar = np.broadcast_to(np.linspace(0, top, length, dtype=np.float32), (BAR, length))
    sheet.paste(Image.fromarray(_coloured(bar, top)), (left, BAR // 2))
    draw.text((5, BAR // 2), "0", fill=(40,) * 3, font=font)
    draw.text((left + length + 5, BAR // 2), f"{top:.2g} and above", fill=(40,) * 3, font=font)
    return np.asarray(sheet)
