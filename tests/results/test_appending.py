"""Lines that are added to results.jsonl: each once, wherever the last attempt has ended."""

import errno
import os

import pytest

from blemish.errors import StorageError
from blemish.results.appending import append_lines

FIRST, TWO = b'{"path": "0.png"}\n', b'{"path": "1.png"}\n{"path": "2.png", "regions": [{"area": 1}]}\n'


@pytest.mark.parametrize("there", range(len(TWO) + 1))
def test_what_was_begun_is_completed(tmp_path, there):
    file = tmp_path / "results.jsonl"
    file.write_bytes(FIRST + TWO[:there])
    append_lines(file, TWO)
    assert file.read_bytes() == FIRST + TWO


def test_a_new_file_and_one_that_somebody_has_cut(tmp_path):
    file = tmp_path / "results.jsonl"
    append_lines(file, FIRST)
    append_lines(file, TWO)
    assert file.read_bytes() == FIRST + TWO
    file.write_bytes(b'{"path": "x')
    append_lines(file, TWO)
    assert file.read_bytes() == b'{"path": "x\n' + TWO


def test_a_full_disk_leaves_nothing_of_a_line(tmp_path, monkeypatch):
    file, real = tmp_path / "results.jsonl", os.pwrite
    file.write_bytes(FIRST + TWO[:5])

    def full(descriptor, data, offset):
        if offset > len(FIRST) + 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, bytes(data[:7]), offset)

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(StorageError, match=r"results\.jsonl: cannot be written: no space left"):
        append_lines(file, TWO)
    assert file.read_bytes() == FIRST
    monkeypatch.undo()
    append_lines(file, TWO)
    assert file.read_bytes() == FIRST + TWO
