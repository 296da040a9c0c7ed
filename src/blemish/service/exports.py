"""A selection to learn from: a CSV manifest, or a ZIP of it with its images and all that is known of them as JSON.

Images go out one by one, as they lie on the disk. The rows of the manifest are held, a few hundred bytes for each image
of the selection, so one export is made at a time.
"""

import json
import zipfile
from collections.abc import Callable, Iterator
from io import RawIOBase
from threading import Lock
from typing import Any

from blemish.history.history import History
from blemish.history.manifest import Row, as_csv
from blemish.history.records import Selection
from blemish.service.answers import Inspected
from blemish.service.http.faults import RefusedError

_TURN = Lock()  # of the one export that is made
MANIFEST, INSPECTIONS = "manifest.csv", "inspections.json"


def check_one_bundle(history: History, chosen: Selection) -> None:
    """Refuse a selection of what several bundles have judged: what one is made better with spoils another.

    Those of one name count as several too: a bundle that was calibrated has the good parts of the one before already.
    """
    found = [
        model
        for model in history.models()
        if chosen.model in (None, model.name) and chosen.fingerprint in (None, model.fingerprint)
    ]
    if len({model.name for model in found}) > 1:
        raise RefusedError(422, "there are parts of several models; choose one, as in ?model=NAME")
    if len(found) > 1:
        one = f"?model={found[0].name}&fingerprint={found[0].fingerprint}"
        raise RefusedError(422, f"there are parts of several bundles of this name; choose one, as in {one}")


def alone(
    make: Callable[[History, Selection], Iterator[bytes]], history: History, chosen: Selection
) -> Iterator[bytes]:
    """Return the parts of an export, `manifest` or `archive`; refuses while another is made."""
    if not _TURN.acquire(blocking=False):
        raise RefusedError(503, "another export is being made; try again", headers={"Retry-After": "10"})
    try:
        return _Alone(make(history, chosen))
    except BaseException:
        _TURN.release()
        raise


class _Alone(Iterator[bytes]):
    """An export that has the turn until it has ended, failed, or is let go."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts, self._has = parts, True

    def __next__(self) -> bytes:
        try:
            return next(self._parts)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the turn back."""
        if self._has:
            self._has = False
            _TURN.release()

    __del__ = close


def manifest(history: History, chosen: Selection) -> Iterator[bytes]:
    """Yield a manifest whose paths begin in the folder of kept images."""
    return (line.encode() for line in as_csv(history.manifest(chosen)))


def archive(history: History, chosen: Selection) -> Iterator[bytes]:
    """Yield a ZIP of the images of a selection, a manifest of them, and the inspections as JSON."""
    out = _Out()
    with zipfile.ZipFile(out, "w") as packed:
        there: list[Row] = []
        for row in history.manifest(chosen):
            if (data := history.images.read(row.path)) is not None:  # it may be gone by now
                packed.writestr(row.path, data)
                there.append(row)
                yield out.taken()
        packed.writestr(MANIFEST, "".join(as_csv(there)))
        with packed.open(INSPECTIONS, "w", force_zip64=True) as file:
            file.write(b"[")
            for index, one in enumerate(history.each(chosen)):
                file.write(b",\n" if index else b"\n")
                file.write(json.dumps(_told(Inspected.of(one), one.kept)).encode())
                yield out.taken()
            file.write(b"\n]\n")
    yield out.taken()


def _told(inspected: Inspected, path: str | None) -> dict[str, Any]:
    return inspected.model_dump(mode="json", exclude={"links", "kept"}) | {"path": path}


class _Out(RawIOBase):
    """A file that is written from its start to its end and taken away meanwhile; a ZIP then needs no way back."""

    def __init__(self) -> None:
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self._held += data
        return len(data)

    def taken(self) -> bytes:
        """Return what has been written since it was last asked."""
        data = bytes(self._held)
        self._held.clear()
        return data
