"""How figures and facts are laid out on stdout."""

import json
import sys
from collections.abc import Iterable

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table


def output_console() -> Console:
    """Return the console for results; names in square brackets are no markup to it."""
    # Where no one looks, lines are not wrapped: a path must stay in one piece.
    return Console(markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else 200)


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and values in two columns; a value is never wrapped."""
    facts = list(facts)
    width = max(len(name) for name, _ in facts)
    for name, value in facts:
        print(f"{name:{width}}  {value}".rstrip())


def print_json(value: object) -> None:
    """Print plain values as JSON."""
    print(json.dumps(value, indent=2, allow_nan=False))


def empty_table(name: str, *columns: str) -> Table:
    """Return an empty table: names to the left, never cut, and figures to the right."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    table.add_column(name, overflow="fold", min_width=8)
    for column in columns:
        table.add_column(column, justify="right")
    return table
