"""The server: uvicorn, with a limit on the time for the head of a request, and an end that loses nothing accepted."""

import asyncio
import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Timer
from types import FrameType
from typing import Any

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from blemish.errors import InputError, printable

SLOW = 10.0  # s for the head of a request
CONNECTIONS = 1000
FINISHING = 15.0  # s for what has been accepted, once the server is to end
LAST = 20.0  # s after which the process is gone
LINES = {431: b"the headers are too large", 501: b"only Transfer-Encoding: chunked is understood"}


class Protocol(H11Protocol):
    """Uvicorn's, but a head that does not come in time is refused, and every refusal is JSON with its own status."""

    head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give a new connection time for its first head."""
        super().connection_made(transport)
        self._time_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; the first of a head start its time, which those that follow do not renew."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._stop_timer()
        elif self.head_timer is None:
            self._time_head()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002
        """Refuse what is not HTTP, or too large."""
        error = sys.exc_info()[1]
        status = getattr(error, "error_status_hint", 400)
        self._refuse(status, LINES.get(status, b"this is not a request of HTTP/1.1"))

    def _time_head(self) -> None:
        self.head_timer = self.loop.call_later(SLOW, self._refuse, 408, b"the head of the request has not come in time")

    def _stop_timer(self) -> None:
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None

    def _refuse(self, status: int, line: bytes) -> None:
        self._stop_timer()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            body = b'{"error":"%s"}' % line
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            for event in (h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def listen(host: str, port: int, *, guarded: bool) -> socket.socket:
    """Return a socket that takes connections; guarded: whether a token is asked for.

    Raises InputError for a host beyond loopback without one, and for an address that cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        if not guarded and not ipaddress.ip_address(str(address[0])).is_loopback:
            raise InputError(f"host: {printable(host)} can be reached from other machines; this needs --token FILE")
        listening = socket.create_server((str(address[0]), port), family=family, backlog=1024)
        # Its connections inherit this, which asyncio sets only where a socket was made for TCP by its number: without
        # it an answer in two parts waits 40 ms until the client has acknowledged the first.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except (OSError, OverflowError, UnicodeError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).partition(" (")[0].lower()
        raise InputError(f"host: cannot listen on {printable(host)}, port {port}: {reason}") from None


@contextmanager
def gone_in_time() -> Iterator[Callable[[], None]]:
    """Yield what ends the process LAST s after its call, with exit code 1, unless the block has ended by then."""
    last = Timer(LAST, os._exit, [1])  # whatever still hangs then
    last.daemon = True
    try:
        yield last.start
    finally:
        last.cancel()


class _Server(uvicorn.Server):
    """Uvicorn's, but answers that would go on for ever are told when it ends."""

    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ending = ending

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending()
        await super().shutdown(sockets)


def run(
    app: ASGIApp, listening: socket.socket, *, begun: Callable[[], None] = lambda: None, ending: Callable[[], None]
) -> None:
    """Serve until SIGTERM or Ctrl-C: no more is accepted then, and what was accepted is answered, within 20 s.

    begun: is called once it can be told to end; ending: when it is, in the event loop, so that answers without an end
    can end.
    """
    config = uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=int(FINISHING),
        h11_max_incomplete_event_size=32 << 10,
    )
    server = _Server(config, ending)

    def end(kind: int, frame: FrameType | None, /) -> Any:  # noqa: ARG001
        # Asked for before uvicorn listens to signals; it sends them once more when it has ended, which is no failure.
        server.should_exit = True

    before = {kind: signal.signal(kind, end) for kind in (signal.SIGTERM, signal.SIGINT)}
    try:
        begun()
        asyncio.run(server.serve(sockets=[listening]))
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
