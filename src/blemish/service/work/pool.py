"""A bounded pool of processes: one that hangs or dies costs its own job only, and another takes its place.

A process is spawned with a pipe; a job is a JSON object and bytes, its answer as well. Nothing is pickled but the
arguments that a process starts with.
"""

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection
from threading import Condition, Thread, Timer
from typing import Any, Self

from blemish.errors import InputError, ModelFileError

DEADLINE = 10.0  # s from when a job is given to its answer
WAITING = 4  # jobs that may wait, for each process
STARTING = 60.0  # s that a process may take until it is ready
LEAST = 5.0  # s that another in its place may take at least, or three times as long as the first ones took
AGAIN = 0.5  # s before another process is started in the place of one that could not
LOOK = 0.25  # s after which a process that has nothing to do is looked at

Fields = Mapping[str, Any]
Answer = tuple[dict[str, Any], bytes]
Target = Callable[..., None]

log = logging.getLogger(__name__)


class BusyError(Exception):
    """As many jobs wait as may."""


class LateError(Exception):
    """A job has had no answer by its deadline."""


class LostError(Exception):
    """The process at work on a job has died."""


@dataclass(slots=True, eq=False)
class _Job:
    head: bytes
    data: bytes
    until: float
    given: float = field(default_factory=time.monotonic)
    future: Future[Answer] = field(default_factory=Future)


class Pool:
    """Processes that answer jobs; use it as a context manager, which starts them and ends them.

    target: what each runs, as `target(pipe, *arguments)`: it answers once when it is ready, with {"error": line,
    "code": exit code} if it cannot be, then each job in turn, until the pipe ends. restarts: how many processes have
    taken the place of another.
    """

    def __init__(
        self, target: Target, *arguments: Any, count: int, deadline: float = DEADLINE, waiting: int = WAITING
    ) -> None:
        self.count, self.deadline, self.most_waiting = count, deadline, waiting * count
        self.restarts = 0
        self._start = (target, arguments)
        self._waiting: deque[_Job] = deque()
        self._workers: dict[int, _Worker] = {}
        self._starting: set[_Worker] = set()
        self._patience = STARTING
        self._failed: Exception | None = None
        self._entered = self._ending = self._closed = False
        self._at_work = 0
        self._changed = Condition()
        self._threads = [Thread(target=self._keep, args=(place,), daemon=True) for place in range(count)]

    def __enter__(self) -> Self:
        """Start the processes, and return once all are ready; raises what hinders them, as a BlemishError."""
        began = time.monotonic()
        for thread in self._threads:
            thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._failed or len(self._workers) == self.count)
            self._entered = self._failed is None
            self._patience = min(STARTING, max(LEAST, 3 * (time.monotonic() - began)))
        if self._failed is not None:
            self.close()
            raise self._failed
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def ready(self) -> int:
        """How many processes are ready or at work."""
        return len(self._workers)

    @property
    def waiting(self) -> int:
        """How many jobs wait for a process."""
        with self._changed:
            return sum(not job.future.cancelled() for job in self._waiting)

    @property
    def full(self) -> bool:
        """Whether as many jobs wait as may."""
        return self.waiting >= self.most_waiting

    def submit(self, fields: Fields, data: bytes = b"") -> Future[Answer]:
        """Return the answer to a job, to come: its fields, with "queue", the ms that it has waited, and its bytes.

        It raises LateError or LostError; one that is cancelled waits no longer. Raises BusyError if too many wait.
        """
        job = _Job(json.dumps(fields).encode(), data, time.monotonic() + self.deadline)
        with self._changed:
            self._waiting = deque(other for other in self._waiting if not other.future.cancelled())
            if self._ending or self._closed or len(self._waiting) >= self.most_waiting:
                raise BusyError
            self._waiting.append(job)
            self._changed.notify()
        return job.future

    def finish(self) -> None:
        """Take no more jobs, and end the processes once those that were taken have their answers or are late."""
        until = time.monotonic() + self.deadline + LOOK
        with self._changed:
            self._ending = True
            while (self._waiting or self._at_work) and time.monotonic() < until:
                self._changed.wait(LOOK)
        self.close()

    def close(self) -> None:
        """End the processes; jobs that wait are lost."""
        with self._changed:
            self._closed = True
            waiting, self._waiting = self._waiting, deque()
            workers = [*self._workers.values(), *self._starting]
            self._changed.notify_all()
        for job in waiting:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(LostError())
        for worker in workers:
            worker.kill()
        for thread in self._threads:
            thread.join(STARTING)

    def _keep(self, place: int) -> None:
        """Keep a process at work in its place for as long as the pool is open."""
        while not self._closed:
            try:
                self._one(place)
            except Exception as error:
                self._say(error)
            self.restarts += not self._closed

    def _one(self, place: int) -> None:
        """Start a process, and give it jobs until it is gone or the pool is closed."""
        target, arguments = self._start
        worker = _Worker(target, arguments)
        try:
            with self._changed:
                if self._closed:
                    return
                self._starting.add(worker)
            worker.begin(within=self._patience)
            with self._changed:
                self._starting.discard(worker)
                self._workers[place] = worker
                self._changed.notify_all()
            while (job := self._next(worker)) and self._did(worker, job):
                pass
        finally:
            with self._changed:
                self._starting.discard(worker)
                self._workers.pop(place, None)
            worker.end()

    def _did(self, worker: "_Worker", job: _Job) -> bool:
        """Answer a job, and return whether the process can do another."""
        try:
            return _done(worker, job)
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    def _say(self, error: Exception) -> None:
        """Let what hinders a start be raised while the pool is entered; later it is tried again."""
        with self._changed:
            if self._closed:  # it was ended, and what came first hinders
                return
            if not self._entered:
                self._failed = error
                self._closed = True
                self._changed.notify_all()
                return
            log.warning("a worker could not be started: %s", error)
            self._changed.wait_for(lambda: self._closed, AGAIN)

    def _next(self, worker: "_Worker") -> _Job | None:
        """Return the next job; None once the process is gone or the pool is closed."""
        while not self._closed and worker.alive:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._waiting, LOOK)
                # Looked at again: the next job must not be that of a process which has died meanwhile.
                while self._waiting and worker.alive:
                    job = self._waiting.popleft()
                    if job.future.set_running_or_notify_cancel():
                        self._at_work += 1
                        return job
        return None


class _Worker:
    """A process, and the pipe to it."""

    def __init__(self, target: Target, arguments: tuple[Any, ...]) -> None:
        context = get_context("spawn")
        self._pipe: Connection
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=target, args=(theirs, *arguments), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def alive(self) -> bool:
        return self._process.is_alive()

    def begin(self, *, within: float) -> None:
        """Wait until the process is ready, for so many s; raises what hinders it."""
        try:
            said, _ = self._within(within, self._receive)
        except (EOFError, OSError):
            raise InputError("service: a worker has ended before it was ready") from None
        if "error" in said:
            raise (ModelFileError if said.get("code") == ModelFileError.exit_code else InputError)(said["error"])

    def ask(self, job: _Job, *, within: float) -> Answer:
        """Return the answer to a job; raises EOFError or OSError if the process is dead, or is after so many s."""

        def talk() -> Answer:
            self._pipe.send_bytes(job.head)
            self._pipe.send_bytes(job.data)
            return self._receive()

        return self._within(within, talk)

    def kill(self) -> None:
        """End the process at once; who talks to it is told so."""
        self._process.kill()

    def end(self) -> None:
        """End the process, and let go of it."""
        self.kill()
        self._process.join()
        self._pipe.close()

    def _receive(self) -> Answer:
        head = self._pipe.recv_bytes()
        return json.loads(head), self._pipe.recv_bytes()

    def _within(self, seconds: float, talk: Callable[[], Answer]) -> Answer:
        # A process that hangs may have read half a job or sent half an answer: only its end frees who talks to it.
        timer = Timer(seconds, self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            return talk()
        finally:
            timer.cancel()


def _done(worker: _Worker, job: _Job) -> bool:
    """Answer a job, and return whether the process can do another."""
    began = time.monotonic()
    if began >= job.until:
        job.future.set_exception(LateError())
        return True
    try:
        said, data = worker.ask(job, within=job.until - began)
    except (EOFError, OSError):
        late = time.monotonic() >= job.until
        log.warning("a worker %s; another is started", "was too slow, and is ended" if late else "has died")
        job.future.set_exception(LateError() if late else LostError())
        return False
    job.future.set_result((said | {"queue": 1000 * (began - job.given)}, data))
    return True
