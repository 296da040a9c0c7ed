"""Freed memory is kept: the same large array, made again and again, is fetched from the system once."""

import subprocess
import sys

import pytest

from blemish.cli import allocator

FAULTS = """
import resource, sys
import numpy as np
from blemish.cli.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def touch():
    np.ones(6_000_000)  # 48 MB: 11,719 pages
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not allocator.keep_freed_memory(), reason="not glibc")
def test_large_arrays_are_fetched_once():
    assert faults("keep") < 1000
    assert faults("default") > 2000  # huge pages may make it fewer than 5 x 11,719


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert allocator.keep_freed_memory() is False
