"""What is checked of every request before anything else sees it, whatever server carries it.

The server bounds the time for the head of a request; here are its size, its Host and Origin, the size of its body, as
it comes, and the time for it, and the time in which an answer has to be taken.
"""

import asyncio
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blemish.service.http.faults import RefusedError, said

BODY = 16 << 20  # bytes
HEAD = 16 << 10  # bytes of all headers, and as many of the address
HEADERS = 100
SLOW = 10.0  # s for the body
LINGER = 2.0  # s that a client may go on to send what is refused: without, its system throws the answer away
NO_ROOM = 503
UNREAD = 60.0  # s that a client may leave a part of an answer untaken
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
# The page is made of files of this server alone, and nobody else's page may hold it.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)
ALWAYS = {
    b"content-security-policy": POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",  # unless an answer says something else
}
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Bounds:
    """An ASGI application in front of another; hosts: the names by which the service may be called.

    place: is entered with the scope of a request until its answer begins, and raises RefusedError where there is no
    room for it: as nothing was looked up by then, and what comes of the body is let go, a refusal costs little.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Collection[str],
        place: Callable[[Scope], AbstractContextManager[object]] = nullcontext,
        body: int = BODY,
        slow: float = SLOW,
    ) -> None:
        self.app, self.hosts = app, frozenset(name.lower() for name in hosts) | LOOPBACK
        self.place, self.body, self.slow = place, body, slow

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or hand it on with its body watched."""
        if scope["type"] != "http":
            return
        until = asyncio.get_running_loop().time() + self.slow
        with ExitStack() as held:
            # A place is for those who are at work: it is let go as soon as somebody is told something.
            watched = _Watched(receive, send, held.close, most=self.body, until=until, complete=not _has_body(scope))
            try:
                self._check(scope)
                held.enter_context(self.place(scope))
                answer = self.app
            except RefusedError as refusal:
                answer = said(refusal.status_code, refusal.detail, headers=dict(refusal.headers or {}))
                if refusal.status_code == NO_ROOM and not _asks_first(scope):
                    await watched.linger()  # its sender will come again, and need not connect anew
            await answer(scope, watched.receive, watched.send)

    def _check(self, scope: Scope) -> None:
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        size = sum(len(name) + len(value) + 4 for name, value in scope["headers"])
        if size > HEAD or len(scope["headers"]) > HEADERS:
            raise RefusedError(431, f"at most {HEADERS} headers with {HEAD} bytes in all are allowed")
        if len(scope["raw_path"]) + len(scope["query_string"]) > HEAD:
            raise RefusedError(414, f"an address has at most {HEAD} bytes")
        self._check_sender(scope, headers)
        self._check_body(headers)

    def _check_sender(self, scope: Scope, headers: dict[bytes, list[bytes]]) -> None:
        """Refuse a page of a stranger that a browser has been led to call this service by, under whatever name."""
        hosts = [value.decode("latin-1").lower() for value in headers.get(b"host", [])]
        # The address of this machine that was called is no name that a stranger could have given it.
        known = self.hosts | {(scope.get("server") or ("",))[0]}
        if len(hosts) != 1 or _name(hosts[0]) not in known:
            raise RefusedError(400, "the Host is not allowed; --allow-host adds a name by which the service is called")
        origins = [value.decode("latin-1").lower() for value in headers.get(b"origin", [])]
        own = {f"http://{hosts[0]}", f"https://{hosts[0]}"}
        if scope["method"] not in SAFE and not own.issuperset(origins):
            raise RefusedError(403, "the Origin is not allowed: pages of other sites may change nothing here")

    def _check_body(self, headers: dict[bytes, list[bytes]]) -> None:
        lengths = headers.get(b"content-length", [])
        if lengths and b"transfer-encoding" in headers:
            raise RefusedError(400, "Content-Length and Transfer-Encoding: give one of them")
        if any(value.strip().lower() != b"identity" for value in headers.get(b"content-encoding", [])):
            raise RefusedError(415, "a Content-Encoding is not allowed; send the body as it is")
        if any(int(value) > self.body for value in lengths):  # digits: the server has checked that
            raise self.too_large(self.body)

    @staticmethod
    def too_large(most: int) -> RefusedError:
        """Return the refusal of a body."""
        return RefusedError(413, f"the body has more than {most} bytes, which is the limit")


def _has_body(scope: Scope) -> bool:
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
        for name, value in scope["headers"]
    )


def _asks_first(scope: Scope) -> bool:
    """Return whether the sender waits for a word before it sends the body."""
    return any(name == b"expect" for name, _ in scope["headers"])


def _name(host: str) -> str:
    """Return a Host without its port and without the brackets of an IPv6 address."""
    name, bracket, _ = host.partition("]")
    return name.removeprefix("[") if bracket else host.partition(":")[0]


@dataclass(slots=True)
class _Watched:
    """The body of a request as it comes, counted and timed, and the answer to it."""

    given: Receive
    answer: Send
    begun: Callable[[], None]  # called when the answer begins
    most: int
    until: float
    complete: bool
    count: int = 0
    lingered: bool = False

    async def receive(self) -> Message:
        if self.complete:
            return await self.given()
        try:
            async with asyncio.timeout_at(self.until):
                message = await self.given()
        except TimeoutError:
            raise RefusedError(408, "the body has not come in time") from None
        self.count += len(message.get("body", b""))
        self.complete = not message.get("more_body", False)
        if self.count > self.most:
            self.complete = False  # whatever comes is not read
            raise Bounds.too_large(self.most)
        return message

    async def send(self, message: Message) -> None:
        """Send a part of the answer; a connection whose request was not read to its end is closed after it."""
        if message["type"] == "http.response.start":
            self.begun()
            given = list(message.get("headers", []))
            said = {name for name, _ in given}
            closes = [] if self.complete else [(b"connection", b"close")]
            always = [(name, value) for name, value in ALWAYS.items() if name not in said]
            message = {**message, "headers": [*given, *always, *closes]}
        last = message["type"] == "http.response.body" and not message.get("more_body", False)
        if last and not self.complete:
            await self._taken({**message, "more_body": True})
            await self.linger()
            message = {"type": "http.response.body"}
        await self._taken(message)

    async def _taken(self, message: Message) -> None:
        async with asyncio.timeout(UNREAD):
            await self.answer(message)

    async def linger(self) -> None:
        """Let what still comes of the body come, once and for a while, and forget it."""
        if self.lingered:
            return
        self.lingered = True
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                while not self.complete and self.count < 4 * self.most:
                    message = await self.given()
                    self.count += len(message.get("body", b""))
                    self.complete = message["type"] == "http.request" and not message.get("more_body", False)
                    if message["type"] == "http.disconnect":
                        return
