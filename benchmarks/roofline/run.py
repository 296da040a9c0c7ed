"""What this machine can do at most, what a model asks of it, and which share of that limit blemish reaches.

    python benchmarks/roofline/run.py [--model MODEL] [--bundle DIR ...] [--images FOLDER] [--markdown] [--json FILE]

The limit of a part is the longer of FLOPs / peak and least bytes / bandwidth; its share is limit / measured time. All
is measured with one thread and with all. Without --model an untrained one of nine modules is timed: it takes as long.
A bundle is one of `blemish export`; it is held against the peak of its precision. Of a part in torch all is float32.
Decoding is in none of the times. Nothing else may run meanwhile: of one thread the script tells if it had to wait.
"""

import argparse
import dataclasses
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from counting import Part, count_parts
from peaks import measure_peaks
from shares import Setting, print_counts, print_parts, print_peaks, print_predictions, print_trainings
from working import BATCH, TRAIN_STEPS, Image, time_bundle, time_model, time_parts, time_training, untrained

NINE = [f"{size}/{level}" for size in (128, 256, 384) for level in (2, 3, 4)]


def main() -> None:
    """Read the arguments, measure with one thread and with all, print tables, keep the figures."""
    from blemish import Detector
    from blemish.cli.allocator import keep_freed_memory

    options = _options()
    keep_freed_memory()  # as every command of blemish does
    images = _images(options.images)
    if options.model:
        detector = Detector.load(options.model, device="cpu")
    else:
        detector = untrained("tf_efficientnet_lite0", NINE, reference_size=256)
    machine = _machine()
    print(", ".join(f"{key}: {value}" for key, value in machine.items()), flush=True)
    parts = count_parts(detector)
    print_counts(parts, markdown=options.markdown)
    settings: list[Setting] = []
    for threads in options.threads:
        settings.append(setting := _measured(options, detector, parts, images, threads))
        print_peaks(setting.peaks, markdown=options.markdown)
        for show in (print_parts, print_predictions, print_trainings):
            show(setting, settings[0], markdown=options.markdown)
        if options.json:
            kept = {"machine": machine, "settings": [dataclasses.asdict(one) for one in settings]}
            options.json.write_text(json.dumps(kept, indent=1) + "\n")


def _measured(
    options: argparse.Namespace, detector: Any, parts: list[Part], images: list[Image], threads: int
) -> Setting:
    wall, processor = time.perf_counter(), time.process_time()
    setting = Setting(measure_peaks(threads))
    torch.set_num_threads(threads)
    setting.parts = count_parts(detector, repeats=options.repeats)
    setting.part_seconds = time_parts(detector, images[0], repeats=options.repeats)
    network = sum(setting.part_seconds.values())
    setting.predictions = time_model(detector, parts, images, network=network, repeats=options.repeats)
    for bundle in options.bundle:
        setting.predictions += time_bundle(bundle, images, threads=threads, repeats=options.repeats)
    if options.train_steps:
        for level in sorted({module.level for module in detector.modules_}):
            setting.trainings.append(time_training(detector, level, steps=options.train_steps))
    had = (time.process_time() - processor) / (time.perf_counter() - wall)
    if threads == 1 and had < 0.95:
        print(f"\nThe machine was busy: this process had to wait {1 - had:.0%} of the time, so times are too long.")
    return setting


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model file of blemish")
    parser.add_argument("--bundle", action="append", default=[], type=Path, metavar="DIR", help="may be repeated")
    parser.add_argument("--images", type=Path, help=f"a folder; the first {BATCH} of it; default: noise, 512 x 512")
    parser.add_argument("--repeats", type=_positive, default=20)
    parser.add_argument(
        "--threads", type=_positive, nargs="+", default=sorted({1, _cores()}), help="default: 1 and all"
    )
    parser.add_argument("--train-steps", type=int, default=TRAIN_STEPS, help="of a run of training; 0: none")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    return parser.parse_args()


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def _cores() -> int:
    """Return the cores that this process may use; macOS and Windows do not say, so all of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _images(folder: Path | None) -> list[Image]:
    from blemish.data.sources import load, sources

    if folder:
        return [load(source) for source in sources(folder)[:BATCH]]
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (512, 512, 3), dtype=np.uint8) for _ in range(8)]


def _machine() -> dict[str, str]:
    from blemish.version import __version__

    name = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        name = next(
            (line.split(": ")[1] for line in info.read_text().splitlines() if line.startswith("model name")), name
        )
    return {"processor": name, "cores": str(_cores()), "system": platform.platform(), "torch": torch.__version__,
            "blemish": __version__}  # fmt: skip


if __name__ == "__main__":
    main()
