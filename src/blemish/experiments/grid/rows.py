"""Rows: one JSON line for each thing that was measured, with all its settings; what is written is never lost.

Only rows with the status "ok" enter a mean. "collapsed" is what a weight search gave that put nearly all weight on one
module; "error" is a run that failed, with the reason.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from blemish.errors import InputError, StorageError, printable

RESOLUTION = 256  # px, where maps and masks are compared
METRICS = ("pixel_auroc", "aupro", "image_auroc", "pixel_ap")
PLAIN = ("mean", "label-free")  # weights that no search has found

Method = Literal["imitation", "one group", "chained"]
Score = Literal["paper", "whitened"]
RecipeSetting = bool | int | float | str | None


class Settings(BaseModel):
    """Everything that decides the figures of a row, but for the machine.

    data and category are names, data_sha256 is their content. sizes and levels are those of the modules in the row,
    trained_sizes those that were trained together (a larger size may start from a smaller one). weighting: "mean" (all
    equal), "label-free" (`scoring.set_weights`) or the objective of a search; keep: how many modules are left, None:
    all. coverage: the share of defect types of whose images 10 % leave the test set, to weigh, also in rows without
    labels that stand beside; None: the whole test set is tested. draw: which images are drawn for it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    blemish: str
    data: str
    category: str
    data_sha256: str
    teacher: str
    teacher_sha256: str
    method: Method = "imitation"
    recipe: str
    recipe_settings: dict[str, RecipeSetting]
    seed: int
    trained_sizes: list[int]
    sizes: list[int]
    levels: list[int]
    score: Score
    weighting: str
    keep: int | None = None
    coverage: float | None = None
    draw: int | None = None

    @property
    def identity(self) -> str:
        """The first 16 digits of the sha256 of all settings: what a row is known by."""
        return hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def names(self) -> list[str]:
        """The modules that the row starts from, SIZE/LEVEL, in the order of their maps."""
        return [f"{size}/{level}" for size in sorted(self.sizes) for level in sorted(self.levels)]


class Row(Settings):
    """One measured row: its settings, what came out, what it cost, and where it ran.

    Metrics are at 256 x 256 on the test images that weighed nothing: in [0, 1], or None where one is not defined.
    weights: of each module in the map. fit_seconds: of all trained sizes at these levels; peak_rss_mb: of the process
    until then. ms_per_image: one image, resized and scored. store: the folder of the module maps, below the rows'.
    finished: UTC.
    """

    id: str
    status: Literal["ok", "error", "collapsed"]
    error: str | None = None
    validation_images: int = 0
    test_images: int = 0
    metrics: dict[str, float | None] = {}
    validation_metrics: dict[str, float | None] | None = None
    weights: dict[str, float] = {}
    fit_seconds: float | None = None
    search_seconds: float | None = None
    peak_rss_mb: int | None = None
    ms_per_image: float | None = None
    store: str | None = None
    commit: str | None
    machine: str
    cores: int
    threads: int
    device: str
    torch: str
    finished: str


def read_rows(path: Path) -> list[Row]:
    """Return the rows of a file, the newest for each id, in the order in which the ids came; none if there is no file.

    A last line without its end, left by a kill, is not read. Raises InputError that names the line for any other fault.
    """
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{printable(path)}: cannot be read: {error.strerror}") from error
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = Row.model_validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"])) or "the line"
            raise InputError(
                f"{printable(path)} line {number}: {printable(field)}: {first['msg']} (remove the line, or the file)"
            ) from error
        rows[row.id] = row
    return list(rows.values())


def repair_rows(path: Path) -> None:
    """Cut off a last line that a kill left without its end; raises StorageError if that cannot be written.

    Raises InputError as `read_rows` does, and leaves a file as it is that is none of rows.
    """
    read_rows(path)
    try:
        with path.open("r+b") as stream:
            data = stream.read()
            end = data.rfind(b"\n") + 1
            if end < len(data):
                stream.truncate(end)
                os.fsync(stream.fileno())
    except FileNotFoundError:
        return
    except OSError as error:
        raise StorageError(f"{printable(path)}: cannot be repaired: {error.strerror}") from error


def append_row(path: Path, row: Row) -> None:
    """Add one line to a file of rows, on the disk when this returns; raises StorageError if it cannot be written."""
    try:
        with path.open("ab") as stream:
            stream.write(row.model_dump_json().encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise StorageError(f"{printable(path)}: cannot be written: {error.strerror}") from error
