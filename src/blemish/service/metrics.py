"""What Prometheus is told: requests, how long each stage takes, the queue, verdicts, scores, and which models judge."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blemish.service.work.models import Served
from blemish.service.work.pool import Pool

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SCORES = tuple(level / 20 for level in range(1, 20))


class Metrics:
    """The figures of one service."""

    def __init__(self, models: Mapping[str, Served], pool: Pool) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "blemish_requests", "Requests by route and status.", ["method", "route", "status"], registry=registry
        )
        self.stages = Histogram(
            "blemish_stage_seconds", "Duration of a stage.", ["model", "stage"], buckets=SECONDS, registry=registry
        )
        self.verdicts = Counter("blemish_verdicts", "Verdicts.", ["model", "verdict"], registry=registry)
        self.scores = Histogram("blemish_score", "Image scores.", ["model"], buckets=SCORES, registry=registry)
        Gauge("blemish_queue", "Jobs that wait.", registry=registry).set_function(lambda: pool.waiting)
        Gauge("blemish_workers", "Workers that are ready.", registry=registry).set_function(lambda: pool.ready)
        Gauge("blemish_worker_restarts", "Workers replaced.", registry=registry).set_function(lambda: pool.restarts)
        info = Gauge("blemish_model_info", "Models, always 1.", ["model", "fingerprint"], registry=registry)
        for model in models.values():
            info.labels(model.name, model.fingerprint).set(1)

    def judged(self, model: str, *, score: float, verdict: str, times: Mapping[str, float]) -> None:
        """Count an inspection; times: ms by stage."""
        self.verdicts.labels(model, verdict).inc()
        self.scores.labels(model).observe(score)
        for stage, duration in times.items():
            self.stages.labels(model, stage).observe(duration / 1000)

    def text(self) -> bytes:
        """Return all figures as Prometheus reads them."""
        return generate_latest(self.registry)


class Counted:
    """An ASGI application in front of another, which counts requests by the route that they have taken."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, and count it once its answer begins."""

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Only names that are known: those that strangers send would grow without end.
                method = scope["method"] if scope["method"] in ("GET", "POST") else "other"
                route = getattr(scope.get("route"), "path", "none")
                self.metrics.requests.labels(method, route, message["status"]).inc()
            await send(message)

        await self.app(scope, receive, counting)
