"""What a caller may give as an argument: plain numbers and words, numpy's too; or one line that names what is wrong."""

import math
import operator
import os
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

from blemish.errors import InputError, printable

SHARE = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(e-?[0-9]+)?\s*(%?)")


def whole(name: str, value: Any, *, allowed: range, rule: str = "") -> int:
    """Return a whole number as an int; InputError for anything else: true, false and 2.0 are none."""
    try:
        found = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = None
    if found is None or found not in allowed:
        expected = rule or f"expected a whole number from {allowed[0]} to {allowed[-1]}"
        raise InputError(f"{name}: {_exact(value)} is not allowed, {expected}")
    return found


def number(name: str, value: Any, *, most: float = math.inf, rule: str) -> float:
    """Return a finite number above 0, and at most `most`, as a float; InputError for anything else."""
    try:
        found = math.nan if isinstance(value, bool | str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not (0 < found <= most and math.isfinite(found)):
        raise InputError(f"{name}: {_exact(value)} is not allowed, expected {rule}")
    return found


def share(name: str, value: Any, *, rule: str = "expected a share of the image such as 0.1% or 0.001") -> float:
    """Return a share in [0, 1), given as 5% or 0.05, as text or a number; InputError for anything else, such as 5."""
    text = str(value).strip()
    if match := SHARE.fullmatch(text):
        found = float(match[1] + (match[2] or "")) / (100 if match[3] else 1)
        if 0 <= found < 1:
            return found
        if found < 100 and not match[3]:
            raise InputError(f"{name}: {shown(value)} is not clear, write {text}% or {found / 100:g}")
    raise InputError(f"{name}: {shown(value)} is not allowed, {rule}")


def word(name: str, value: Any, known: Collection[str]) -> str:
    """Return one of the words that are known; InputError for anything else."""
    if not isinstance(value, str) or value not in known:
        *first, last = known
        raise InputError(f"{name}: {shown(value)} is not allowed, expected {', '.join(first)} or {last}")
    return value


def shown(value: object) -> str:
    """Return a value for a message, on one line and not too long."""
    return printable(str(value)[:200])


def given_path(value: Any, name: str) -> Path:
    """Return a path that is text or path-like; InputError, with the argument's name, for anything else.

    An empty one is refused: it would else be the working folder.
    """
    if not isinstance(value, str | os.PathLike):
        kind = "None" if value is None else type(value).__name__
        raise InputError(f"{name}: {kind} is not allowed, expected a path")
    if not os.fspath(value):
        raise InputError(f"{name}: empty path; name a file or a folder")
    return Path(os.fsdecode(value))


def _exact(value: object) -> str:
    """Return a value for a message about numbers: the text "1" is none, and must not look like one."""
    return shown(repr(value) if isinstance(value, str | bytes) else value)
