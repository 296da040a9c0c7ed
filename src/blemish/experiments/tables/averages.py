"""From the rows of a benchmark to figures: which rows belong together, their means and spreads."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from statistics import fmean
from typing import Any

from blemish.errors import InputError, printable
from blemish.experiments.grid.rows import METRICS, PLAIN, Row
from blemish.experiments.tables.markdown import NONE, Column, Figure

Run = dict[str, Any]  # a row with its metrics beside its settings, "validation aupro" and the like among them

SETTINGS = ("id", "status", "data", "category", "teacher", "sizes", "levels", "seed", "recipe", "method", "score",
            "weighting")  # fmt: skip
EXTRAS = ("error", "keep", "coverage", "draw", "trained_sizes", "fit_seconds", "ms_per_image", "commit", "machine",
          "threads", "blemish", "teacher_sha256", "data_sha256", "recipe_settings")  # fmt: skip
VALIDATION = "validation "  # before the name of a metric


def read_runs(rows: "Iterable[Mapping[str, Any] | Row]") -> list[Run]:
    """Return the rows, the newest of each id; raises InputError for a row without one of SETTINGS."""
    runs: dict[str, Run] = {}
    for row in rows:
        fields = row if isinstance(row, Mapping) else row.model_dump()
        missing = [name for name in SETTINGS if name not in fields]
        if missing:
            raise InputError(f"row {printable(str(fields.get('id')))}: field {missing[0]} is missing")
        run = {name: fields.get(name) for name in (*SETTINGS, *EXTRAS)}
        run["commit"] = run["commit"] or "unknown"
        for name in ("sizes", "levels", "trained_sizes"):
            run[name] = tuple(sorted(run[name] or ()))
        for prefix, metrics in (("", fields.get("metrics")), (VALIDATION, fields.get("validation_metrics"))):
            run |= {prefix + name: (metrics or {}).get(name) for name in METRICS}
        runs[str(fields["id"])] = run
    return list(runs.values())


def plain(run: Run) -> bool:
    """Whether a row is of the paper's method with all modules, no search, and all test images."""
    return run["method"] == "imitation" and not run["coverage"] and run["keep"] is None and run["weighting"] in PLAIN


def searched(run: Run) -> bool:
    """Whether the weights of a row were searched for on labelled images."""
    return run["method"] == "imitation" and bool(run["coverage"]) and run["weighting"] not in PLAIN


def grouped(runs: Iterable[Run], *names: str, where: Callable[[Run], bool] | None = None) -> list[list[Run]]:
    """Return the rows for which `where` holds, in groups of equal settings, in the order of these."""
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        if where is None or where(run):
            groups.setdefault(tuple(run[name] for name in names), []).append(run)
    return [groups[key] for key in sorted(groups, key=lambda key: [(part is None, part) for part in key])]


def average(runs: Sequence[Run], measure: str, *, among: int = 0, beside: float | None = None) -> Figure:
    """Return the mean of a measure over categories, seeds and draws, of rows that are "ok" and have it.

    among: the number of categories that there should be.
    """
    found: dict[str, dict[tuple[Any, Any], list[float]]] = {}
    for run in used(runs, measure):
        found.setdefault(run["category"], {}).setdefault((run["seed"], run["draw"]), []).append(run[measure])
    lacking = max(among - len(found), 0)
    if not found:
        return Figure(lacking=lacking, beside=beside)
    means = [{key: fmean(values) for key, values in by.items()} for by in found.values()]
    # A seed or draw that lacks a category would widen the spread by what the category is, not by chance.
    complete = set.intersection(*(set(by) for by in means))
    spread = [fmean(by[key] for by in means) for key in complete]
    counts = [len(by) for by in found.values()]
    return Figure(
        mean=fmean(fmean(by.values()) for by in means),
        lowest=min(spread) if len(spread) > 1 else None,
        highest=max(spread) if len(spread) > 1 else None,
        runs=(min(counts), max(counts)),
        lacking=lacking,
        beside=beside,
    )


def wins(runs: Iterable[Run], rivals: Iterable[Run], measure: str) -> str:
    """Return in how many of the seeds and draws rows are above their rivals on the same images: "4 of 5".

    Compared is the mean over the categories that both have. Of rivals those count that have the same coverage. "-"
    where nothing can be compared.
    """
    keys = "category", "coverage", "seed", "draw"
    others = {tuple(run[key] for key in keys): run[measure] for run in used(rivals, measure)}
    gains: dict[tuple[Any, Any], list[float]] = {}
    for run in used(runs, measure):
        other = others.get(tuple(run[key] for key in keys))
        if other is not None:
            gains.setdefault((run["seed"], run["draw"]), []).append(run[measure] - other)
    return f"{sum(fmean(values) > 0 for values in gains.values())} of {len(gains)}" if gains else NONE


def line(
    runs: Sequence[Run], columns: Sequence[Column], *, among: Sequence[Run], beside: Sequence[float | None] = ()
) -> tuple[Figure, ...]:
    """Return the figures of one group of rows, one for each column."""
    return cells([runs] * len(columns), columns, among=among, beside=beside)


def cells(
    groups: Sequence[Sequence[Run]],
    columns: Sequence[Column],
    *,
    among: Sequence[Run] = (),
    beside: Sequence[float | None] = (),
) -> tuple[Figure, ...]:
    """Return the figure of each group of rows in its column; among: the rows whose categories a mean should have."""
    count = len({run["category"] for run in among})
    papers = beside or [None] * len(columns)
    return tuple(
        average(group, column.measure, among=count, beside=paper)
        for group, column, paper in zip(groups, columns, papers, strict=True)
    )


def used(runs: Iterable[Run], measure: str) -> list[Run]:
    """Return the rows that enter a mean: "ok", and with the measure, a finite number."""
    return [run for run in runs if ok(run) and run[measure] is not None and isfinite(run[measure])]


def sizes_text(numbers: Sequence[int]) -> str:
    """Return sizes or levels as they are written everywhere: 128/256/384."""
    return "/".join(map(str, numbers))


def ok(run: Run) -> bool:
    """Whether a row may enter a mean."""
    return bool(run["status"] == "ok")
