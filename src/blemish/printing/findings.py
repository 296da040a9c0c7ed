"""What is printed of weights that labelled images have found."""

from collections.abc import Sequence
from pathlib import Path

from blemish.errors import printable
from blemish.model.header import Header
from blemish.printing.layout import empty_table, output_console, print_facts
from blemish.printing.numbers import many, size_of
from blemish.printing.promises import threshold_facts
from blemish.weighing.findings import Findings
from blemish.weighing.front import Point


def print_weighed(out: Path, header: Header, weighed: Findings) -> None:
    """Print what a weight search has found, what it cost, and what the new model promises; of a budget what it buys."""
    if weighed.points:
        print_front(weighed.points, chosen=weighed.chosen)
    weighing = header.weighing
    assert weighing is not None, "a weighed model"
    good = weighing.labelled - weighing.defective
    images = f"{many(weighing.defective, 'defective image')} and {good} good"
    print(f"{images}; objective {weighed.objective}, {weighed.search.seconds:.1f} s")
    for count, why in ((weighed.without_masks, "without a mask"), (weighed.repeated, "equal to another of them")):
        if count:
            print(f"left out: {many(count, 'labelled image')} {why}")
    table = empty_table("module", "weight", "without labels", "AUPRO alone", "ms", "MB")
    for line in weighed.lines:
        weight = f"{line.weight:.4f}" if line.name in weighed.chosen.modules else "dropped"
        aupro = "-" if line.aupro is None else f"{line.aupro:.3f}"
        table.add_row(line.name, weight, f"{line.bare:.4f}", aupro, f"{line.ms:.1f}", f"{line.megabytes:.2f}")
    output_console().print(table)
    print("ms: a module's own; its size and the teacher's stages are shared by the modules of a size")
    table = empty_table("", "modules", "ms per image", "AUPRO", "pixel AUROC", "AUPRO, unseen", "AUROC, unseen")
    every, chosen = weighed.all_modules, weighed.chosen
    for name, point in (("without labels", every), ("with labels", every), ("kept", chosen)):
        if name == "kept" and chosen.modules == every.modules:
            continue
        cells = [_figure(weighed.figures[name][key]) for key in ("aupro", "pixel_auroc")]
        cells += [_figure(weighed.unseen.get(name, {}).get(key)) for key in ("aupro", "pixel_auroc")]
        table.add_row(name, str(len(point.modules)), f"{point.ms:.1f}", *cells)
    output_console().print(table)
    print("on the labelled images; unseen: each image by weights that the other three quarters of them gave")
    print_facts([("model", f"{printable(out)} ({size_of(out)})"), *threshold_facts(header)])


def print_front(points: Sequence[Point], *, chosen: Point) -> None:
    """Print the sets of modules that come nearest to all modules for their time."""
    table = empty_table("best for its time", "modules", "ms per image", "AUPRO", "")
    for point in points:
        mark = "chosen" if point.modules == chosen.modules else ""
        table.add_row(
            " ".join(point.modules), str(len(point.modules)), f"{point.ms:.1f}", f"{point.accuracy:.3f}", mark
        )
    output_console().print(table)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
