"""Modules that learn side by side: what waits for what, what begins next, and with how many threads each.

Threads that share one operation wait for each other at its end, so a core that is taken from one of them stops all.
Modules share nothing but memory: each has threads of its own, and a busy machine costs no more than its share.
"""

import math
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event, Lock
from typing import TypeVar

import torch

from blemish.checks import whole

JOBS = 2  # more leave the longest chain with too few threads: benchmarks/training/schedule.py
LOOK = 1.0  # s after which Ctrl-C is seen, where waiting alone would not see it

Name = TypeVar("Name", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Share:
    """What modules share: so many learn at the same time, each with so many threads, all features in so many GB."""

    jobs: int
    threads: int
    cache_gb: float = math.inf


class _Threads:
    """How many threads torch has for an operation when no modules learn: they change what it tells threads to come."""

    def __init__(self) -> None:
        self.lock, self.fits, self.usual = Lock(), 0, 0

    @property
    def count(self) -> int:
        with self.lock:
            return self.usual if self.fits else torch.get_num_threads()

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Set the number again when the last of those who learn at the same time has ended."""
        with self.lock:
            if not self.fits:
                self.usual = torch.get_num_threads()
            self.fits += 1
        try:
            yield
        finally:
            with self.lock:
                self.fits -= 1
                if not self.fits:
                    torch.set_num_threads(self.usual)


THREADS = _Threads()


def shared_out(jobs: int | None, device: str, *, cache_gb: float = math.inf) -> Share:
    """Return how many modules learn at the same time, and the threads of each, of those that torch has.

    jobs: so many modules, by default two, or one where there is one thread or a GPU; also where there are fewer: what a
    module learns must not depend on which others do. Raises InputError for another.
    """
    threads = THREADS.count
    usual = min(JOBS, threads) if device == "cpu" else 1
    jobs = usual if jobs is None else whole("jobs", jobs, allowed=range(1, 65))
    return Share(jobs, max(threads // jobs, 1), cache_gb)


def longest_ways(costs: Mapping[Name, float], after: Mapping[Name, Collection[Name]]) -> dict[Name, float]:
    """Return what each task costs together with the costliest chain of those that wait for it.

    after: what each waits for, of tasks that all are there.
    """
    waiting: dict[Name, list[Name]] = {name: [] for name in costs}
    for name, others in after.items():
        for other in others:
            waiting[other].append(name)
    ways: dict[Name, float] = {}

    def way(name: Name) -> float:
        if name not in ways:
            ways[name] = costs[name] + max(map(way, waiting[name]), default=0.0)
        return ways[name]

    return {name: way(name) for name in costs}


def side_by_side(
    work: Callable[[Name], None],
    costs: Mapping[Name, float],
    after: Mapping[Name, Collection[Name]],
    *,
    share: Share,
    fits: Callable[[Name, Collection[Name]], bool],
    stop: Event,
) -> None:
    """Do all tasks, each once what it waits for is done; of those that can begin the one with the longest way first.

    One at a time they are done in the order that is given, each after what it waits for. work: does a task, in a thread
    of its own. fits: whether there is room for a task beside those at work; one alone always begins. stop: is set once
    a task has failed or Ctrl-C was pressed, and the others are to end; what has failed is raised then.
    """
    ways = longest_ways(costs, after)
    left = list(costs) if share.jobs == 1 else sorted(costs, key=lambda name: -ways[name])
    done = set[Name]()
    at_work: dict[Future[None], Name] = {}
    with (
        THREADS.kept(),
        ThreadPoolExecutor(share.jobs, initializer=torch.set_num_threads, initargs=(share.threads,)) as threads,
    ):
        try:
            while left or at_work:
                for name in [name for name in left if done.issuperset(after[name])]:
                    busy = at_work.values()
                    if len(at_work) < share.jobs and (not busy or fits(name, busy)):
                        left.remove(name)
                        at_work[threads.submit(work, name)] = name
                for one in wait(at_work, LOOK, FIRST_COMPLETED).done:
                    done.add(at_work.pop(one))
                    one.result()
        finally:
            stop.set()
