"""What Prometheus is told: requests, how long each stage takes, the queue, verdicts, scores, and which models judge."""

from collections import defaultdict, deque
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blemish.service.work.loading import Loading

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
RECENT = 500  # images of each model whose times are remembered
GAUGES = {"queue": "Jobs that wait.", "workers": "Workers that are ready."}
SCORES = tuple(level / 20 for level in range(1, 20))


class Metrics:
    """The figures of one service."""

    def __init__(self, loading: Loading) -> None:
        self._loading = loading
        self._recent: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=RECENT))
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "blemish_requests", "Requests by route and status.", ["method", "route", "status"], registry=registry
        )
        self.stages = Histogram(
            "blemish_stage_seconds", "Duration of a stage.", ["model", "stage"], buckets=SECONDS, registry=registry
        )
        self.verdicts = Counter("blemish_verdicts", "Verdicts.", ["model", "verdict"], registry=registry)
        self.scores = Histogram("blemish_score", "Image scores.", ["model"], buckets=SCORES, registry=registry)
        queue, workers = (Gauge(f"blemish_{name}", words, registry=registry) for name, words in GAUGES.items())
        queue.set_function(lambda: loading.now.pool.waiting)
        workers.set_function(lambda: loading.now.pool.ready)
        restarts = Gauge("blemish_worker_restarts", "Workers replaced.", registry=registry)
        restarts.set_function(lambda: loading.now.pool.restarts)
        self.info = Gauge("blemish_model_info", "Models, always 1.", ["model", "fingerprint"], registry=registry)

    def judged(self, model: str, *, score: float, verdict: str, times: Mapping[str, float]) -> None:
        """Count an inspection; times: ms by stage."""
        self.verdicts.labels(model, verdict).inc()
        self.scores.labels(model).observe(score)
        self._recent[model].append(times["total"])
        for stage, duration in times.items():
            self.stages.labels(model, stage).observe(duration / 1000)

    def latency(self, model: str) -> tuple[float, float] | None:
        """Return the median and the 95 % quantile of what the last images took in all, in ms; None without any."""
        if not (times := sorted(self._recent[model])):
            return None
        return times[(len(times) - 1) // 2], times[(len(times) - 1) * 95 // 100]

    def text(self) -> bytes:
        """Return all figures as Prometheus reads them."""
        self.info.clear()
        for model in self._loading.now.models.values():
            self.info.labels(model.name, model.fingerprint).set(1)
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
