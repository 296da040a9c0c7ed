"""The bundles of a service, under their names: copies of its own, so that what becomes of the files changes nothing."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from blemish.errors import InputError, StorageError, printable
from blemish.history.records import NamedModel
from blemish.model.header import Header
from blemish.runtime.bundle import FILE, identity, read_bundle, read_file
from blemish.storage.files import make_folder, write_atomically

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Served:
    """A model that is served.

    place, folder: its bundle and the copy of it; fingerprint: what tells the bundle again; golden: how many images its
    self-test has scored; since: when it was loaded.
    """

    name: str
    place: Path
    folder: Path
    fingerprint: str
    header: Header
    precision: str
    golden: int
    since: datetime

    @property
    def named(self) -> NamedModel:
        """What the history knows it by."""
        return NamedModel(name=self.name, fingerprint=self.fingerprint)


def take(bundles: Iterable[Path], scratch: Path) -> dict[str, Served]:
    """Copy bundles into a folder of the service, and return them by the names of their folders.

    Raises InputError for a name that is given twice or is not fit for an address, and as `read_bundle` does.
    """
    found: dict[str, Served] = {}
    for place in bundles:
        name = place.resolve().name
        if not NAME.fullmatch(name):
            rule = "expected letters, digits, dots, - and _, as it is a part of an address"
            raise InputError(f"{printable(place)}: the name of the folder is not allowed, {rule}")
        if name in found:
            raise InputError(f"{printable(place)}: another bundle is called {name} too; rename one of the folders")
        found[name] = copied(place, name, scratch / name)
    return found


def copied(place: Path, name: str, folder: Path) -> Served:
    """Copy a bundle into a new folder, and return it; raises as `read_bundle` does."""
    bundle = read_bundle(place)
    try:
        for file in (FILE, *bundle.graph, *(golden.file for golden in bundle.golden)):
            make_folder((folder / file).parent)
            write_atomically(folder / file, read_file(place, file))
    except StorageError as error:
        raise StorageError(f"service: no copy of {printable(place)} can be made: {error}") from error
    # What has been copied counts: the files may have been replaced in between.
    copy = read_bundle(folder)
    return Served(
        name,
        place.absolute(),
        folder,
        fingerprint=identity(folder),
        header=copy.model,
        precision=copy.precision,
        golden=len(copy.golden),
        since=datetime.now(UTC),
    )
