"""The demo: photographs of textures, painted defects, and what a model that has only seen good parts makes of them."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from blemish.data.datasets import test_samples
from blemish.data.inputs import name_images
from blemish.data.samples import read_truth
from blemish.demo.textures import KINDS, make_textures
from blemish.detector import Detector
from blemish.errors import InputError, StoppedError, printable
from blemish.evaluation.evaluate import evaluate, save
from blemish.export.export import export
from blemish.images.read import read_image
from blemish.model.arguments import Arguments
from blemish.model.workspace import fit_to_file
from blemish.printing.bars import follow, training
from blemish.printing.figures import print_figures
from blemish.printing.layout import print_facts
from blemish.printing.numbers import duration
from blemish.results.folder import results_folder, storing
from blemish.results.lines import summarise
from blemish.results.overlays import colour_bar, contact_sheet, save_png, side_by_side
from blemish.results.write import draw, write, write_model
from blemish.runtime.bundle import identity
from blemish.storage.files import LOCK, alone_in, make_folder, write_atomically
from blemish.storage.places import check_folder_writable

# What decides how long the demo takes: under 4 minutes on two processor cores.
SIZES = (128,)
LEVELS = (2, 3, 4)
RECIPE = "fast"

MARK = "made-by-blemish-demo"  # a folder that holds this file is the demo's own


def run(out: Path, *, console: Console) -> None:
    """Make the data, fit a model for each texture, evaluate it, and leave pictures and a table in `out`.

    These are data, models, bundles (of each model what `blemish export` writes), results (for each texture what
    `blemish predict` writes), demo.png (image, truth and overlay of the first defect of each kind) and demo.json (for
    each texture what `blemish evaluate --json` writes). The same folder can be used again. Raises InputError for a
    folder that is not empty and not the demo's, or in which another command is at work, StorageError where it cannot
    write.
    """
    with _claimed(out):
        _run(out, console)


def _run(out: Path, console: Console) -> None:
    started = time.monotonic()
    figures: dict[str, Any] = {}
    panels: dict[str, list[NDArray[np.uint8]]] = {}
    for folder in make_textures(out / "data"):
        name, model = folder.name, out / "models" / f"{folder.name}.safetensors"
        _fit(Detector(sizes=SIZES, levels=LEVELS, recipe=RECIPE), folder, out=model, console=console)
        detector = Detector.load(model)
        figures[name] = evaluate(detector, folder)
        _predict(detector, model, folder / "test", out / "results" / name, console=console)
        panels[name] = _panels(detector, folder)
        export(detector.model_, out / "bundles" / name, to="onnx", overwrite=True)
    lines = zip(*panels.values(), strict=True)  # a column for each texture, a line for each kind of defect
    save_png(out / "demo.png", contact_sheet([panel for line in lines for panel in line], columns=len(panels)))
    save(out / "demo.json", figures)
    print_figures({name: result["overall"] for name, result in figures.items()}, alarms=True)
    print("false NG: good test crops called NG. They are from another corner of the photograph than the crops that set")
    print("the threshold, and its promise holds only for parts that are drawn alike.")
    place = printable(out)
    print_facts(
        [
            ("pictures", f"{place}/demo.png"),
            ("all overlays", f"{place}/results"),
            ("models", f"{place}/models"),
            ("bundles", f"{place}/bundles"),
            ("time", duration(time.monotonic() - started)),
        ]
    )


@contextmanager
def _claimed(out: Path) -> Iterator[None]:
    """Make the demo's folder and mark it, or find it marked; no other command is let in meanwhile."""
    check_folder_writable(out)
    make_folder(out)
    with storing(out):
        if set(os.listdir(out)) - {LOCK} and not (out / MARK).is_file():
            raise InputError(
                f"{printable(out)}: is not empty and not from an earlier demo; choose another folder with --out"
            )
    with alone_in(out):
        write_atomically(out / MARK, b"blemish demo made this folder and may replace what is in it.\n")
        make_folder(out / "models")
        yield


def _fit(detector: Detector, folder: Path, *, out: Path, console: Console) -> None:
    arguments, showing = Arguments(**detector.get_params()), partial(training, console)
    try:
        fit_to_file(arguments, folder, out=out, say=console.out, showing=showing, overwrite=True)
    except StoppedError:
        raise StoppedError("interrupted; the same command runs the demo again") from None


def _predict(detector: Detector, model: Path, images: Path, out: Path, *, console: Console) -> None:
    named = name_images([images])
    with results_folder(out, overwrite=True):
        write_model(out, detector.header_, sha256=identity(model))
        summarise(follow(write(detector, named, out), total=len(named), console=console))


def _panels(detector: Detector, folder: Path) -> list[NDArray[np.uint8]]:
    """Return image, truth and overlay of the first defect of each kind, and the colour scale below them."""
    panels = []
    samples = test_samples(folder)
    for kind in KINDS:
        sample = next(sample for sample in samples if sample.label == kind)
        truth = read_truth(sample)
        assert truth is not None, "every defect has a mask"
        image, (prediction,) = read_image(sample.path), detector.predict([sample.path])
        heat = draw(image, prediction, detector.header_)
        captions = f"{folder.name}, {kind}", "truth", f"score {prediction.score:.3f}"
        panels.append(side_by_side(image, truth, heat, captions=captions))
    scale = colour_bar(
        thresholds=detector.thresholds_, colours=detector.header_.scale.colours, width=panels[0].shape[1]
    )
    return [*panels, scale]
