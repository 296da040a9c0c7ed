"""What the commands print: tables and lines for a person, on stdout."""

import hashlib
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from blemish.errors import printable
from blemish.progress import duration

if TYPE_CHECKING:
    from blemish.header import CalibrationPart, Header
    from blemish.latency import Point
    from blemish.modelfile import Tensors
    from blemish.results import Summary
    from blemish.weighed import Weighed

FIGURES = {
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
    "image_auroc": "image AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1_max": "pixel F1",
}


def output_console() -> Console:
    """Return the console for results; names in square brackets are no markup to it."""
    # Where no one looks, lines are not wrapped: a path must stay in one piece.
    return Console(markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else 200)


def promise(calibration: "CalibrationPart") -> str:
    """Say what a threshold promises of good parts that are like those it was taken from."""
    parts = calibration.held_out + 1
    alarms = round(calibration.false_alarm_rate * parts)
    share = f"{alarms} in {parts} good parts ({100 * calibration.false_alarm_rate:.2g} %)"
    verb = "is" if alarms == 1 else "are"
    return f"{calibration.held_out} held-out good images: at most {share} {verb} expected to be called NG"


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and values in two columns; a value is never wrapped."""
    facts = list(facts)
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        print(f"{name:{width}}  {value}".rstrip())


def print_predictions(summary: "Summary", *, threshold: float, out: Path) -> None:
    """Print how many images are OK and NG, those with the highest scores, and where the results are."""
    counts = f"{many(summary.ok + summary.ng + summary.failed, 'image')}: {summary.ok} OK, {summary.ng} NG"
    print(counts + (f", {summary.failed} could not be used" if summary.failed else ""))
    if summary.worst:
        table = _table("highest scores", "score", "verdict", "regions")
        for record in summary.worst:
            path = printable(record["path"])
            table.add_row(path, f"{record['score']:.4f}", record["verdict"], str(len(record["regions"])))
        output_console().print(table)
    place = printable(out)
    facts = ("threshold", f"{threshold:.4f}"), ("overlays", f"{place}/overlays"), ("results", f"{place}/results.jsonl")
    print_facts(facts)


def print_fit(model: Path, header: "Header", *, seconds: float) -> None:
    """Print what a fit has made."""
    print_facts(
        [
            ("model", f"{printable(model)} ({size_of(model)})"),
            ("threshold", f"{header.calibration.threshold:.4f}"),
            ("promise", promise(header.calibration)),
            ("time", duration(seconds)),
        ]
    )


def print_evaluation(result: dict[str, Any]) -> None:
    """Print the figures of each type of defect and overall, and what the verdicts were worth."""
    at, threshold = result["resolution"], result["model"]["threshold"]
    place = "the images' own resolution" if at == "original" else f"{at}x{at}"
    regions = many(result["regions"], "defect region")
    print(f"{many(result['images'], 'test image')}, {result['good']} good; {regions} at {place}")
    if met := result["used"]["images"]:
        fate = "left out" if result["used"]["rule"] == "skip" else "kept, so figures are too good"
        print(f"{many(len(met), 'image')} that the model has met before {fate}: {result['used']['summary']}")
    overall, bare = result["overall"], result["without_labels"]
    print_figures({**result["types"], "overall": overall, **({"without labels": bare["overall"]} if bare else {})})
    if bare:
        print(
            f"weights of the modules from {_labels(result['model']['weighing'])}; without labels: those that need none"
        )
    print(f"found: defective images with the verdict NG (score above {threshold:.4f})")
    print(f"false alarms: {overall['false_alarms']} of {many(overall['good'], 'good image')} with the verdict NG")
    for reason in sorted(set(overall["undefined"].values())):
        print(f"-: undefined, {reason}")


def print_figures(rows: dict[str, dict[str, Any]], *, alarms: bool = False) -> None:
    """Print a table: under each name a row with one of the `types`, or the `overall`, of an evaluation."""
    table = _table("", *FIGURES.values(), "found", *(["false NG"] if alarms else []))
    for name, figures in rows.items():
        cells = ["-" if figures[key] is None else f"{figures[key]:.3f}" for key in FIGURES]
        cells.append(f"{figures['found']}/{figures['images'] - figures['good']}" if "found" in figures else "-")
        if alarms:
            cells.append(f"{figures['false_alarms']}/{figures['good']}")
        table.add_row(printable(name), *cells)
    output_console().print(table)


def warnings(result: dict[str, Any]) -> list[str]:
    """Return one line for each thing that makes the figures of an evaluation less than they seem."""
    lines = []
    if empty := result["empty_masks"]:
        text = f"{many(len(empty), 'defective image')} marks nothing, such as {printable(empty[0])}"
        lines.append(f"the mask of {text}: its pixels count as good")
    if lost := result["regions_lost"]:
        side = result["resolution"]
        lines.append(f"{many(lost, 'defect region')} left out: too small for {side}x{side}")
    return lines


def print_weighed(out: Path, header: "Header", weighed: "Weighed") -> None:
    """Print what a weight search has found, what it cost, and what the new model promises."""
    weighing = header.weighing
    assert weighing is not None, "a weighed model"
    good = weighing.labelled - weighing.defective
    images = f"{many(weighing.defective, 'defective image')} and {good} good"
    print(f"{images}; objective {weighed.objective}, {weighed.search.seconds:.1f} s")
    table = _table("module", "weight", "without labels", "AUPRO alone", "ms", "MB")
    for line in weighed.lines:
        weight = f"{line.weight:.4f}" if line.name in weighed.chosen.modules else "dropped"
        aupro = "-" if line.aupro is None else f"{line.aupro:.3f}"
        table.add_row(line.name, weight, f"{line.bare:.4f}", aupro, f"{line.ms:.1f}", f"{line.megabytes:.2f}")
    output_console().print(table)
    print("ms: a module's own; its size and the teacher's stages are shared by the modules of a size")
    table = _table("", "modules", "ms per image", "AUPRO", "pixel AUROC", "AUPRO, unseen", "AUROC, unseen")
    every, chosen = weighed.all_modules, weighed.chosen
    for name, point in (("without labels", every), ("with labels", every), ("kept", chosen)):
        if name == "kept" and chosen.modules == every.modules:
            continue
        cells = [_figure(weighed.figures[name][key]) for key in ("aupro", "pixel_auroc")]
        cells += [_figure(weighed.unseen.get(name, {}).get(key)) for key in ("aupro", "pixel_auroc")]
        table.add_row(name, str(len(point.modules)), f"{point.ms:.1f}", *cells)
    output_console().print(table)
    print("on the labelled images; unseen: each image by weights that the other three quarters of them gave")
    print_facts(
        [
            ("model", f"{printable(out)} ({size_of(out)})"),
            ("threshold", f"{header.calibration.threshold:.4f}"),
            ("promise", promise(header.calibration)),
        ]
    )


def print_front(points: "Sequence[Point]", *, chosen: "Point") -> None:
    """Print the sets of modules that come nearest to all modules for their time."""
    table = _table("best for its time", "modules", "ms per image", "AUPRO", "")
    for point in points:
        mark = "chosen" if point.modules == chosen.modules else ""
        table.add_row(
            " ".join(point.modules), str(len(point.modules)), f"{point.ms:.1f}", f"{point.accuracy:.3f}", mark
        )
    output_console().print(table)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def print_teachers() -> None:
    """Print every known teacher, and whether its weights are on this machine."""
    from blemish.teacher import ARCHITECTURES, LEVELS, STRIDES
    from blemish.weights import fetched_path, find_weights

    table = _table("", *(f"level {level}" for level in LEVELS), "licence", "weights")
    for name, architecture in ARCHITECTURES.items():
        path = find_weights(name)
        here = "no" if path is None else "fetched" if path == fetched_path(name) else "package"
        table.add_row(name, *map(str, architecture.channels), architecture.licence, here)
    strides = ", ".join(map(str, STRIDES))
    print(f"channels of levels {LEVELS[0]} to {LEVELS[-1]} (strides {strides}), licence of the weights,")
    print("and whether these are on this machine: in an installed package, fetched, or no")
    output_console().print(table)


def print_json(value: object) -> None:
    """Print plain values as JSON."""
    print(json.dumps(value, indent=2, allow_nan=False))


def model_facts(path: Path, header: "Header", tensors: "Tensors") -> dict[str, Any]:
    """Return all that a model file says of itself, and its size: plain JSON values."""
    facts = header.model_dump()
    for module in facts["modules"]:
        module["parameters"] = _parameters(tensors, f"{module['size']}/{module['level']}")
    facts["file"] = {"path": path.as_posix(), "bytes": path.stat().st_size}
    return facts


def print_model(path: Path, header: "Header", tensors: "Tensors") -> None:
    """Print what a model file says of itself."""
    recipe = ", ".join(f"{key} {value}" for key, value in header.recipe.items() if key != "name" and value is not None)
    teacher, calibration = header.teacher, header.calibration
    data = header.data
    hashes = [[image.sha256 for image in part] for part in (data.train, data.held_out)]
    digest = hashlib.sha256(json.dumps(hashes).encode()).hexdigest()
    met = f"{len(data.train)} trained, {len(data.held_out)} held out, sha256 {digest[:12]}"
    weighing = header.weighing.model_dump() if header.weighing else None
    print_facts(
        [
            ("model", f"{printable(path)} ({size_of(path)})"),
            ("created", f"{header.created} by blemish {header.blemish}"),
            ("teacher", f"{teacher.name}, sha256 {teacher.sha256[:12]}, {'' if teacher.embedded else 'not '}embedded"),
            ("sizes", f"{', '.join(map(str, header.sizes))}; maps are scored at {header.reference_size}"),
            ("score", header.score),
            ("recipe", f"{header.recipe.get('name')} ({recipe}), seed {header.seed}"),
            ("threshold", f"{calibration.threshold:.4f}"),
            ("promise", promise(calibration)),
            ("images", f"{met}; {len(data.weighed)} weighed, {len(data.tested)} tested"),
            ("weights", f"from {_labels(weighing)}" if weighing else "without labels"),
            ("libraries", ", ".join(f"{name} {number}" for name, number in header.libraries.items())),
        ]
    )
    table = _table("module", "size", "level", "weight", "parameters")
    for module in header.modules:
        name = f"{module.size}/{module.level}"
        count = f"{_parameters(tensors, name):,}"
        table.add_row(name, str(module.size), str(module.level), f"{module.weight:.4f}", count)
    output_console().print(table)


def _labels(weighing: dict[str, Any]) -> str:
    images = f"{many(weighing['labelled'], 'labelled image')}, {weighing['defective']} defective"
    return f"{images} (objective {printable(weighing['objective'])}, {many(weighing['modules'], 'module')} at first)"


def size_of(path: Path) -> str:
    """Return the size of a file in megabytes."""
    return megabytes(path.stat().st_size)


def megabytes(size: int) -> str:
    """Return bytes as megabytes."""
    return f"{size / 1e6:.1f} MB"


def _parameters(tensors: "Tensors", module: str) -> int:
    """Return how many numbers a module has learnt: running statistics of its batches are none."""
    return sum(
        tensor.size
        for name, tensor in tensors.items()
        if name.startswith(f"{module}/student.") and not name.endswith(("running_mean", "running_var"))
    )


def many(count: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _table(name: str, *columns: str) -> Table:
    """Return an empty table: names to the left, never cut, and figures to the right."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.add_column(name, overflow="fold", min_width=8)
    for column in columns:
        table.add_column(column, justify="right")
    return table
