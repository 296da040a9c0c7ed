"""Contenders as processes that take turns: one predicts, the others wait on stdin and use no processor time."""

import json
import os
import random
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PAUSE = 0.2  # seconds before a turn: threads of the one before spin for a while before they sleep
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Contender:
    """What is measured under a name: a command of `loop.serve`, and changes to the environment (None: unset)."""

    name: str
    command: list[str]
    environment: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Turn:
    """One contender's turn in one round.

    images: how many; seconds: of each image, or of the whole folder; cpu_seconds: processor time of the contender, all
    threads, for all images; scores: of each image, none for a folder; peak_mb: its peak resident memory so far, loading
    included; others: processors that anything else on the machine kept busy meanwhile, on average.
    """

    name: str
    round: int
    images: int
    seconds: list[float]
    cpu_seconds: float
    scores: list[float]
    peak_mb: float
    others: float


class Process:
    """A contender that has loaded and warmed up."""

    def __init__(self, contender: Contender) -> None:
        environment = {**os.environ, **contender.environment}
        kept = {name: value for name, value in environment.items() if value is not None}
        self.name = contender.name
        start = time.perf_counter()
        self.process = subprocess.Popen(contender.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=kept)
        self._answer()
        self.first_seconds = time.perf_counter() - start  # from nothing to the first score
        self._answer()

    def turn(self, number: int, folder: Path | None) -> Turn:
        """Predict all images, or the folder, once."""
        time.sleep(PAUSE)
        busy, own, start = _busy_seconds(), self._own_seconds(), time.perf_counter()
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"folder": folder and str(folder)}).encode() + b"\n")
        self.process.stdin.flush()
        found = self._answer()
        others = _busy_seconds() - busy - (self._own_seconds() - own)
        share = max(0.0, others) / (time.perf_counter() - start)
        return Turn(name=self.name, round=number, others=share, **found)

    def close(self) -> None:
        """End the process; it stops by itself once its stdin is closed."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name}: stopped with exit code {self.process.wait()}")
        return json.loads(line)

    def _own_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def started(contenders: Sequence[Contender]) -> Iterator[list[Process]]:
    """Start the contenders one after the other; end them all at the end of the context."""
    with ExitStack() as stack:
        processes = []
        for contender in contenders:
            process = Process(contender)
            stack.callback(process.close)
            print(f"{process.name}: first score after {process.first_seconds:.2f} s", flush=True)
            processes.append(process)
        yield processes


def rounds(processes: Sequence[Process], count: int, *, folder: Path | None) -> Iterator[Turn]:
    """Yield the turns: in every round each process has one, in an order that is drawn anew from a fixed seed."""
    draw = random.Random(0)
    for number in range(count):
        for process in draw.sample(processes, len(processes)):
            yield process.turn(number, folder)


def _busy_seconds() -> float:
    """Return the processor time that all of the machine has used since it was started (Linux)."""
    fields = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    return (sum(fields) - fields[3] - fields[4]) / TICKS  # all but idle and iowait
