"""The addresses of the service; what may come in is checked in front of all of them."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.responses import Response
from starlette.types import ASGIApp

from blemish.history.records import Correction, Selection
from blemish.service.answers import (
    Called,
    Chosen,
    CorrectionAsked,
    Inspected,
    InspectedPage,
    ServedModel,
    ServedModels,
    ThresholdsAsked,
)
from blemish.service.http.body import IMAGE_TYPES, JsonRoute, Sent, image_of
from blemish.service.http.bounds import Bounds
from blemish.service.http.faults import RefusedError, tell_faults
from blemish.service.http.tokens import Tokens
from blemish.service.metrics import Counted
from blemish.service.service import Service
from blemish.version import __version__

READING = 32  # bodies of images that are read at the same time: at most 16 MiB of memory each
VERSION = "/v1"
PNG, NPY = "image/png", "application/octet-stream"
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


def make_app(service: Service, *, tokens: Tokens, hosts: Collection[str] = ()) -> ASGIApp:
    """Return the application; hosts: names, beside those of loopback, by which it may be called."""
    app = FastAPI(title="blemish", version=__version__, docs_url=None, redoc_url=None, openapi_url=None)
    tell_faults(app)
    look, change = [Depends(tokens.check_look)], [Depends(tokens.check_change)]
    app.include_router(_health(service))
    app.include_router(_images(service), dependencies=look)
    app.include_router(_words(service), dependencies=look)
    app.include_router(_changes(service), dependencies=change)

    @app.get("/metrics", dependencies=look, include_in_schema=False)
    def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/openapi.json", dependencies=look, include_in_schema=False)
    def schema() -> dict[str, Any]:
        return app.openapi()

    return Counted(Bounds(app, hosts=hosts), service.metrics)


def _health(service: Service) -> APIRouter:
    router = APIRouter()

    @router.get("/livez")
    async def live() -> dict[str, bool]:
        """Say that the server is there."""
        return {"live": True}

    @router.get("/readyz")
    def ready() -> dict[str, bool]:
        """Say that images can be judged and remembered."""
        if not service.pool.ready:
            raise RefusedError(503, "no worker is ready", headers={"Retry-After": "1"})
        service.history.models()
        return {"ready": True}

    return router


def _images(service: Service) -> APIRouter:
    router = APIRouter(prefix=VERSION)
    reading = _Places(READING)

    @router.post("/models/{model}/inspections", status_code=201, openapi_extra=IMAGE_BODY)
    async def inspect(request: Request, model: str, called: Annotated[Called, Query()]) -> Inspected:
        """Judge an image: the body, or the one file of a form."""
        service.model(model)
        with reading.one():
            sent = await image_of(request)
        sent = Sent(sent.data, called.name or sent.name)
        return Inspected.of(await service.inspect(model, sent, source=called.source, receive=request.receive))

    for kind, path, media in (("png", "map.png", PNG), ("npy", "map.npy", NPY), ("overlay", "overlay.png", PNG)):
        router.add_api_route(f"/inspections/{{number}}/{path}", _file(service, kind, media), response_class=Response)
    return router


def _file(service: Service, kind: str, media: str) -> Any:
    async def file(request: Request, number: Annotated[int, Depends(_numbered)]) -> Response:
        """Return a file that is made again from the kept image."""
        data = await service.file(kind, number, receive=request.receive)
        return Response(data, media_type=media, headers={"X-Content-Type-Options": "nosniff"})

    return file


def _words(service: Service) -> APIRouter:
    router = APIRouter(prefix=VERSION, route_class=JsonRoute)

    @router.get("/models")
    def models() -> ServedModels:
        """Return the models that judge here."""
        return ServedModels(models=[service.described(name) for name in service.models])

    @router.get("/inspections")
    def page(chosen: Annotated[Chosen, Query()]) -> InspectedPage:
        """Return inspections, the newest first."""
        given = chosen.model_dump(exclude={"before", "limit"})
        found = service.history.page(Selection(**given), before=chosen.before, limit=chosen.limit)
        return InspectedPage(inspections=[Inspected.of(one) for one in found.inspections], next=found.next)

    @router.get("/inspections/{number}")
    def one(number: Annotated[int, Depends(_numbered)]) -> Inspected:
        """Return an inspection."""
        return Inspected.of(service.history.one(number))

    @router.post("/inspections/{number}/corrections", status_code=201)
    def correct(number: Annotated[int, Depends(_numbered)], asked: CorrectionAsked) -> Inspected:
        """Let another verdict of an inspection stand."""
        service.history.correct(number, Correction(verdict=asked.verdict, who=asked.who, why=asked.why))
        return Inspected.of(service.history.one(number))

    return router


def _changes(service: Service) -> APIRouter:
    router = APIRouter(prefix=VERSION, route_class=JsonRoute)

    @router.post("/models/{model}/thresholds", status_code=201)
    def change(model: str, asked: ThresholdsAsked) -> ServedModel:
        """Let other thresholds of a model count."""
        return service.change(model, asked)

    return router


def _numbered(number: str) -> int:
    """Return the number of an inspection; what is none is not there."""
    if not (number.isascii() and number.isdigit() and len(number) <= 18 and int(number)):
        raise RefusedError(404, "there is no such inspection")
    return int(number)


class _Places:
    """So many that may do something at the same time; all others are sent away."""

    def __init__(self, count: int) -> None:
        self.free = count

    @contextmanager
    def one(self) -> Iterator[None]:
        if not self.free:
            raise RefusedError(503, "too many images are being sent; try again", headers={"Retry-After": "1"})
        self.free -= 1
        try:
            yield
        finally:
            self.free += 1
