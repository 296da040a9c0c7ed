"""What the service does, apart from HTTP: it judges images, remembers what was said, draws it again."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from anyio import to_thread
from starlette.types import Receive

from blemish.history.history import History
from blemish.history.records import Inspection, Judged, NamedModel, ThresholdChange
from blemish.service.answers import Changed, ServedModel, ThresholdsAsked
from blemish.service.http.body import Sent
from blemish.service.http.faults import RefusedError, image_refused
from blemish.service.metrics import Metrics
from blemish.service.work.models import Served
from blemish.service.work.pool import Answer, BusyError, LateError, LostError, Pool
from blemish.verdict.regions import Region
from blemish.verdict.threshold import Thresholds, read_thresholds


class Service:
    """The models that are served, the pool that scores with them, and the history.

    Thresholds that people have set for a model are in the history, and count from then on instead of its own.
    """

    def __init__(self, models: Mapping[str, Served], pool: Pool, history: History) -> None:
        self.models, self.pool, self.history = models, pool, history
        self.metrics = Metrics(models, pool)
        self._thresholds: dict[str, Thresholds] = {}
        for name in models:
            if changes := self.changes(name):
                self._thresholds[name] = changes[0].thresholds

    def model(self, name: str) -> Served:
        """Return a model; refuses a name that is not served."""
        if name not in self.models:
            raise RefusedError(404, "there is no model with this name")
        return self.models[name]

    def thresholds(self, name: str) -> Thresholds:
        """Return the thresholds of a model that are in force."""
        return self._thresholds.get(name, self.models[name].header.calibration.thresholds)

    def changes(self, name: str) -> list[ThresholdChange]:
        """Return who has changed the thresholds of a model, the newest first."""
        return self.history.threshold_changes(NamedModel(name=name, fingerprint=self.models[name].fingerprint))

    def change(self, name: str, asked: ThresholdsAsked) -> ServedModel:
        """Let other thresholds of a model count from now on; refuses those that mean nothing."""
        model = self.model(name)
        thresholds = read_thresholds([asked.review] if asked.ng is None else [asked.review, asked.ng])
        change = ThresholdChange(
            model=name, fingerprint=model.fingerprint, thresholds=thresholds, who=asked.who, why=asked.why
        )
        self.history.change_thresholds(change)
        self._thresholds[name] = thresholds
        return self.described(name)

    def described(self, name: str) -> ServedModel:
        """Return what is told of a model."""
        model = self.models[name]
        return ServedModel(
            name=name,
            fingerprint=model.fingerprint,
            precision=model.precision,
            thresholds=self.thresholds(name),
            own_thresholds=model.header.calibration.thresholds,
            changes=list(map(Changed.model_validate, self.changes(name))),
        )

    async def inspect(self, name: str, sent: Sent, *, source: str, receive: Receive) -> Inspection:
        """Judge an image; once this returns, the history has it. Refuses an image that cannot be used."""
        model, thresholds, start = self.model(name), self.thresholds(name), time.perf_counter()
        said, _ = await self._ask("judge", name, thresholds, sent.data, receive)
        times = said.pop("times") | {"queue": said.pop("queue")}
        regions = [Region(**region | {"box": tuple(region["box"])}) for region in said.pop("regions")]
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
        added = await to_thread.run_sync(self.history.add, judged, sent.data)
        end = time.perf_counter()
        stages = times | {"store": 1000 * (end - scored), "total": 1000 * (end - start)}
        self.metrics.judged(name, score=judged.score, verdict=judged.verdict, times=stages)
        fields = {field: getattr(judged, field) for field in Judged.model_fields}
        kept = added.sha256 if added.kept else None
        return Inspection(**fields, id=added.id, sha256=added.sha256, standing=judged.verdict, kept=kept)

    async def file(self, kind: str, number: int, *, receive: Receive) -> bytes:
        """Return the map of an inspection (`png`, `npy`) or its `overlay`, made again from the kept image."""
        inspection = await to_thread.run_sync(self.history.one, number)
        model = self.models.get(inspection.model)
        if model is None or model.fingerprint != inspection.fingerprint:
            raise RefusedError(404, "the model that has judged this image is not served")
        data = await to_thread.run_sync(self.history.image, inspection)
        if data is None:
            raise RefusedError(404, "the image is not kept")
        _, file = await self._ask(kind, model.name, inspection.thresholds, data, receive)
        return file

    async def _ask(
        self, kind: str, name: str, thresholds: Thresholds, data: bytes, receive: Receive
    ) -> tuple[dict[str, Any], bytes]:
        """Return the answer of the pool; a job whose sender has gone waits no longer."""
        job = {"do": kind, "model": name, "thresholds": [thresholds.review, thresholds.ng]}
        try:
            said, file = await _unless_gone(asyncio.wrap_future(self.pool.submit(job, data)), receive, self.pool)
        except BusyError:
            raise RefusedError(503, "too many images wait; try again", headers={"Retry-After": "1"}) from None
        except LateError:
            raise RefusedError(504, f"no answer within {self.pool.deadline:g} s") from None
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
