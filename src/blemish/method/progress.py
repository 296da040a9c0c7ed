"""How far a fit has come: a plain value, told by a clock that knows what each module costs."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fit has come: in the module at work (`index` of `modules`, from 1), and in all of the work."""

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


Report = Callable[[Progress], None]
Step = Callable[[int, int, float, float], None]  # of one module: step, steps, loss, images per second


class Clock:
    """Turns a module's step reports into the progress of the whole fit; seconds left come from the estimated costs."""

    def __init__(
        self, names: list[tuple[int, int]], costs: list[float], half: Collection[int], report: Report | None
    ) -> None:
        self.names, self.costs, self.half, self.tell = names, costs, half, report
        self.index = 0
        self.skipped = 0.0
        self.started = time.monotonic()

    @property
    def report(self) -> Step | None:
        """What is to be called with the steps of the module at work; None if nobody listens."""
        return self._report if self.tell else None

    def _report(self, step: int, steps: int, loss: float, rate: float) -> None:
        total, done = sum(self.costs), sum(self.costs[: self.index]) + self.costs[self.index] * step / steps
        left = (time.monotonic() - self.started) * (total - done) / (done - self.skipped)
        size, level = self.names[self.index]
        assert self.tell is not None
        module = f"{size}/{level}", self.index + 1, len(self.names)
        self.tell(Progress(*module, step, steps, loss, rate, done / total, left, half=size in self.half))

    def skip(self) -> None:
        """Go on to the next module: this one was trained before."""
        self.skipped += self.costs[self.index]
        self.index += 1

    def finish(self) -> None:
        """Go on to the next module: this one is trained."""
        self.index += 1


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
                modules=len(costs) * progress.modules,
                share_done=(before + own * progress.share_done) / total,
                seconds_left=progress.seconds_left + after * rate,
            ))  # fmt: skip

        return tell

    return [part(number) if report else None for number in range(len(costs))]
