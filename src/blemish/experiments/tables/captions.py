"""What stands above and under a table: what was measured with what, and what was left out and why."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from blemish.errors import printable
from blemish.experiments.tables.averages import VALIDATION, Run, ok, sizes_text, used
from blemish.experiments.tables.markdown import Column, Figure
from blemish.experiments.tables.references import DATA, SOURCE, TABLE_3, TEACHERS, is_papers_data

REASONS = 5  # kinds of failures that are told apart


def heading(runs: Sequence[Run]) -> str:
    """Return the line above a table: data, teacher, recipe, sizes, levels, score, seeds, draws, commits, machines."""
    counted = list(filter(ok, runs)) or runs
    categories, draws = {(run["data"], run["category"]) for run in counted}, {run["draw"] for run in counted} - {None}
    parts = [
        ("data", f"{_listed(counted, 'data')} ({_many(len(categories), 'category', 'categories')})"),
        ("teacher", _listed(counted, "teacher")),
        ("recipe", _listed(counted, "recipe")),
        ("trained sizes", _listed(counted, "trained_sizes", sizes_text)),
        ("levels", _listed(counted, "levels", sizes_text)),
        ("score", _listed(counted, "score")),
        ("seeds", _listed(counted, "seed")),
        ("draws", str(len(draws) or "")),
        ("commit", _listed(counted, "commit", lambda commit: str(commit)[:10])),
        ("machine", _listed(counted, "machine")),
        ("threads", _listed(counted, "threads")),
    ]
    return "; ".join(f"{name}: {text}" for name, text in parts if text)


def notes(runs: Sequence[Run], columns: Iterable[Column], cells: Iterable[Figure | str]) -> tuple[str, ...]:
    """Return what is to be said under every table: what its means are of, and which rows were left out and why."""
    counts = [cell.runs for cell in cells if isinstance(cell, Figure) and cell.mean is not None]
    low, high = min((low for low, _ in counts), default=0), max((high for _, high in counts), default=0)
    number = _many(low, "run") if low == high else f"{low} to {high} runs"
    lines = [f"Mean over categories of the mean over seeds and draws ({number} per category); in brackets the lowest "
             "and the highest of the seeds and draws."]  # fmt: skip
    lines.append(_left_out(runs))
    for column in {column.measure: column for column in columns}.values():
        having = len(used(runs, column.measure))
        should = [run for run in runs if ok(run) and (run["coverage"] or not column.measure.startswith(VALIDATION))]
        if without := having and len(should) - having:
            lines.append(f"{_many(without, 'row')} without {column.name} not in its means.")
    subjects = (("blemish", ()), ("teacher_sha256", ("teacher",)), ("recipe_settings", ("recipe",)),
                ("data_sha256", ("data", "category")))  # fmt: skip
    for field, subject in subjects:
        kinds = {(tuple(run[name] for name in subject), str(run[field])) for run in filter(ok, runs)}
        if len(kinds) > len({key for key, _ in kinds}):
            lines.append(f"Careful: these rows differ in {field}.")
    return tuple(lines)


def paper_note(runs: Sequence[Run], teacher: str | None) -> str:
    """Return where the paper's figures are from, and what is other in ours; teacher: the paper's, if it says which."""
    categories = {run["category"] for run in runs}
    differs = []
    if not is_papers_data(categories):
        differs.append("other data")
    elif len(categories) < len(TABLE_3):
        differs.append(f"{len(categories)} of the {len(TABLE_3)} categories only")
    if teacher and any(TEACHERS.get(run["teacher"]) != teacher for run in runs):
        differs.append("another teacher")
    if any(run["recipe"] != "paper" for run in runs):
        differs.append("another recipe")
    text = f"The paper's figures: {SOURCE}, {DATA}{f', {teacher}' if teacher else ''}."
    return text + (f" Not like for like: {', '.join(differs)}." if differs else "")


def _many(count: int, noun: str, plural: str | None = None) -> str:
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def _listed(runs: Iterable[Run], field: str, form: Callable[[Any], str] = str) -> str:
    return ", ".join(form(value) for value in sorted({run[field] for run in runs} - {None}))


def _left_out(runs: Sequence[Run]) -> str:
    failed = [run for run in runs if not ok(run)]
    if not failed:
        return f"Left out: none of {_many(len(runs), 'row')}."
    kinds = Counter((run["status"], run["error"]) for run in failed)
    reasons = []
    for kind, count in kinds.most_common(REASONS):
        names = sorted({run["category"] for run in failed if (run["status"], run["error"]) == kind})
        reason = printable(kind[1] or "no reason given")[:160]
        reasons.append(f"{count} x {kind[0]} ({', '.join(names)}): {reason}")
    if len(kinds) > REASONS:
        reasons.append("and others")
    return f"Left out: {len(failed)} of {_many(len(runs), 'row')}. {'; '.join(reasons)}."
