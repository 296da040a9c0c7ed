"""Where the time of a fit with the recipe `fast` goes: a table of modules and phases, in seconds, as Markdown.

The package holds no timers: the functions that a fit calls are wrapped here. Phases exclude one another:

    decode      files -> images -> every size
    teacher     its stages, and keeping their features
    pick        batches: picking, cropping, copying
    forward, loss, backward, optimiser    of the students
    probe       how far the padding reaches into a crop; once a module
    statistics  of the residuals on good images
    other       everything else: building networks, the threshold, the loop itself

    python benchmarks/training/phases.py --images FOLDER [--sizes 128] [--levels 2,3] [--steps 40] [--threads 1]

With --count 50,100,200,300 it fits on so many of the images instead and prints what grows with their number and what
does not: the recipe's steps are the same for any number. Needs an idle machine.
"""

import argparse
import dataclasses
import platform
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from blemish import Detector
from blemish.cli.allocator import keep_freed_memory
from blemish.data.datasets import good_images
from blemish.method.learning import features, fitting, training
from blemish.method.pretrained import load_teacher
from blemish.model import fit, reading

PHASES = ("teacher", "pick", "forward", "loss", "backward", "optimiser", "probe", "statistics", "other")
STUDENTS = ("pick", "forward", "loss", "backward", "optimiser", "probe")
FAST = training.RECIPES["fast"]


class Phases:
    """Seconds of each (module, phase), where a phase inside another one stops the outer one's clock."""

    def __init__(self) -> None:
        self.seconds: Counter[tuple[str, str]] = Counter()
        self.module = "-"  # what is not of a module
        self.open = ["other"]
        self.mark = time.perf_counter()

    def turn(self) -> None:
        """Give the time since the last change to the phase that was at work."""
        now = time.perf_counter()
        self.seconds[self.module, self.open[-1]] += now - self.mark
        self.mark = now

    def enter(self, phase: str) -> None:
        self.turn()
        self.open.append(phase)

    def leave(self) -> None:
        self.turn()
        self.open.pop()

    def timed(self, function: Callable[..., Any], phase: str) -> Callable[..., Any]:
        """Return the function with its time given to a phase."""

        def wrapped(*arguments: Any, **options: Any) -> Any:
            self.enter(phase)
            try:
                return function(*arguments, **options)
            finally:
                self.leave()

        return wrapped

    def total(self, *phases: str) -> float:
        return sum(seconds for (_, phase), seconds in self.seconds.items() if phase in phases)


def wrap(phases: Phases) -> Callable[[], None]:
    """Wrap what a fit calls, and return what undoes it."""
    saved: list[tuple[Any, str, Any]] = []

    def put(owner: Any, name: str, function: Any) -> None:
        saved.append((owner, name, getattr(owner, name)))
        setattr(owner, name, function)

    for owner, name, phase in (
        (reading, "read_known", "decode"),
        (features, "cached_features", "teacher"),
        (fitting, "fit_statistics", "statistics"),
        (training, "pick", "pick"),
        (training, "crop_margin", "probe"),
        (training, "imitation_loss", "loss"),
        (torch.Tensor, "backward", "backward"),
    ):
        put(owner, name, phases.timed(getattr(owner, name), phase))
    make_optimiser, train_module = training.make_optimiser, fitting.train_module
    fit_modules, learn = fitting.fit_modules, fitting.learn

    def made(*arguments: Any) -> torch.optim.Optimizer:
        optimiser = make_optimiser(*arguments)
        optimiser.step = phases.timed(optimiser.step, "optimiser")
        return optimiser

    def trained(student: torch.nn.Module, *arguments: Any, **options: Any) -> torch.nn.Module:
        before = student.register_forward_pre_hook(
            lambda *_: phases.enter("probe" if phases.open[-1] == "probe" else "forward")
        )
        after = student.register_forward_hook(lambda *_: phases.leave())
        result = train_module(student, *arguments, **options)
        before.remove()
        after.remove()
        return result

    def named(module: Any, *arguments: Any, **options: Any) -> None:
        phases.turn()
        phases.module = module.name
        learn(module, *arguments, **options)

    def all_fitted(*arguments: Any, **options: Any) -> Any:
        modules = fit_modules(*arguments, **options)
        phases.turn()
        phases.module = "-"
        return modules

    put(training, "make_optimiser", made)
    put(fitting, "train_module", trained)
    put(fitting, "learn", named)
    put(fit, "fit_modules", all_fitted)

    def undo() -> None:
        for one in reversed(saved):
            setattr(*one)

    return undo


def profile(files: list[Path], sizes: list[int], levels: list[int]) -> Phases:
    """Fit on the files and return the seconds of every module and phase."""
    phases = Phases()
    undo = wrap(phases)
    try:
        Detector(sizes=sizes, levels=levels, device="cpu", score="whitened", tiles=None).fit(
            files, report=lambda _: None, jobs=1
        )
        phases.turn()
    finally:
        undo()
    return phases


def print_modules(phases: Phases) -> None:
    """Print a row for each module, one for what belongs to none, the sum, and the share of each phase."""
    decode = phases.total("decode")
    whole = phases.total(*PHASES) + decode
    modules = list(dict.fromkeys(module for module, _ in phases.seconds if module != "-"))
    print("| module | " + " | ".join(PHASES) + " | all | share |\n|---" + "|---" * (len(PHASES) + 2) + "|")
    for module in [*modules, "-"]:
        parts = [phases.seconds[module, phase] for phase in PHASES]
        row(module, parts, whole)
    parts = [phases.total(phase) for phase in PHASES]
    row("sum", parts, whole)
    print("| share | " + " | ".join(f"{part / whole:.1%}" for part in parts) + f" | {1 - decode / whole:.1%} | |")
    print(f"\ndecode and resize {decode:.2f} s ({decode / whole:.1%}); the whole fit {whole:.2f} s")


def row(name: str, parts: list[float], whole: float) -> None:
    cells = " | ".join(f"{part:.2f}" for part in parts)
    print(f"| {name} | {cells} | {sum(parts):.2f} | {sum(parts) / whole:.1%} |")


def print_counts(files: list[Path], counts: list[int], sizes: list[int], levels: list[int]) -> None:
    """Print what a fit takes for different numbers of images: the passes over all images, and the steps."""
    print("| images | decode | teacher | statistics | students | other | fit less decode, teacher, statistics |")
    print("|---|---|---|---|---|---|---|")
    for count in counts:
        phases = profile(files[:count], sizes, levels)
        passes = [phases.total(phase) for phase in ("decode", "teacher", "statistics")]
        students, other = phases.total(*STUDENTS), phases.total("other")
        cells = " | ".join(f"{part:.2f}" for part in [*passes, students, other, students + other])
        print(f"| {count} | {cells} |", flush=True)


def main() -> None:
    """Read the arguments, fit, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="a folder of good images, or a category")
    parser.add_argument("--sizes", default="128,256,384")
    parser.add_argument("--levels", default="2,3,4")
    parser.add_argument("--steps", type=int, default=FAST.steps, help="half as many for a module that starts warm")
    parser.add_argument("--count", help="numbers of images, such as 50,100,200,300")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()  # as the command does
    load_teacher("tf_efficientnet_lite0", None)  # what is imported only once is not of the fit
    training.RECIPES["fast"] = dataclasses.replace(FAST, steps=options.steps, warm_steps=max(options.steps // 2, 1))
    sizes, levels = ([int(one) for one in text.split(",")] for text in (options.sizes, options.levels))
    files = good_images(options.images)
    print(
        f"{platform.processor() or platform.machine()}, torch {torch.__version__}, threads {options.threads}; "
        f"sizes {options.sizes}, levels {options.levels}, steps {options.steps}, {len(files)} images\n"
    )
    if options.count:
        counts = [int(one) for one in options.count.split(",")]
        profile(files[: min(counts)], sizes, levels)  # the first fit also warms up
        print_counts(files, counts, sizes, levels)
    else:
        print_modules(profile(files, sizes, levels))


if __name__ == "__main__":
    main()
