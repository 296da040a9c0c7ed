"""What is answered when something is wrong: {"error": one line}, without paths, traces or names of tensors."""

import logging
import re
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from blemish.errors import InputError, StorageError, printable

# What `read_image` says is wrong with an image, as a status; all else, such as damage, is 400.
IMAGE_STATUSES = {
    413: re.compile(r"exceeds limit|Mpx can need"),
    415: re.compile(r"not an image|not allowed|not supported|only the preview|cannot be read with"),
    422: re.compile(r"smaller than minimum|aspect|brightest value"),
}
LINES = {404: "there is nothing at this address", 405: "the method is not allowed at this address"}

log = logging.getLogger(__name__)


class RefusedError(HTTPException):
    """A request that is refused with a status and a line."""

    def __init__(self, status: int, line: str, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(status, line, headers)


def said(status: int, line: str, *, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return the answer with a status and a line."""
    return JSONResponse({"error": printable(line)}, status, headers)


def no_room() -> RefusedError:
    """Return the refusal of an image that comes while too many others wait."""
    return RefusedError(503, "too many images wait; try again", headers={"Retry-After": "1"})


def image_refused(line: str) -> RefusedError:
    """Return the refusal of an image by what `read_image` says of it."""
    status = next((status for status, rule in IMAGE_STATUSES.items() if rule.search(line)), 400)
    return RefusedError(status, line)


def tell_faults(app: FastAPI) -> None:
    """Let an application answer everything that goes wrong in one shape."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _field)
    app.add_exception_handler(InputError, _input)
    app.add_exception_handler(StorageError, _storage)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unknown)


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    own = isinstance(error, RefusedError)
    line = error.detail if own else LINES.get(error.status_code, HTTPStatus(error.status_code).phrase.lower())
    return said(error.status_code, line, headers=dict(error.headers or {}))


async def _field(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = ".".join(map(str, first["loc"][1:])) or "body"
    return said(422, f"field {printable(name[:80])}: {printable(first['msg'][:200])}")


async def _input(_: Request, error: Exception) -> JSONResponse:
    line = str(error).removeprefix("history: ")
    return said(404 if line.endswith("is not there") else 422, line)


async def _storage(_: Request, error: Exception) -> JSONResponse:
    log.error("%s", error)
    return said(503, "the history cannot be used for now; the log of the server says why", headers={"Retry-After": "5"})


async def _gone(_: Request, __: Exception) -> JSONResponse:
    return said(400, "the request has ended before its body was complete")


async def _unknown(_: Request, __: Exception) -> JSONResponse:
    return said(500, "something is wrong with the server; its log says what")


def numbered(number: str) -> int:
    """Return the number of an inspection; what is none is not there."""
    if not (number.isascii() and number.isdigit() and len(number) <= 18 and int(number)):
        raise RefusedError(404, "there is no such inspection")
    return int(number)
