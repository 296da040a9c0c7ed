"""The house stays one to live in: rooms of a dozen files, files and functions that fit a head (docs/design.md)."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def lines(path):
    return len(path.read_text().splitlines())


def test_no_room_has_more_than_a_dozen_files():
    rooms = {path.parent for path in SOURCES}
    assert len(rooms) > 15
    assert {str(room): len(list(room.glob("*.py"))) for room in rooms if len(list(room.glob("*.py"))) > 12} == {}


@pytest.mark.parametrize(("files", "most"), [(SOURCES, 300), (TESTS, 450)], ids=["src", "tests"])
def test_no_file_is_longer_than_a_head_can_hold(files, most):
    assert len(files) > 40
    assert {str(path): lines(path) for path in files if lines(path) > most} == {}


def test_no_function_is_longer_than_a_page():
    long = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = node.end_lineno - node.body[0].lineno + 1  # a command's options are no lines to follow
                if length > 40:
                    long[f"{path}:{node.name}"] = length
    assert long == {}
