"""A model for each category of a root: one after the other, and one that fails fails alone.

The folder of the models holds NAME.safetensors for each, and the list FITS, in which a line says what each was learnt
from. By that line a category that has not changed is not learnt again.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain
from pathlib import Path, PurePosixPath

from blemish.data.datasets import files_beside
from blemish.data.holdout import fingerprints
from blemish.data.inputs import check_outside, output_name
from blemish.data.listing import SUFFIXES, list_files
from blemish.errors import BlemishError, InputError, StoppedError, StorageError, printable
from blemish.results.appending import append_lines
from blemish.storage.files import alone_in, make_folder
from blemish.version import __version__

FITS = "fits.jsonl"
SUFFIX = ".safetensors"
WORDS = (".csv", ".json", ".xml")  # files that say something of images


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has become of a category: its model file, and the error that has hindered it, if any.

    kept: the model of an earlier run stays, as neither the data nor anything that decides it has changed.
    """

    name: str
    model: Path
    error: BlemishError | None = None
    kept: bool = False


def fit_each(
    fit: Callable[[Path, Path], object],
    folders: Sequence[Path],
    *,
    root: Path,
    out: Path,
    decided: Sequence[str | None],
    begin: Callable[[str, int], None],
) -> Iterator[Outcome]:
    """Call fit(data, model file) for each category of a root, and yield what has become of it, in their order.

    decided: all that decides a model beside its data, as texts; begin: called with the name and the index of each that
    is learnt. What cannot be stored, and Ctrl-C, ends all (StorageError, StoppedError); the same call goes on then.
    Raises InputError for an output that lies in the root, and while another command is at work in it.
    """
    check_outside(out, root)
    make_folder(out)
    with alone_in(out):
        known, taken = _known(out), set[str]()
        for index, folder in enumerate(folders):
            name = output_name(PurePosixPath(folder.name), taken=taken.__contains__)
            taken.add(name.casefold())
            model = out / f"{name}{SUFFIX}"
            try:
                run = _run(folder, decided)
                if known.get(name) == (run, digest(model)):
                    yield Outcome(name, model, kept=True)
                    continue
                begin(name, index)
                fit(folder, model)
            except (StorageError, StoppedError):
                raise
            except BlemishError as error:
                yield Outcome(name, model, error)
                continue
            line = json.dumps({"name": name, "data": os.fspath(folder), "run": run, "sha256": digest(model)})
            append_lines(out / FITS, line.encode() + b"\n")
            yield Outcome(name, model)


def _run(folder: Path, decided: Sequence[str | None]) -> str:
    """Return what tells a run again: the version, all that decides it, and its files as they lie."""
    lying = []
    for path in chain(list_files(folder, root=folder, suffixes=(*SUFFIXES, *WORDS)), files_beside(folder)):
        try:
            found = path.stat()
        except FileNotFoundError:  # a file beside that is not there, as most of them
            continue
        except OSError as error:
            raise InputError(f"{printable(path)}: cannot be read: {(error.strerror or str(error)).lower()}") from error
        lying.append((os.path.relpath(path, folder), found.st_size, found.st_mtime_ns))
    text = json.dumps([__version__, decided, sorted(lying)])
    return sha256(text.encode()).hexdigest()


def _known(out: Path) -> dict[str, tuple[str, str]]:
    """Return run and sha256 of each model, by its name, as the list says them last; lines that were cut say nothing."""
    known: dict[str, tuple[str, str]] = {}
    try:
        lines = (out / FITS).read_bytes().splitlines()
    except FileNotFoundError:
        return known
    except OSError as error:
        raise StorageError(
            f"{printable(out / FITS)}: cannot be read: {(error.strerror or str(error)).lower()}"
        ) from error
    for line in lines:
        with suppress(ValueError, KeyError, TypeError, RecursionError):
            said = json.loads(line)
            known[str(said["name"])] = (str(said["run"]), str(said["sha256"]))
    return known


def digest(file: Path) -> str | None:
    """Return the sha256 of a file, None where there is none; raises InputError for one that cannot be read."""
    return fingerprints([file])[0] if file.is_file() else None
