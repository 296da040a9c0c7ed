"""A generator of load over plain connections: as many requests as answers allow, or so many a second whatever happens.

In an open loop a request is due at a time that does not wait for the answers before it, and its latency counts from
then: a server that falls behind is seen to.
"""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

Request = Callable[[int], bytes]  # the bytes of a request by its number


@dataclass(frozen=True, slots=True)
class Sent:
    """A request: when it was due, s since the load began, how long its answer took, s, and what that was.

    status: of HTTP, or 0 where the connection was lost.
    """

    due: float
    took: float
    status: int
    body: bytes


@dataclass(slots=True)
class Caller:
    """Connections to a server, which are used again."""

    port: int
    free: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    async def send(self, request: bytes, *, due: float, start: float) -> Sent:
        """Send a request, and return it with its answer."""
        try:
            while self.free and self.free[-1][0].at_eof():  # the server has let it go
                self.free.pop()[1].close()
            connection = self.free.pop() if self.free else await asyncio.open_connection("127.0.0.1", self.port)
            status, body, goes_on = await _exchange(*connection, request)
        except (OSError, EOFError, ValueError):
            return Sent(due, time.perf_counter() - start - due, 0, b"")
        if goes_on:
            self.free.append(connection)
        else:
            connection[1].close()
        return Sent(due, time.perf_counter() - start - due, status, body)

    def close(self) -> None:
        """Let all connections go."""
        for _, writer in self.free:
            writer.close()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, bytes, bool]:
    writer.write(request)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
    body = await reader.readexactly(int(length.partition(b":")[2]))
    return int(head.split(None, 2)[1]), body, b"connection: close" not in head


async def single(port: int, request: bytes) -> Sent:
    """Send a request by itself."""
    caller = Caller(port)
    try:
        return await caller.send(request, due=0, start=time.perf_counter())
    finally:
        caller.close()


async def closed(port: int, request: Request, *, connections: int, seconds: float, first: int = 0) -> list[Sent]:
    """Send over so many connections, over each one request after the other; first: the number of the first request."""
    caller, sent, start = Caller(port), list[Sent](), time.perf_counter()
    numbers = iter(range(first, 1 << 62))

    async def one() -> None:
        while (due := time.perf_counter() - start) < seconds:
            sent.append(await caller.send(request(next(numbers)), due=due, start=start))

    await asyncio.gather(*(one() for _ in range(connections)))
    caller.close()
    return sent


async def opened(
    port: int, request: Request, *, rate: float, seconds: float, first: int = 0, seed: int = 0
) -> list[Sent]:
    """Send so many requests a second at random times (Poisson), also while answers are late."""
    draw, caller, start = random.Random(seed), Caller(port), time.perf_counter()
    tasks, due, number = set[asyncio.Task[Sent]](), 0.0, first
    sent: list[Sent] = []

    def done(task: asyncio.Task[Sent]) -> None:
        tasks.discard(task)
        with suppress(asyncio.CancelledError):
            sent.append(task.result())

    while (due := due + draw.expovariate(rate)) < seconds:
        await asyncio.sleep(due - (time.perf_counter() - start))
        task = asyncio.create_task(caller.send(request(number), due=due, start=start))
        task.add_done_callback(done)
        tasks.add(task)
        number += 1
    while tasks:
        await asyncio.wait(tasks)
    caller.close()
    return sent
