"""From a fitted detector to a bundle that scores without torch; what does not score the same is never written."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from blemish.checks import word
from blemish.data.datasets import AS_THEY_ARE, test_samples
from blemish.data.inputs import check_apart
from blemish.data.layouts.labels import Labels
from blemish.data.sources import Source, fit_sources, load, names_of
from blemish.errors import InputError
from blemish.export.gates import Lost, differences, lost_on
from blemish.export.golden import golden_files
from blemish.export.writing import write_bundle, write_graph
from blemish.model.calibration import Wanted, calibrate_again, check_again, with_thresholds
from blemish.model.header import Header
from blemish.model.model import Model
from blemish.runtime.bundle import GRAPHS, OWN, Bundle, Precision, Target, read_bundle
from blemish.runtime.engines import Engine, available_threads, open_engine
from blemish.runtime.runtime import Runtime, raw_reference
from blemish.storage.files import new_folder
from blemish.storage.offline import openvino_core

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8")
RANGES = 60  # good images whose activations set the ranges of int8


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export found: the largest differences from torch on golden images, and what was lost on labelled ones."""

    bundle: Bundle
    score_difference: float
    mean_difference: float
    lost: Lost | None


def export(
    model: Model,
    out: Path,
    *,
    to: str,
    precision: str = "float32",
    good: Sequence[Source] = (),
    labelled: Path | None = None,
    overwrite: bool = False,
    labels: Labels = AS_THEY_ARE,
    wanted: Wanted = None,
) -> Exported:
    """Write a model's bundle to a new folder, and return how near it comes to the model.

    to: "onnx" or "openvino"; precision: "float32", and with OpenVINO "bfloat16" or "int8". good: the good images of the
    fit, which int8 needs: those that trained set its ranges, half of them with blots, as what good parts never show
    must not be cut off; those held out set its threshold; the first that trained are golden. labelled: a data set on
    which is measured what the bundle has lost; labels: how those of labelling tools are taken. wanted:
    other thresholds than the model's. Raises InputError for
    arguments or images that cannot be used, StorageError if the folder cannot be written, ExportError for a bundle that
    does not pass the gates of `gates`; nothing is left then.
    """
    target, kind = _checked(to, precision, good)
    model = replace(model, header=with_thresholds(model.header, wanted))
    check_apart([out], [labelled, *(one for one in good if isinstance(one, Path))])
    # After the graph it would be late to refuse them.
    samples = test_samples(labelled, labels=labels) if labelled is not None else []
    train, held_out = fit_sources(model.header.data, good, bits=model.header.bits) if good else ([], [])
    if kind == "int8" and not train:
        raise InputError("good: none of the images that trained the model is among those given (--good FOLDER)")
    if kind != "float32" and held_out:
        check_again(model.header, None)
    with new_folder(out, overwrite=overwrite, own=OWN) as folder:
        write_graph(folder, model, target=target, precision=kind, good=train[:RANGES])
        threads = available_threads()
        engine = open_engine(folder, target, kind, threads=threads, streams=1)
        header = _calibrated(model, engine, held_out) if kind != "float32" and held_out else model.header
        files = golden_files(header, train)
        bundle = write_bundle(folder, header, engine, files, target=target, precision=kind)
        runtime = Runtime(read_bundle(folder), engine, threads=threads)
        score, mean = differences(model, runtime, [folder / golden.file for golden in bundle.golden])
        runtime.self_test(folder)
        lost = lost_on(model, runtime, samples, data=labelled) if labelled is not None else None
    return Exported(bundle, score_difference=score, mean_difference=mean, lost=lost)


def _calibrated(model: Model, engine: Engine, held_out: Sequence[Source]) -> Header:
    """Return the model's header with a threshold of the graph's own."""
    header = model.header
    pairs = [raw_reference(engine, load(source, bits=header.bits), header) for source in held_out]
    maps, surfaces = np.stack([one for one, _ in pairs]), np.array([whole for _, whole in pairs])
    found = calibrate_again(
        header, maps, names_of(held_out, header.data.held_out), score=header.score,
        surfaces=surfaces if header.roi is None else None,
    )  # fmt: skip
    return header.changed(calibration=found)


def _checked(to: str, precision: str, good: Sequence[Source]) -> tuple[Target, Precision]:
    word("to", to, GRAPHS)
    word("precision", precision, PRECISIONS)
    if precision != "float32" and to != "openvino":
        raise InputError(f"{precision}: onnxruntime is no faster with it (docs/performance.md); use --to openvino")
    if precision == "int8" and not good:
        raise InputError("int8: needs the good images of the fit, for its ranges and its threshold (--good FOLDER)")
    if precision == "bfloat16" and not _has_bfloat16():
        raise InputError("bfloat16: this processor has none, so what it loses cannot be measured here")
    return cast(Target, to), cast(Precision, precision)


def _has_bfloat16() -> bool:
    return "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
