"""The paper's tables, and one of methods, from the rows of a benchmark: our figures beside the paper's.

Each function takes rows (`Row`, or the same as a dict) and returns a table for each group of rows that can be compared,
of one data set, recipe, score and so on, the paper's score first; none if there is no row for it. Rows that are not
"ok" enter no mean and are counted below the table. `layout.markdown` writes the tables. A row without one of its
settings raises InputError.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from blemish.errors import InputError
from blemish.experiments.grid.rows import PLAIN
from blemish.experiments.tables import references
from blemish.experiments.tables.averages import (
    Run,
    cells,
    grouped,
    line,
    plain,
    read_runs,
    searched,
    sizes_text,
    used,
    wins,
)
from blemish.experiments.tables.captions import heading, notes, paper_note
from blemish.experiments.tables.markdown import NONE, PAPER, Column, Figure, Table, file_name

if TYPE_CHECKING:
    from blemish.experiments.grid.rows import Row

Rows = Iterable["Mapping[str, Any] | Row"]
Cells = tuple[Figure | str, ...]
Lines = dict[tuple[str, ...], Cells]

COMMON = "data", "recipe", "trained_sizes", "score"
METHODS = "imitation", "one group", "chained"
AUROC, AUPRO = Column("pixel AUROC", "pixel_auroc", beside=PAPER), Column("AUPRO", "aupro")
COST = Column("ms per image", "ms_per_image", digits=1)
ABOVE = Column("AUPRO above no search in", "aupro")
NEEDED = {
    1: "a row of several sizes without search",
    2: "a row of one size, 256 or the middle one, without search",
    3: "a row without search",
    4: "a row with a search, all modules",
    5: "a row with a search, or of another method",
}
LABELLED = (
    "Coverage: share of the defect types of which 10 % of the images weigh; these are not in the test.",
    "Above no search in: of how many seeds and draws the AUPRO is above that of the weights without labels, on the "
    "same test images.",
)


def numbered(number: int, rows: Rows) -> list[Table]:
    """Return the paper's table of that number, 1 ... 5; with the fifth `curve` and `methods`.

    Raises InputError for another number, and where there is no row for it.
    """
    known = list(rows)
    kinds = {1: (table_1,), 2: (table_2,), 3: (table_3,), 4: (table_4,), 5: (table_5, curve, methods)}
    if number not in kinds:
        raise InputError(f"table: {number} is not allowed, expected 1 to 5")
    found = [table for kind in kinds[number] for table in kind(known)]
    if not found:
        raise InputError(f"table {number}: none of {len(known)} rows is for it, needed is {NEEDED[number]}")
    return found


def table_1(rows: Rows) -> list[Table]:
    """Return Table I: pixel AUROC and AUPRO of pyramids, then the published figures."""
    columns = AUROC, Column("AUPRO", "aupro", beside=PAPER)
    own = references.OWN.pixel_auroc, references.OWN.aupro
    tables = []
    for runs in grouped(read_runs(rows), "data", "recipe", "trained_sizes", where=_pyramid):
        lines: Lines = {}
        for group in grouped(runs, "score", "weighting", "teacher", "sizes", "levels"):
            first = group[0]
            name = f"{first['teacher']}, {sizes_text(first['sizes'])}, levels {sizes_text(first['levels'])}"
            key = f"{name}, score {first['score']}, weights {first['weighting']}", "measured here"
            lines[key] = line(group, columns, among=runs, beside=own)
        for one in references.TABLE_1:
            lines[one.method, one.source] = Figure(beside=one.pixel_auroc), Figure(beside=one.aupro)
        title = "Table I: pyramids, beside published figures"
        tables.append(
            _table(title, runs, keys=("method", "source"), columns=columns, lines=lines, name="table1",
                   teacher="WideResNet-50")
        )  # fmt: skip
    return tables


def table_2(rows: Rows) -> list[Table]:
    """Return Table II: teachers and sets of levels at one size, 256, or the middle one of a grid without 256."""
    columns = AUROC, AUPRO
    tables = []
    for runs in grouped(read_runs(rows), *COMMON, "weighting", where=_one_size):
        (size,) = runs[0]["sizes"]
        papers = references.TABLE_2 if size == 256 else {}
        lines: Lines = {}
        if _papers_data(runs):
            lines = {(name, sizes_text(levels)): (Figure(beside=value), Figure())
                     for (name, levels), value in papers.items()}  # fmt: skip
        for group in grouped(runs, "levels", "teacher"):
            name, levels = group[0]["teacher"], group[0]["levels"]
            beside = papers.get((name, levels)), None
            lines[name, sizes_text(levels)] = line(group, columns, among=runs, beside=beside)
        title = f"Table II: teachers and levels at size {size}"
        tables.append(_table(title, runs, keys=("teacher", "levels"), columns=columns, lines=lines, name="table2"))
    return tables


def table_3(rows: Rows) -> list[Table]:
    """Return Table III: categories by sizes and pyramid, and their mean; one table for pixel AUROC, one for AUPRO."""
    tables = []
    for runs in grouped(read_runs(rows), *COMMON, "weighting", "teacher", "levels", where=plain):
        sizes, names = {run["sizes"] for run in runs}, sorted({run["category"] for run in runs})
        if _papers_data(runs):
            sizes, names = sizes | set(references.TABLE_3_SIZES), list(references.TABLE_3)
        order = sorted(sizes, key=lambda one: (len(one), one))
        by_size = [[run for run in runs if run["sizes"] == one] for one in order]
        for metric in (AUROC, AUPRO):
            columns = [Column(sizes_text(one), metric.measure, beside=metric.beside) for one in order]
            lines: Lines = {}
            for name in names:
                groups = [[run for run in group if run["category"] == name] for group in by_size]
                papers = [references.table_3_figure(name, one) for one in order]
                lines[(name,)] = cells(groups, columns, beside=papers if metric.beside else ())
            found = [{run["category"] for run in used(group, metric.measure)} for group in by_size]
            papers = [references.table_3_mean(one, size) for one, size in zip(found, order, strict=True)]
            lines[("mean",)] = cells(by_size, columns, among=runs, beside=papers if metric.beside else ())
            tables.append(
                _table(f"Table III: {metric.name} by category and size", runs, keys=("category",), columns=columns,
                       lines=lines, name=f"table3-{metric.measure}", teacher="ResNet-50")
            )  # fmt: skip
    return tables


def table_4(rows: Rows) -> list[Table]:
    """Return Table IV: share of the defect types whose images weigh; figures on these images and on the test."""
    columns = (
        Column("validation pixel AUROC", "validation pixel_auroc", beside=PAPER),
        Column("test pixel AUROC", "pixel_auroc", beside=PAPER),
        Column("test AUPRO", "aupro"),
        Column("test AUPRO without search", "aupro"),
        ABOVE,
    )
    tables = []
    for block in grouped(read_runs(rows), *COMMON, "teacher", "sizes", "levels", where=_whole):
        without = _without_search(block)
        for runs in grouped(block, "weighting", where=searched):
            lines: Lines = {}
            for share in sorted({*references.TABLE_4, *(run["coverage"] for run in runs)}):
                rivals = [run for run in without if (run["coverage"] or 0) == share]
                group = [run for run in runs if run["coverage"] == share] if share else rivals
                papers = *references.TABLE_4.get(share, (None, None)), None
                first = line(group, columns[:3], among=runs, beside=papers)
                same = line(rivals, columns[3:4], among=runs)[0], wins(group, rivals, "aupro")
                lines[(f"{100 * share:.0f} %",)] = *first, *(same if share else (NONE, NONE))
            objective = runs[0]["weighting"]
            tables.append(
                _table(f"Table IV: coverage of the labelled images, objective {objective}", [*without, *runs],
                       keys=("coverage",), columns=columns, lines=lines, name=f"table4-{objective}", extra=LABELLED)
            )  # fmt: skip
    return tables


def table_5(rows: Rows) -> list[Table]:
    """Return Table V: no search, all modules weighted, and the 4, 5, 6 best, at the highest coverage there is."""
    return _pruned(rows, "table5", "Table V: weighted and pruned modules", tuple(references.TABLE_5_BEST))


def curve(rows: Rows) -> list[Table]:
    """Return what Table V has for every number of modules that was kept, at the highest coverage there is."""
    return _pruned(rows, "curve", "Every number of modules", ())


def methods(rows: Rows) -> list[Table]:
    """Return the methods side by side: modules of the paper, one group of students for all sizes, chained students."""
    columns = (
        Column("pixel AUROC", "pixel_auroc", beside=METHODS[0]),
        Column("AUPRO", "aupro", beside=METHODS[0]),
        Column("image AUROC", "image_auroc"),
        Column("pixel AP", "pixel_ap"),
        Column("fit s, all trained sizes", "fit_seconds", digits=0),
        COST,
    )
    tables = []
    for runs in grouped(read_runs(rows), *COMMON, "weighting", "teacher", "levels", where=_no_labels):
        if {run["method"] for run in runs} <= {METHODS[0]}:
            continue
        lines: Lines = {}
        for sizes in sorted({run["sizes"] for run in runs}, key=lambda one: (-len(one), one)):
            own: tuple[float | None, ...] = ()
            for method in METHODS:
                group = [run for run in runs if (run["method"], run["sizes"]) == (method, sizes)]
                if group:
                    figures = line(group, columns, among=runs, beside=own)
                    lines[sizes_text(sizes), method] = figures
                    own = tuple(cell.mean for cell in figures) if method == METHODS[0] else own
        title = "Methods: students of each module, one group for all sizes, chained students"
        tables.append(_table(title, runs, keys=("sizes", "method"), columns=columns, lines=lines, name="methods"))
    return tables


def _pruned(rows: Rows, name: str, title: str, wanted: Sequence[int]) -> list[Table]:
    """Return a table for each score; wanted: how many modules are kept, if not every number that there is."""
    columns = AUROC, AUPRO, COST, ABOVE
    tables = []
    for block in grouped(read_runs(rows), *COMMON, "teacher", "sizes", "levels", where=_weighed):
        top = max(run["coverage"] for run in block)
        runs = [run for run in block if run["coverage"] == top]
        if not any(map(searched, runs)):
            continue
        lines: Lines = {}
        without, modules = _without_search(runs), len(runs[0]["sizes"]) * len(runs[0]["levels"])
        own = without[0]["weighting"] if without else PLAIN[0]
        figures = line(without, columns[:3], among=runs, beside=(references.TABLE_5_MEAN, None, None))
        lines[f"no search: {own}", str(modules)] = *figures, NONE
        for group in grouped(runs, "weighting", where=searched):
            for count in range(modules, 0, -1):
                some = [run for run in group if (run["keep"] or modules) == count]
                if count < modules and not (count in wanted if wanted else some):
                    continue
                paper = references.TABLE_5_BEST.get(count) if count < modules else references.TABLE_5_WEIGHTED
                figures = line(some, columns[:3], among=runs, beside=(paper, None, None))
                lines[group[0]["weighting"], str(count)] = *figures, wins(some, without, "aupro")
        tables.append(
            _table(f"{title}, coverage {100 * top:.0f} %", runs, keys=("weights", "modules"), columns=columns,
                   lines=lines, name=name, extra=LABELLED)
        )  # fmt: skip
    return tables


def _table(
    title: str,
    runs: Sequence[Run],
    *,
    keys: tuple[str, ...],
    columns: Sequence[Column],
    lines: Lines,
    name: str,
    teacher: str | None = None,
    extra: Sequence[str] = (),
) -> Table:
    """Return a table with its heading and notes; runs: all rows it is about; teacher: the paper's, if it says which."""
    first = runs[0]
    settings = (
        *(first[key] for key in ("data", "teacher", "recipe")),
        *(sizes_text(first[key]) for key in ("sizes", "levels")),
    )
    compared = PAPER in {column.beside for column in columns}
    all_cells = [cell for line in lines.values() for cell in line]
    return Table(
        title=f"{title}, score {first['score']}" if len({run["score"] for run in runs}) == 1 else title,
        name=file_name(name, *settings, first["score"]),
        heading=heading(runs),
        keys=keys,
        columns=tuple(columns),
        lines=lines,
        notes=(*notes(runs, columns, all_cells), *([paper_note(runs, teacher)] if compared else []), *extra),
    )


def _papers_data(runs: Sequence[Run]) -> bool:
    return references.is_papers_data(run["category"] for run in runs)


def _without_search(runs: Sequence[Run]) -> list[Run]:
    """Return the rows with all modules and the weights that the score has without labels."""
    some = [run for run in runs if run["weighting"] in PLAIN and run["keep"] is None]
    free = [run for run in some if run["weighting"] == "label-free"]
    return free or some


def _pyramid(run: Run) -> bool:
    return plain(run) and len(run["sizes"]) > 1


def _one_size(run: Run) -> bool:
    sizes = run["trained_sizes"] or run["sizes"]
    return plain(run) and run["sizes"] == ((256,) if 256 in sizes else (sizes[len(sizes) // 2],))


def _whole(run: Run) -> bool:
    return run["keep"] is None and (plain(run) or _weighed(run))


def _weighed(run: Run) -> bool:
    return run["method"] == METHODS[0] and bool(run["coverage"])


def _no_labels(run: Run) -> bool:
    return not run["coverage"] and run["keep"] is None and run["weighting"] in PLAIN
