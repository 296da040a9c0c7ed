"""What a busy machine costs: commands of blemish on idle cores, beside a loop on each core, and beside another fit.

    python benchmarks/contention/run.py DATA OUT [--rounds 3] [--only fit,predict-onnx]

DATA: a category; OUT: a new folder, or one from before, for what is made on the way. In each round every command runs
once beside each load, in turns. The table gives medians, s, and their ratios to the idle ones: a fair share of a core
that another has as well is half, so 2 is what can be had. Each command starts Python and loads its model, once.
"""

import argparse
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

CORES = len(os.sched_getaffinity(0))
SMALL = ["--sizes", "128,256", "--levels", "2,3", "--recipe", "quick"]


def main() -> None:
    """Make what is needed, take turns, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    given = parser.parse_args()
    given.out.mkdir(exist_ok=True)
    commands = {
        name: way for name, way in prepared(given.data, given.out).items() if name in given.only or not given.only
    }
    loads: dict[str, Callable[[], AbstractContextManager[None]]] = {
        "idle": idle,
        "loops": loops,
        "fit": lambda: another_fit(given.data, given.out),
    }
    took: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(given.rounds):
        for name, command in commands.items():
            for load, beside in loads.items():
                with beside():
                    took[name, load].append(seconds(command, given.out))
                    print(f"{name} {load}: {took[name, load][-1]:.1f} s", file=sys.stderr, flush=True)
    print(f"{CORES} cores; seconds, medians of {given.rounds}\n")
    print("| | idle | a loop on each core | beside a fit |\n|---|---|---|---|")
    for name in commands:
        quiet, *others = (statistics.median(took[name, load]) for load in loads)
        print(f"| {name} | {quiet:.1f} | " + " | ".join(f"{one:.1f}, {one / quiet:.2f} x" for one in others) + " |")


def prepared(data: Path, out: Path) -> dict[str, list[str]]:
    """Return the commands, once what they need is there; "OUT" in them is a folder of their own."""
    model = out / "model.safetensors"
    if not model.exists():
        blemish("fit", str(data), "--out", str(model), "--recipe", "quick")
    commands = {"fit": ["fit", str(data), "--out", "OUT/m.safetensors", *SMALL]}
    commands["evaluate-torch"] = ["evaluate", str(model), str(data)]
    scorers = {"torch": model}
    for target in ("onnx", "openvino"):
        scorers[target] = out / target
        if not scorers[target].exists():
            blemish("export", str(model), "--to", target, "--out", str(scorers[target]))
    for name, scorer in scorers.items():
        commands[f"predict-{name}"] = ["predict", str(scorer), str(data / "test"), "--out", "OUT/results"]
    return commands


def blemish(*arguments: str) -> None:
    """Run a command of blemish."""
    subprocess.run([sys.executable, "-m", "blemish", *arguments], check=True, capture_output=True)


def seconds(command: list[str], out: Path) -> float:
    """Run a command, and return what it took."""
    folder = out / "turn"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    start = time.perf_counter()
    blemish(*(word.replace("OUT", str(folder)) for word in command))
    return time.perf_counter() - start


@contextmanager
def idle() -> Iterator[None]:
    """Let nothing else run."""
    time.sleep(1)
    yield


@contextmanager
def loops() -> Iterator[None]:
    """Keep each core busy with a plain loop."""
    processes = [multiprocessing.Process(target=_loop, daemon=True) for _ in range(CORES)]
    for one in processes:
        one.start()
    yield
    for one in processes:
        one.kill()
        one.join()


def _loop() -> None:
    while True:
        pass


@contextmanager
def another_fit(data: Path, out: Path) -> Iterator[None]:
    """Let another fit, with all defaults, begin and go on."""
    folder = out / "beside"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    command = [sys.executable, "-m", "blemish", "fit", str(data), "--out", str(folder / "m.safetensors")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not any(folder.rglob("*-*.safetensors")):  # its first module is kept: it is well under way
            time.sleep(0.5)
        yield
        process.kill()


if __name__ == "__main__":
    main()
