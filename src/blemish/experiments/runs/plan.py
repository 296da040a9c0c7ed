"""A dry run: what a grid would train and measure, how much disk it needs, and from measured speed how long it takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path

import torch

from blemish.errors import InputError
from blemish.experiments.grid.grid import UNKNOWN, Grid, Unit, units
from blemish.experiments.grid.rows import PLAIN, read_rows
from blemish.experiments.runs.run import DONE, read_all, weights_sha256
from blemish.experiments.runs.speed import Speed, shapes
from blemish.experiments.store.store import Store
from blemish.method.learning.features import RAM_FOR_FEATURES
from blemish.method.modules import new_module
from blemish.method.teacher import architecture, pick_device
from blemish.model.assembly import stored_tensors

FLOAT = 4  # bytes


@dataclass(frozen=True, slots=True)
class Plan:
    """What a grid is going to do: all of it, and what is done.

    modules: students to be trained, those of the other methods among them. Bytes: at the end, and for a while (the
    largest features of one module that do not fit in memory). Seconds: of what is not done.
    """

    models: int
    models_done: int
    modules: int
    modules_done: int
    rows: int
    rows_done: int
    model_bytes: int
    map_bytes: int
    temporary_bytes: int
    training_seconds: float
    row_seconds: float
    notes: list[str]


def plan(data: Sequence[Path], grid: Grid, *, out: Path, only: Sequence[str]) -> Plan:
    """Return what `runs.run` would do with the same arguments; it trains nothing and writes nothing.

    Speed: what modules of the same teacher and recipe took here before, else a few steps of each kind on random
    features. Weights that are not on this machine are noted; nothing can be known as done with them. Raises InputError
    as `runs.run` does for everything else.
    """
    grid.check()
    contents = read_all(data, only=only)
    digests, notes = {}, []
    for name in grid.teachers:
        digests[name], note = _digest(name, grid.weights.get(name))
        notes += note
    work = list(units(grid, contents, digests))
    known = read_rows(out / "rows.jsonl")
    done = {row.id for row in known if row.status in DONE}
    stores = [Store(unit, grid, out=out) for unit, _ in work]
    missing = [store.missing() for store in stores]
    left = [(unit, row) for unit, rows in work for row in rows if row.identity not in done]
    speed = Speed(stores, known, device=pick_device(grid.device))
    if speed.search is None and any(row.weighting not in PLAIN for _, row in left):
        notes.append("weight searches are not in the time: none was measured here yet")
    return Plan(
        models=len(work),
        models_done=sum(not names for names in missing),
        modules=sum(len(unit.names) for unit, _ in work),
        modules_done=sum(len(unit.names) for unit, _ in work) - sum(map(len, missing)),
        rows=sum(len(rows) for _, rows in work),
        rows_done=sum(len(rows) for _, rows in work) - len(left),
        model_bytes=sum(_model_bytes(unit) for unit, _ in work),
        map_bytes=sum(_map_bytes(unit) for unit, _ in work),
        temporary_bytes=max(map(_temporary_bytes, [unit for unit, _ in work]), default=0),
        training_seconds=sum(speed.training(store.unit, names) for store, names in zip(stores, missing, strict=True)),
        row_seconds=sum(speed.row(unit, row) for unit, row in left),
        notes=notes,
    )


@cache
def module_bytes(teacher: str, size: int, level: int) -> int:
    """Return the bytes of one module in a model file: its student, and its statistics on good images."""
    with torch.device("meta"):
        module = new_module(architecture(teacher), size=size, level=level, weight=1.0, seed=0)
    return FLOAT * sum(tensor.numel() for tensor in stored_tensors([module], None).values())


def _digest(teacher: str, file: Path | None) -> tuple[str, list[str]]:
    try:
        return weights_sha256(teacher, file), []
    except InputError as error:
        if file is not None:
            raise
        return UNKNOWN, [str(error)]


def _model_bytes(unit: Unit) -> int:
    if unit.method != "imitation":  # of the others only maps are kept
        return 0
    return sum(module_bytes(unit.teacher, size, level) for size in unit.sizes for level in unit.levels)


def _map_bytes(unit: Unit) -> int:
    scores = 1 if unit.method == "chained" else 2
    positions = sum((size >> level) ** 2 for size in unit.sizes for level in unit.levels)
    return scores * FLOAT * positions * len(unit.contents.samples)


def _temporary_bytes(unit: Unit) -> int:
    """Return the most that the two features of one module take on the disk while it is trained."""
    images = unit.contents.trained
    sizes = [
        [FLOAT * images * prod(shape) for shape in pair]
        for pair in shapes(unit.teacher, unit.sizes, unit.levels).values()
    ]
    return max(sum(size for size in pair if size > RAM_FOR_FEATURES) for pair in sizes)


def print_plan(plan: Plan) -> None:
    """Print a plan on stdout, for a person."""
    from blemish.printing.layout import print_facts
    from blemish.printing.numbers import duration

    seconds = plan.training_seconds + plan.row_seconds
    parts = f"training {duration(plan.training_seconds)}, rows {duration(plan.row_seconds)}"
    disk = f"{_megabytes(plan.model_bytes)} of models, {_megabytes(plan.map_bytes)} of module maps"
    if plan.temporary_bytes:
        disk += f"; {_megabytes(plan.temporary_bytes)} more for features while a module is trained"
    print_facts(
        [
            ("models", _progress(plan.models, plan.models_done, "trained")),
            ("modules", _progress(plan.modules, plan.modules_done, "trained")),
            ("rows", _progress(plan.rows, plan.rows_done, "measured")),
            ("disk", disk),
            ("time left", f"{duration(seconds)} ({parts}), from speed measured on this machine"),
            *(("note", note) for note in plan.notes),
        ]
    )


def _progress(total: int, done: int, verb: str) -> str:
    return f"{total}, {done} {verb}, {total - done} to do"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
