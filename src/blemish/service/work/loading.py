"""What judges now, and another bundle in the place of one of them: the old one judges until the new one can."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from blemish.service.work.models import Served, copied
from blemish.service.work.pool import Pool
from blemish.service.work.worker import work


@dataclass(frozen=True, slots=True)
class Loaded:
    """Models by their names, and the pool whose processes hold just these."""

    models: Mapping[str, Served]
    pool: Pool


class LoadingError(Exception):
    """A bundle is being loaded already."""


class Loading:
    """What judges now is `now`; use it as a context manager, which ends its processes.

    Whoever needs models and pool takes `now` once: together they stay what they were.
    """

    def __init__(self, models: Mapping[str, Served], scratch: Path, *, workers: int) -> None:
        """Start so many processes with the models; raises what hinders them, as a BlemishError."""
        self._scratch, self._workers = scratch, workers
        self._numbers, self._turn = count(1), Lock()
        self.now = self._started(models)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.now.pool.close()

    def again(self, name: str) -> bool:
        """Load the bundle that lies where a model came from, and return whether it is another one.

        It is copied whole, and every process of a new pool tests it, before it judges; then the old pool finishes what
        it was given. Raises BlemishError if it cannot be used, and nothing has changed; LoadingError if another is
        being loaded.
        """
        if not self._turn.acquire(blocking=False):
            raise LoadingError
        try:
            old, folder = self.now, self._scratch / f"{name}-{next(self._numbers)}"
            model = copied(old.models[name].place, name, folder)
            if other := model.fingerprint != old.models[name].fingerprint:
                self.now = self._started({**old.models, name: model})
                folder = old.models[name].folder
                old.pool.finish()
            return other
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # that of the one that does not judge
            self._turn.release()

    def _started(self, models: Mapping[str, Served]) -> Loaded:
        folders = {name: str(model.folder) for name, model in models.items()}
        return Loaded(models, Pool(work, folders, count=self._workers).__enter__())
