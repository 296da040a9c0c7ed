"""What the tests of the model file share: a small one, and others made byte by byte."""

import json
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from blemish.errors import ModelFileError
from blemish.model.file import load

FIELDS = {
    "schema_version": 3,
    "blemish": "0.1.0",
    "created": "2026-01-02T03:04:05Z",
    "teacher": {"name": "t", "sha256": "a" * 64, "embedded": False},
    "preprocessing": {"resize": "pillow bilinear", "mean": [0.5, 0.25, 0.0], "std": [0.5, 0.125, 1.0]},
    "sizes": [128, 256],
    "reference_size": 256,
    "modules": [{"size": 128, "level": 3, "weight": 0.25}, {"size": 256, "level": 3, "weight": 0.75}],
    "recipe": {"name": "fast", "lr": 1.0, "steps": 3, "crop": True, "stop": None, "levels": [2, 3.5, "x", False]},
    "seed": 0,
    "score": "whitened",
    "calibration": {
        "good": -0.5,
        "limit": 2.5,
        "held_out": [
            {"name": "a.png", "sha256": "1" * 64, "score": 0.25, "group": "left"},
            {"name": "b.png", "sha256": "2" * 64, "score": 0.75},
            {"name": "c.png", "sha256": "3" * 64, "score": 0.5, "group": "left"},
        ],
        "review": 0.5,
        "ng": 0.75,
        "asked": [0.7, 0.4],
    },
    "weighing": {"objective": "paper", "labelled": 5, "defective": 2, "modules": 9, "seconds": 0.5},
    "data": {
        "train": [{"sha256": "b" * 64, "thumbnail": "00ff" * 128}],
        "held_out": [],
        "weighed": [],
        "tested": [{"sha256": "c" * 64, "thumbnail": "80" * 256}],
    },
    "libraries": {"torch": "2.6"},
}


CALIBRATION = FIELDS["calibration"]


# What files of versions 1 and 2 say of their only threshold.
OLD_CALIBRATION = {"held_out": 3, "threshold": 0.5, "false_alarm_rate": 0.25, "good": -0.5, "limit": 2.5}


EARLIER = {**FIELDS, "schema_version": 2, "calibration": OLD_CALIBRATION}


# With what those that are not given stand for.
WHOLE = {
    **FIELDS,
    "preprocessing": {**FIELDS["preprocessing"], "bits": 16},
    "calibration": {
        **CALIBRATION,
        "held_out": [{"group": "", **image} for image in CALIBRATION["held_out"]],
        "earlier": None,
        "crossed": 0,
        "min_area": 0.0,
    },
    "data": {**FIELDS["data"], "told_by": "bytes", "judged": []},
    "roi": None,
}


TENSORS = {
    "256/3.weight": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "128/3.bias": np.array([-0.0, 1e-40, 3.4e38], np.float32),
    "scalar": np.array(2.5, np.float32),
    "none": np.zeros((0, 4), np.float32),
    "large": np.linspace(-1, 1, 1000, dtype=np.float32),
}


SMALL = {**FIELDS, "modules": [{"size": 128, "level": 2, "weight": 1.0}], "recipe": {}, "libraries": {}}


SMALL["data"] = {"train": [], "held_out": []}
del SMALL["weighing"]


def signed(head: bytes, body: bytes = b"", *, length: int | None = None) -> bytes:
    """A file of this head and body whose digest, written by a plain second implementation, is right."""
    data = (len(head) if length is None else length).to_bytes(8, "little") + head + body
    place = 8 + len('{"__metadata__":{"sha256":"')
    zeroed = data[:place] + b"0" * 64 + data[place + 64 :]
    return data[:place] + sha256(zeroed).hexdigest().encode() + data[place + 64 :]


def packed(fields: object, entries: dict | None = None, body: bytes = b"") -> bytes:
    text = fields if isinstance(fields, str) else json.dumps(fields)
    head = {"__metadata__": {"sha256": "0" * 64, "blemish": text}, **(entries or {})}
    return signed(json.dumps(head, separators=(",", ":")).encode(), body)


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def replace(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)  # some file systems wait for the disk when a file is written over
    path.write_bytes(data)


def message(path: Path, data: bytes | None = None) -> str:
    """What load says about this content, checked to be one line that starts with the file's name."""
    if data is not None:
        replace(path, data)
    with pytest.raises(ModelFileError) as caught:
        load(path)
    name, text = str(caught.value)[: len(str(path))], str(caught.value)[len(str(path)) + 2 :]
    assert name == str(path)
    assert text.isprintable()
    assert len(text) <= 300
    return text


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model"


def changed(place: str, value: object, *, of: dict = FIELDS) -> dict:
    fields = json.loads(json.dumps(of))
    *outer, last = place.split(".")
    part = fields
    for name in outer:
        part = part[int(name)] if isinstance(part, list) else part[name]
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return fields
