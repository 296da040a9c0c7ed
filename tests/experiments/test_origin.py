"""A row says which code measured it."""

import subprocess
from pathlib import Path

import pytest

from blemish.experiments.runs import run


def test_the_commit_is_that_of_the_checkout_that_runs():
    root = Path(__file__).resolve().parents[2]
    git = subprocess.run(
        ["git", "-C", root, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    if git.returncode or not Path(run.__file__).is_relative_to(root):
        pytest.skip("not a checkout")
    assert run._commit() == git.stdout.strip()
