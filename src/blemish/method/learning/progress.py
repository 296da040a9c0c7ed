"""How far a fit has come: a plain value, told by a clock that knows what each module costs."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from threading import Event, Lock

EVERY = 20  # steps from one report to the next


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fit has come, in a module at work and in all of the work.

    index: the module at work is the so manyth of `modules` that has begun; kept: so many were trained before.
    """

    module: str
    index: int
    modules: int
    step: int
    steps: int
    loss: float
    images_per_second: float
    share_done: float  # 0 ... 1, of all modules
    seconds_left: float  # for all modules, estimated
    half: bool = False  # features are kept in float16 for want of room
    kept: int = 0


Report = Callable[[Progress], None]
Step = Callable[[int, int, float, float], None]  # of one module: step, steps, loss, images per second


class StopError(Exception):
    """A module is to learn no further: another has failed, or a person has stopped the fit."""


class Clock:
    """Turns the step reports of modules, several of which may be at work, into the progress of the whole fit.

    costs: of each module, relative: seconds left come from them. stop: once it is set, each module at work ends with
    StopError at its next step.
    """

    def __init__(
        self, costs: Mapping[tuple[int, int], float], half: Collection[int], report: Report | None, stop: Event
    ) -> None:
        self.costs, self.half, self.tell, self.stop = dict(costs), half, report, stop
        self.begun: dict[tuple[int, int], float] = {}  # what share of each is done, in the order in which they began
        self.skipped, self.kept = 0.0, 0
        self.started = time.monotonic()
        self.lock = Lock()

    def skip(self, name: tuple[int, int]) -> None:
        """Count a module that was trained before."""
        self.skipped += self.costs[name]
        self.kept += 1
        self.begun[name] = 1.0

    def of(self, name: tuple[int, int]) -> Step:
        """Return what is to be called with every step of a module, which begins."""
        with self.lock:
            self.begun[name] = 0.0
        return partial(self._report, name)

    def _report(self, name: tuple[int, int], step: int, steps: int, loss: float, rate: float) -> None:
        if self.stop.is_set():
            raise StopError
        with self.lock:
            self.begun[name] = step / steps
            if self.tell is None or (step % EVERY and step < steps):
                return
            total = sum(self.costs.values())
            done = sum(self.costs[other] * share for other, share in self.begun.items())
            left = (time.monotonic() - self.started) * (total - done) / (done - self.skipped)
            size, level = name
            module = f"{size}/{level}", list(self.begun).index(name) + 1, len(self.costs)
            self.tell(
                Progress(*module, step, steps, loss, rate, done / total, left, half=size in self.half, kept=self.kept)
            )


def in_parts(report: Report | None, costs: Sequence[float], prefixes: Sequence[str]) -> list[Report | None]:
    """Return what each part of a fit reports to, so that `report` hears of the whole: of as many modules in each part.

    costs: of the parts, relative; prefixes: what stands before the names of their modules.
    """
    rate = 0.0  # seconds that a cost of 1 takes

    def part(number: int) -> Report:
        own, total = costs[number], sum(costs)
        before, after = sum(costs[:number]), sum(costs[number + 1 :])

        def tell(progress: Progress) -> None:
            nonlocal rate
            if progress.share_done < 1:
                rate = progress.seconds_left / (own * (1 - progress.share_done))
            assert report is not None
            report(replace(
                progress,
                module=prefixes[number] + progress.module,
                index=number * progress.modules + progress.index,
                kept=number * progress.modules + progress.kept,
                modules=len(costs) * progress.modules,
                share_done=(before + own * progress.share_done) / total,
                seconds_left=progress.seconds_left + after * rate,
            ))  # fmt: skip

        return tell

    return [part(number) if report else None for number in range(len(costs))]
