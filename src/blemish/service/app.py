"""The addresses of the service; what may come in is checked in front of all of them."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Scope

from blemish.history.records import Correction
from blemish.service import exports
from blemish.service.answers import (
    FILES,
    Called,
    Chosen,
    ChosenPage,
    CorrectionAsked,
    Fault,
    Inspected,
    InspectedPage,
    LoadAsked,
    ServedModel,
    ServedModels,
    ThresholdsAsked,
)
from blemish.service.answers import Counted as Answered
from blemish.service.events import Events
from blemish.service.http.body import IMAGE_TYPES, JsonRoute, Sent, image_of
from blemish.service.http.bounds import Bounds
from blemish.service.http.faults import RefusedError, no_room, numbered, tell_faults
from blemish.service.http.tokens import Tokens
from blemish.service.metrics import Counted
from blemish.service.page.routes import page_routes
from blemish.service.service import Service
from blemish.service.work.pool import WAITING
from blemish.version import __version__

READING = 32  # images from their bodies to their answers, or more with many workers: at most 16 MiB of memory each
VERSION = "/v1"
INSPECT = "/models/{model}/inspections"
KINDS = {"image": "image", "small": "small", "png": "map", "npy": "scores", "overlay": "overlay"}  # jobs and links
MEDIA = {"png": "image/png", "jpg": "image/jpeg", "npy": "application/octet-stream"}
LASTING = {"Cache-Control": "private, max-age=86400, immutable"}  # what an inspection says of an image never changes
AT_ONCE = {"X-Accel-Buffering": "no"}  # a proxy is not to gather events
Responses = dict[int | str, dict[str, Any]]
IMAGE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            kind: {"schema": {"type": "string", "format": "binary"}} for kind in IMAGE_TYPES if kind.startswith("image")
        }
        | {
            "multipart/form-data": {
                "schema": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
            }
        },
    }
}


def make_app(service: Service, events: Events, *, tokens: Tokens, hosts: Collection[str] = ()) -> ASGIApp:
    """Return the application; hosts: names, beside those of loopback, by which it may be called."""
    app = FastAPI(title="blemish", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    tell_faults(app)
    places = _Places(service)
    look, change = [Depends(tokens.check_look)], [Depends(tokens.check_change)]
    app.include_router(_health(service), responses=_faults(503))
    app.include_router(_images(service), dependencies=look, responses=_faults(400, 401, 404, 413, 415, 422, 503, 504))
    app.include_router(_words(service), dependencies=look, responses=_faults(401, 404, 422, 503))
    app.include_router(_selections(service, events), dependencies=look, responses=_faults(401, 422, 503))
    app.include_router(_changes(service), dependencies=change, responses=_faults(401, 403, 404, 409, 422, 503))
    app.include_router(page_routes(service, tokens), include_in_schema=False)

    @app.get("/metrics", dependencies=look, include_in_schema=False)
    def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/openapi.json", dependencies=look, include_in_schema=False)
    def schema() -> dict[str, Any]:
        return app.openapi()

    return Counted(Bounds(app, hosts=hosts, place=places.one), service.metrics)


def _health(service: Service) -> APIRouter:
    router = APIRouter()

    @router.get("/livez")
    async def live() -> dict[str, bool]:
        """Say that the server is there."""
        return {"live": True}

    @router.get("/readyz")
    def ready() -> dict[str, bool]:
        """Say that images can be judged and remembered."""
        if not service.loading.now.pool.ready:
            raise RefusedError(503, "no worker is ready", headers={"Retry-After": "1"})
        service.history.models()
        return {"ready": True}

    return router


def _images(service: Service) -> APIRouter:
    router = APIRouter(prefix=VERSION)

    @router.post(INSPECT, status_code=201, openapi_extra=IMAGE_BODY)
    async def inspect(request: Request, model: str, called: Annotated[Called, Query()]) -> Inspected:
        """Judge an image: the body, or the one file of a form."""
        service.model(model)
        sent = await image_of(request)
        sent = Sent(sent.data, called.name or sent.name)
        return Inspected.of(await service.inspect(model, sent, source=called.source, receive=request.receive))

    for kind, link in KINDS.items():
        path, media = FILES[link], MEDIA[FILES[link].rpartition(".")[2]]
        documented: Responses = {200: {"content": {media: {"schema": {"type": "string", "format": "binary"}}}}}
        place, answer = f"/inspections/{{number}}/{path}", _file(service, kind, media)
        router.add_api_route(place, answer, name=link, response_class=Response, responses=documented)
    return router


def _file(service: Service, kind: str, media: str) -> Any:
    async def file(request: Request, number: Annotated[int, Depends(numbered)]) -> Response:
        """Return a file that is made again from the kept image."""
        data = await service.file(kind, number, receive=request.receive)
        return Response(data, media_type=media, headers=LASTING)

    return file


def _words(service: Service) -> APIRouter:
    router = APIRouter(prefix=VERSION, route_class=JsonRoute)

    @router.get("/models")
    def models() -> ServedModels:
        """Return the models that judge here."""
        return ServedModels(models=[service.described(name) for name in service.models])

    @router.get("/inspections")
    def page(chosen: Annotated[ChosenPage, Query()]) -> InspectedPage:
        """Return inspections, the newest first."""
        found = service.history.page(chosen.selection, before=chosen.before, limit=chosen.limit)
        return InspectedPage(inspections=[Inspected.of(one) for one in found.inspections], next=found.next)

    @router.get("/inspections/{number}")
    def one(number: Annotated[int, Depends(numbered)]) -> Inspected:
        """Return an inspection."""
        return Inspected.of(service.history.one(number))

    @router.post("/inspections/{number}/corrections", status_code=201)
    def correct(number: Annotated[int, Depends(numbered)], asked: CorrectionAsked) -> Inspected:
        """Let another verdict of an inspection stand."""
        service.history.correct(number, Correction(verdict=asked.verdict, who=asked.who, why=asked.why))
        return Inspected.of(service.history.one(number))

    return router


def _selections(service: Service, events: Events) -> APIRouter:
    router = APIRouter(prefix=VERSION)

    @router.get("/counts")
    def counts(chosen: Annotated[Chosen, Query()]) -> Answered:
        """Return how many inspections of a selection have each verdict, and how many are corrected."""
        return Answered.of(service.history.counts(chosen.selection))

    @router.get("/export.csv", response_class=StreamingResponse, responses=_content("text/csv"))
    def as_csv(chosen: Annotated[Chosen, Query()]) -> StreamingResponse:
        """Return a manifest of a selection, whose paths begin in the folder of kept images."""
        exports.check_one_bundle(service.history, chosen.selection)
        return _attached(
            exports.alone(exports.manifest, service.history, chosen.selection),
            "manifest.csv",
            "text/csv; charset=utf-8",
        )

    @router.get("/export.zip", response_class=StreamingResponse, responses=_content("application/zip"))
    def as_zip(chosen: Annotated[Chosen, Query()]) -> StreamingResponse:
        """Return the images of a selection with a manifest of them, and all that is known of them as JSON."""
        exports.check_one_bundle(service.history, chosen.selection)
        return _attached(
            exports.alone(exports.archive, service.history, chosen.selection), "parts.zip", "application/zip"
        )

    @router.get("/events", response_class=StreamingResponse, responses=_content("text/event-stream"))
    async def happening() -> StreamingResponse:
        """Return every inspection as it comes in or is corrected, as server-sent events, for as long as is listened."""
        return StreamingResponse(events.listen(), media_type="text/event-stream", headers=AT_ONCE)

    return router


def _attached(parts: Iterator[bytes], name: str, media: str) -> StreamingResponse:
    return StreamingResponse(parts, media_type=media, headers={"Content-Disposition": f'attachment; filename="{name}"'})


def _content(media: str) -> Responses:
    return {200: {"content": {media: {"schema": {"type": "string"}}}}}


def _faults(*statuses: int) -> Responses:
    return {status: {"model": Fault} for status in statuses}


def _changes(service: Service) -> APIRouter:
    router = APIRouter(prefix=VERSION, route_class=JsonRoute)

    @router.post("/models/{model}/thresholds", status_code=201)
    def change(model: str, asked: ThresholdsAsked) -> ServedModel:
        """Let other thresholds of a model count."""
        return service.change(model, asked)

    @router.post("/models/{model}/load")
    def load(model: str, asked: LoadAsked) -> ServedModel:
        """Let the bundle that now lies where a model came from judge, once it has passed its self-test."""
        return service.load(model, asked)

    return router


class _Places:
    """For so many images there is room at the same time; all others are sent away."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.free = max(READING, (WAITING + 2) * service.loading.now.pool.count)

    @contextmanager
    def one(self, scope: Scope) -> Iterator[None]:
        """Hold a place for the image that a request brings, if it brings one; refuses it where there is none."""
        # A route also takes an address with a line's end behind it.
        if not (scope["method"] == "POST" and scope["path"].rstrip("\n").endswith("/inspections")):
            yield
            return
        if not self.free or self.service.loading.now.pool.full:
            scope["route"] = SimpleNamespace(path=VERSION + INSPECT)  # as it is counted
            raise no_room()
        self.free -= 1
        try:
            yield
        finally:
            self.free += 1
