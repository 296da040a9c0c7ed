"""How long the modules of a fit take side by side on 2 to 16 cores, simulated from what each takes alone.

    python benchmarks/training/schedule.py FOLDER

First the seconds of each module of a fit on the images of a folder are measured, on one thread and on two. What more
threads would bring comes from these two by Amdahl's law. The order is that of `method/learning/schedule.py`. It prints
the seconds of all modules by cores and jobs. Needs two idle cores.
"""

import argparse
import time
from collections.abc import Collection, Mapping
from pathlib import Path

import torch

from blemish import Detector
from blemish.method.learning import fitting
from blemish.method.learning.fitting import waiting, warm_starts
from blemish.method.learning.schedule import longest_ways
from blemish.method.learning.training import RECIPES

Name = tuple[int, int]
NAMES = [(size, level) for size in (128, 256, 384) for level in (2, 3, 4)]
JOBS = (1, 2, 3, 4)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    one, two = (measured(folder, threads=threads) for threads in (1, 2))
    print("| module | one thread | two |\n|---|---|---|")
    for size, level in NAMES:
        print(f"| {size}/{level} | {one[size, level]:.1f} | {two[size, level]:.1f} |")
    parallel = 2 * (1 - sum(two.values()) / sum(one.values()))  # the share of the work that threads share
    after = waiting(NAMES, warm_starts((128, 256, 384), (2, 3, 4), RECIPES["fast"]))
    print(
        f"\n{100 * parallel:.0f} % of the work is shared by threads\n\n| cores | "
        + " | ".join(map(str, JOBS))
        + " jobs |"
    )
    print("|---|" + "---|" * len(JOBS))
    for cores in (2, 4, 8, 16):
        row = []
        for jobs in JOBS:
            threads = max(cores // jobs, 1)
            costs = {name: cost * (1 - parallel + parallel / threads) for name, cost in one.items()}
            row.append(f"{finished(costs, after, jobs=jobs):.0f} s" if jobs <= cores else "")
        print(f"| {cores} | " + " | ".join(row) + " |")


def finished(costs: Mapping[Name, float], after: Mapping[Name, Collection[Name]], *, jobs: int) -> float:
    """Return when the last task has ended, if so many are done at a time, the longest way first."""
    ways, now, done = longest_ways(costs, after), 0.0, set[Name]()
    left, at_work = sorted(costs, key=lambda name: -ways[name]), dict[Name, float]()
    while left or at_work:
        for name in [name for name in left if done.issuperset(after[name])][: jobs - len(at_work)]:
            left.remove(name)
            at_work[name] = now + costs[name]
        name = min(at_work, key=lambda one: at_work[one])
        now = at_work.pop(name)
        done.add(name)
    return now


def measured(folder: Path, *, threads: int) -> dict[Name, float]:
    """Return the seconds of each module of a fit, features and statistics included, one after the other."""
    torch.set_num_threads(threads)
    took: dict[Name, float] = {}
    learn = fitting.learn

    def timed(module, *arguments, **options):
        start = time.perf_counter()
        learn(module, *arguments, **options)
        took[module.size, module.level] = time.perf_counter() - start

    fitting.learn = timed
    try:
        Detector(score="whitened").fit(folder, jobs=1)
    finally:
        fitting.learn = learn
    return took


if __name__ == "__main__":
    main()
