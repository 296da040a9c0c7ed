"""What the service does, apart from HTTP: it judges images, remembers what was said, draws it again."""

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.types import Receive

from blemish.errors import BlemishError, StorageError, printable
from blemish.history.history import Added, History
from blemish.history.records import Inspection, Judged, ThresholdChange
from blemish.service.answers import Changed, LoadAsked, ServedModel, ThresholdsAsked
from blemish.service.http.body import Sent
from blemish.service.http.faults import RefusedError, image_refused, no_room
from blemish.service.metrics import Metrics
from blemish.service.work.loading import Loaded, Loading, LoadingError
from blemish.service.work.models import Served
from blemish.service.work.pool import Answer, BusyError, LateError, LostError, Pool
from blemish.service.work.worker import PICTURES
from blemish.verdict.regions import Region
from blemish.verdict.threshold import Thresholds, read_thresholds

ADDING = 8  # threads that add to the history: all others stay free for what only reads
TURN = 1.5  # s that an image waits for one of them

log = logging.getLogger(__name__)


class Service:
    """The models that are served, the pool that scores with them, and the history.

    Thresholds that people have set for a model are in the history, and count from then on instead of its own, for
    everybody who shares it: they are looked up for each image.
    """

    def __init__(self, loading: Loading, history: History) -> None:
        self.loading, self.history = loading, history
        self.metrics = Metrics(loading)
        self._places, self._adding = asyncio.Semaphore(ADDING), CapacityLimiter(ADDING)

    @property
    def models(self) -> Mapping[str, Served]:
        """The models that judge now, by their names."""
        return self.loading.now.models

    def model(self, name: str) -> Served:
        """Return a model; refuses a name that is not served."""
        return _named(self.models, name)

    def thresholds(self, model: Served) -> Thresholds:
        """Return the thresholds of a model that are in force."""
        changes = self.changes(model)
        return changes[0].thresholds if changes else model.header.calibration.thresholds

    def changes(self, model: Served) -> list[ThresholdChange]:
        """Return who has changed the thresholds of a model, the newest first."""
        return self.history.threshold_changes(model.named)

    def change(self, name: str, asked: ThresholdsAsked) -> ServedModel:
        """Let other thresholds of a model count from now on; refuses those that mean nothing, or another bundle."""
        model = self.model(name)
        if asked.fingerprint not in (None, model.fingerprint):
            raise RefusedError(409, "another bundle has taken the place of the one that these thresholds are for")
        thresholds = read_thresholds([asked.review] if asked.ng is None else [asked.review, asked.ng])
        change = ThresholdChange(
            model=name, fingerprint=model.fingerprint, thresholds=thresholds, who=asked.who, why=asked.why
        )
        self.history.change_thresholds(change)
        return self.described(name)

    def load(self, name: str, asked: LoadAsked) -> ServedModel:
        """Let the bundle that now lies where a model came from judge, once it has passed its self-test."""
        self.model(name)
        try:
            other = self.loading.again(name)
        except LoadingError:
            line = "a bundle is being loaded already; try again"
            raise RefusedError(409, line, headers={"Retry-After": "5"}) from None
        except BlemishError as error:
            log.error("model %s: another bundle cannot be loaded: %s", name, error)
            line = "the bundle cannot be used, and the one before judges on; the log of the server says why"
            raise RefusedError(422, line) from None
        if other:
            log.warning(
                "model %s: bundle %s is loaded for %s", name, self.model(name).fingerprint, printable(asked.who)
            )
        return self.described(name)

    def described(self, name: str) -> ServedModel:
        """Return what is told of a model."""
        model = self.model(name)
        changes, own = self.changes(model), model.header.calibration.thresholds
        return ServedModel(
            name=name,
            fingerprint=model.fingerprint,
            precision=model.precision,
            loaded=model.since,
            golden=model.golden,
            thresholds=changes[0].thresholds if changes else own,
            own_thresholds=own,
            changes=list(map(Changed.model_validate, changes)),
        )

    async def inspect(self, name: str, sent: Sent, *, source: str, receive: Receive) -> Inspection:
        """Judge an image; once this returns, the history has it. Refuses an image that cannot be used."""
        start = time.perf_counter()
        thresholds, loaded = await self._in_force(name)
        model = loaded.models[name]
        said, _ = await _ask(loaded.pool, "judge", name, thresholds, sent.data, receive=receive)
        times = said.pop("times") | {"queue": said.pop("queue")}
        regions = list(map(Region.of, said.pop("regions")))
        judged = Judged(
            **said,
            name=sent.name,
            model=name,
            fingerprint=model.fingerprint,
            thresholds=thresholds,
            regions=regions,
            times=times,
            source=source,
        )
        scored = time.perf_counter()
        added = await self._add(judged, sent.data)
        end = time.perf_counter()
        stages = times | {"store": 1000 * (end - scored), "total": 1000 * (end - start)}
        self.metrics.judged(name, score=judged.score, verdict=judged.verdict, times=stages)
        fields = {field: getattr(judged, field) for field in Judged.model_fields}
        kept = added.sha256 if added.kept else None
        return Inspection(**fields, id=added.id, sha256=added.sha256, standing=judged.verdict, kept=kept)

    async def file(self, kind: str, number: int, *, receive: Receive) -> bytes:
        """Return a file that is made again from the kept image of an inspection: see `work.worker`.

        Images that come from the line go first: while as many wait as there are processes, nothing is drawn.
        """
        inspection = await to_thread.run_sync(self.history.one, number)
        loaded, name = self.loading.now, inspection.model
        model = loaded.models.get(name)
        if kind in PICTURES:  # any model can show an image
            name = name if model is not None else next(iter(loaded.models))
        elif model is None or model.fingerprint != inspection.fingerprint:
            raise RefusedError(404, "the model that has judged this image is not served")
        data = await to_thread.run_sync(self.history.image, inspection)
        if data is None:
            raise RefusedError(404, "the image is not kept")
        if loaded.pool.waiting >= loaded.pool.count:
            raise no_room()
        _, file = await _ask(loaded.pool, kind, name, inspection.thresholds, data, receive=receive)
        return file

    async def _add(self, judged: Judged, data: bytes) -> Added:
        """Remember an image; what has begun is waited for, also by a request that is to end."""
        try:
            await asyncio.wait_for(self._places.acquire(), TURN)
        except TimeoutError:
            raise StorageError("history: too many images wait until they are remembered") from None
        try:
            adding = asyncio.ensure_future(to_thread.run_sync(self.history.add, judged, data, limiter=self._adding))
            while not adding.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({adding})
            return adding.result()
        finally:
            self._places.release()

    async def _in_force(self, name: str) -> tuple[Thresholds, Loaded]:
        """Return the thresholds of a model and what is loaded: the same model, also while another takes its place."""
        while True:
            loaded = self.loading.now
            thresholds = await to_thread.run_sync(self.thresholds, _named(loaded.models, name))
            if loaded is self.loading.now:
                return thresholds, loaded


def _named(models: Mapping[str, Served], name: str) -> Served:
    if name not in models:
        raise RefusedError(404, "there is no model with this name")
    return models[name]


async def _ask(
    pool: Pool, kind: str, name: str, thresholds: Thresholds, data: bytes, *, receive: Receive
) -> tuple[dict[str, Any], bytes]:
    """Return the answer of a pool; a job whose sender has gone waits no longer."""
    job = {"do": kind, "model": name, "thresholds": [thresholds.review, thresholds.ng]}
    try:
        said, file = await _unless_gone(asyncio.wrap_future(pool.submit(job, data)), receive, pool)
    except BusyError:
        raise no_room() from None
    except LateError:
        raise RefusedError(504, f"no answer within {pool.deadline:g} s") from None
    except LostError:
        raise RefusedError(500, "the process at work on this image has died") from None
    if "error" in said:
        raise image_refused(said["error"])
    if "failed" in said:
        raise RefusedError(500, "the image could not be scored; the log of the server says why")
    return said, file


async def _unless_gone(answer: "asyncio.Future[Answer]", receive: Receive, pool: Pool) -> Answer:
    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    leaving = asyncio.ensure_future(gone())
    try:
        # The pool keeps the deadline itself, but for jobs that wait until a process is back.
        both: set[asyncio.Future[Any]] = {answer, leaving}
        await asyncio.wait(both, timeout=pool.deadline + 0.1, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        if leaving.done():
            raise RefusedError(400, "the sender has gone")
        raise LateError
    finally:
        answer.cancel()
        leaving.cancel()
