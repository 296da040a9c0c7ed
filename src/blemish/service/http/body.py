"""Bodies of requests: an image as it is or as the one file of a form, and JSON that is checked to the last field."""

import math
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from fastapi.routing import APIRoute
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request
from starlette.responses import Response

from blemish.service.http.bounds import BODY
from blemish.service.http.faults import RefusedError
from blemish.storage.fields import read_object

JSON = 64 << 10  # bytes
BOUNDARY = 70  # characters (RFC 2046)
FORM = "multipart/form-data"
ONE_FILE = f"{FORM}: expected one file with a name and nothing else"
IMAGE_TYPES = ("image/png", "image/jpeg", "image/bmp", "image/tiff", FORM)


@dataclass(frozen=True, slots=True)
class Sent:
    """An image as it was sent, and what its sender calls it."""

    data: bytes
    name: str = ""


async def image_of(request: Request) -> Sent:
    """Return the image that a request brings; refuses what is neither an image nor a form with one file."""
    kind = _kind(request)
    if kind == FORM:
        return await _form(request)
    if not kind.startswith("image/"):
        raise RefusedError(415, f"the Content-Type is not allowed; expected one of {', '.join(IMAGE_TYPES)}")
    return Sent(await _all(request, most=BODY))


async def _form(request: Request) -> Sent:
    _, options = parse_options_header(request.headers["content-type"])
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= BOUNDARY:
        raise RefusedError(400, f"{FORM}: expected a boundary of 1 to {BOUNDARY} characters")
    data = await _all(request, most=BODY)
    if b"--%b--" % boundary not in data[-1000:]:  # the parser would say nothing
        raise RefusedError(400, f"{FORM}: expected a last line with the boundary")
    parser = MultiPartParser(request.headers, _once(data), max_files=1, max_fields=0)
    parser.spool_max_size = 2 * BODY  # never to the disk
    try:
        form = await parser.parse()
    except MultiPartException:
        raise RefusedError(400, ONE_FILE) from None
    try:
        files = [file for file in form.values() if isinstance(file, UploadFile) and file.filename]
        if len(files) != 1:
            raise RefusedError(400, ONE_FILE)
        return Sent(await files[0].read(), files[0].filename or "")
    finally:
        await form.close()


async def _once(data: bytes) -> AsyncGenerator[bytes, None]:
    yield data


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def _all(request: Request, *, most: int) -> bytes:
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > most:
            raise RefusedError(413, f"the body has more than {most} bytes, which is the limit")
    return bytes(data)


class JsonRoute(APIRoute):
    """A route whose body is JSON: one object without names given twice, its numbers finite, of 64 KiB at most."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what handles a request, which it reads strictly."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_JsonRequest(request.scope, request.receive))

        return handle


class _JsonRequest(Request):
    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            if _kind(self) != "application/json":
                raise RefusedError(415, "the Content-Type is not allowed; expected application/json")
            self._body = await _all(self, most=JSON)
            if not self._body:
                raise RefusedError(400, "the body is empty; expected JSON")
        return self._body

    async def json(self) -> Any:
        try:
            value = read_object(await self.body())
        except ValueError as error:
            raise RefusedError(400, f"the body is {error}"[:300]) from None
        if not _finite(value):
            raise RefusedError(400, "the body holds a number that is not finite")
        return value


def _finite(value: Any) -> bool:
    """Return whether all numbers in a value are finite; not by recursion, as it may be deep."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, float) and not math.isfinite(one):
            return False
        left += one.values() if isinstance(one, dict) else one if isinstance(one, list) else ()
    return True
