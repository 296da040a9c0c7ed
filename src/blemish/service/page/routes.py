"""The addresses of the page; all that it shows is also to be had as JSON."""

from collections.abc import Callable, Coroutine
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, Response

from blemish.errors import InputError, StorageError
from blemish.service.answers import SignIn
from blemish.service.http.body import JsonRoute
from blemish.service.http.faults import RefusedError, numbered
from blemish.service.http.tokens import COOKIE, LASTS, Tokens
from blemish.service.page import views
from blemish.service.service import Service

KINDS = {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
UNUSABLE = "The history cannot be used for now; the log of the server says why."


def page_routes(service: Service, tokens: Tokens) -> APIRouter:
    """Return the routes of the page, its files, and of signing in."""
    router = APIRouter()
    router.include_router(_static())
    router.include_router(_signing(tokens))
    router.include_router(_pages(service, tokens))
    return router


def _pages(service: Service, tokens: Tokens) -> APIRouter:
    router = APIRouter(route_class=_guarded(tokens))

    def page(place: str, template: str, view: Callable[..., dict[str, Any]], *depends: Any) -> None:
        def show(request: Request) -> Response:
            given = [one(request) for one in depends]
            context = view(service, *given)
            return _shown(template, tokens, request, change=tokens.may_change(request), **context)

        router.add_api_route(place, show, methods=["GET"], name=template, response_class=HTMLResponse)

    page("/", "live.html", views.live)
    page("/drop", "drop.html", views.live)
    page("/history", "history.html", views.history, lambda request: dict(request.query_params))
    page("/models", "models.html", views.models)
    page("/inspections/{number}", "inspection.html", views.inspection, lambda one: numbered(one.path_params["number"]))
    return router


def _guarded(tokens: Tokens) -> type[APIRoute]:
    """Return the kind of route that asks who is not signed in for a token, and shows what is wrong as a page."""

    class Guarded(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handler = super().get_route_handler()

            async def handle(request: Request) -> Response:
                if not tokens.may_look(request):
                    return _shown("sign-in.html", tokens, request, status=401)
                try:
                    return await handler(request)
                except RefusedError as error:
                    status, line = error.status_code, str(error.detail)
                except (InputError, RequestValidationError) as error:
                    line = str(error).removeprefix("history: ")
                    status = 404 if line.endswith("is not there") else 422
                except StorageError:
                    status, line = 503, UNUSABLE
                return _shown("fault.html", tokens, request, status=status, line=line)

            return handle

    return Guarded


def _static() -> APIRouter:
    router = APIRouter()
    folder = files("blemish.service.page") / "static"
    held = {file.name: file.read_bytes() for file in folder.iterdir() if file.name.rpartition(".")[2] in KINDS}

    @router.get("/static/{name}")
    async def static(request: Request, name: str) -> Response:
        if name not in held:
            raise RefusedError(404, "there is nothing at this address")
        tag = f'"{sha256(held[name]).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(held[name], media_type=KINDS[name.rpartition(".")[2]], headers=headers)

    return router


def _signing(tokens: Tokens) -> APIRouter:
    router = APIRouter(route_class=JsonRoute)

    @router.post("/sign-in", status_code=204)
    def sign_in(request: Request, asked: SignIn) -> Response:
        """Let a browser that shows a token send a cookie from then on."""
        value = tokens.cookie(asked.token)
        if value is None:
            raise RefusedError(401, "this is no token of this server")
        response = Response(status_code=204)
        secure = request.headers.get("origin", "").lower().startswith("https://")
        response.set_cookie(COOKIE, value, max_age=LASTS, secure=secure, httponly=True, samesite="strict")
        return response

    @router.post("/sign-out", status_code=204, dependencies=[Depends(tokens.check_look)])
    def sign_out() -> Response:
        """Let a browser forget its cookie."""
        response = Response(status_code=204)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    return router


@cache
def _templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("blemish.service.page", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= views.FILTERS
    return environment


def _shown(template: str, tokens: Tokens, request: Request, *, status: int = 200, **context: Any) -> HTMLResponse:
    signed = tokens.look is not None and status != 401
    text = _templates().get_template(template).render(here=request.url.path, signed=signed, **context)
    return HTMLResponse(text, status)
