"""What a table of the benchmark is made of, and how it is written as Markdown."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from blemish.errors import printable

NONE = "-"
PAPER = "paper"


@dataclass(frozen=True, slots=True)
class Figure:
    """One of our figures, with what stands beside it; None where there is none.

    mean: over categories of the mean over seeds and draws. lowest, highest: of the means over categories, one for each
    seed and draw that has all of them; None for fewer than two. runs: the fewest and the most seeds and draws that a
    category has. lacking: how many of the table's categories have none. beside: the figure to compare with.
    """

    mean: float | None = None
    lowest: float | None = None
    highest: float | None = None
    runs: tuple[int, int] = (0, 0)
    lacking: int = 0
    beside: float | None = None

    @property
    def difference(self) -> float | None:
        """Ours less the other."""
        return None if self.mean is None or self.beside is None else self.mean - self.beside


@dataclass(frozen=True, slots=True)
class Column:
    """A column of figures.

    digits: after the point. beside: what its figures are compared with, "paper" (three digits) or another, "" for
    nothing.
    """

    name: str
    measure: str
    digits: int = 4
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table: names of a line -> its cells, a figure or a text for each column.

    heading: what it was measured on, with and by. name: for files, unlike that of the other tables of its kind.
    """

    title: str
    name: str
    heading: str
    keys: tuple[str, ...]
    columns: tuple[Column, ...]
    lines: dict[tuple[str, ...], tuple[Figure | str, ...]]
    notes: tuple[str, ...] = field(default=())


def markdown(tables: Sequence[Table]) -> str:
    """Return tables as GitHub's Markdown: title, heading, lines, notes."""
    return "\n".join(_one(table) for table in tables)


def signed(difference: float | None, *, digits: int = 3) -> str:
    """Return a difference with its sign, "-" for None."""
    if difference is None:
        return NONE
    text = f"{difference:+.{digits}f}"
    return text[1:] if float(text) == 0 else text


def file_name(*parts: str) -> str:
    """Return a name for a file, of at most 200 characters, in which nothing but letters, digits and -._ is left."""
    return "-".join(re.sub(r"[^\w.]+", "_", part).strip("._") for part in parts if part)[:200]


def escaped(text: str) -> str:
    """Return a text on one line in which nothing is Markdown."""
    return re.sub(r"([\\|<>*`\[\]])", r"\\\1", printable(text))


def _one(table: Table) -> str:
    names = [escaped(key) for key in table.keys]
    for column in table.columns:
        names += [escaped(column.name), *((escaped(column.beside), "difference") if column.beside else ())]
    rule = ["---"] * len(table.keys) + ["---:"] * (len(names) - len(table.keys))
    lines = [names, rule]
    for keys, cells in table.lines.items():
        line = [escaped(key) for key in keys]
        for column, cell in zip(table.columns, cells, strict=True):
            line += _cells(column, cell)
        lines.append(line)
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    notes = "\n".join(f"- {escaped(note)}" for note in table.notes)
    return f"### {escaped(table.title)}\n\n{escaped(table.heading)}\n\n{body}\n\n{notes}\n"


def _cells(column: Column, cell: Figure | str) -> list[str]:
    if isinstance(cell, str):
        return [escaped(cell)]
    own = NONE
    if cell.mean is not None:
        own = f"{cell.mean:.{column.digits}f}"
        if cell.lowest is not None:
            own += f" ({cell.lowest:.{column.digits}f} - {cell.highest:.{column.digits}f})"
        if cell.lacking:
            own += f", {cell.lacking} lacking"
    if not column.beside:
        return [own]
    digits = 3 if column.beside == PAPER else column.digits
    other = NONE if cell.beside is None else f"{cell.beside:.{digits}f}"
    return [own, other, signed(cell.difference, digits=digits)]
