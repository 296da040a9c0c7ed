"""From a fitted detector to a bundle that scores without torch; what does not score the same is never written."""

import copy
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from blemish import __version__
from blemish.calibration import calibrate
from blemish.datasets import Sample, test_samples
from blemish.errors import ExportError, InputError, StorageError, printable
from blemish.files import make_folder, new_folder, write_atomically
from blemish.golden import blotted, golden_files
from blemish.graph import Graph, write_onnx
from blemish.header import Header
from blemish.images import resize, resize_mask
from blemish.metrics import pixel_metrics
from blemish.pyramid import Source, fit_sources, load
from blemish.runtime import Runtime
from blemish.runtime.bundle import CONTENTS, FILE, GRAPHS, Bundle, GoldenPart, Precision, Target, sealed
from blemish.runtime.engines import available_threads, open_engine
from blemish.samples import read_truth
from blemish.scale import image_score, on_scale

if TYPE_CHECKING:
    from blemish.detector import Detector

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16", "int8")
# On the scale where 0.5 is the threshold: how far a bundle may be from torch on a golden image, in its score and in its
# map on average, and how far another machine may be from the one that exported.
SCORE = {"float32": 1e-3, "bfloat16": 0.06, "int8": 0.15}
ON_AVERAGE = {"float32": 1e-4, "bfloat16": 0.04, "int8": 0.08}
ELSEWHERE = {"float32": 1e-3, "bfloat16": 0.03, "int8": 0.05}
ROUNDING = 1e-3  # a score this near to the threshold has no verdict that could be kept
RANGES = 60  # good images whose activations set the ranges of int8
LOST = 0.003  # of AUPRO; with more an export is refused
FLIPPED = 0.05  # of the verdicts, or FEW of them; with more an export is refused
FEW = 2


@dataclass(frozen=True, slots=True)
class Lost:
    """What a bundle lost on labelled images: AUPRO before and after, changed verdicts, largest change of a score."""

    images: int
    verdicts: int
    largest: float
    aupro: float
    exported_aupro: float


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export found: the largest differences from torch on golden images, and what was lost on labelled ones."""

    bundle: Bundle
    score_difference: float
    mean_difference: float
    lost: Lost | None


def export(
    detector: "Detector",
    out: Path,
    *,
    to: str,
    precision: str = "float32",
    good: Sequence[Source] = (),
    labelled: Path | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write a detector's bundle to a new folder, and return how near it comes to the detector.

    to: "onnx" or "openvino"; precision: "float32", and with OpenVINO "bfloat16" or "int8". good: the good images of the
    fit, which int8 needs: those that trained set its ranges, half of them with blots, as what good parts never show
    must not be cut off; those held out set its threshold; the first that trained are golden. labelled: a data set on
    which is measured what the bundle has lost. Raises InputError for arguments or images that cannot be used,
    StorageError if the folder cannot be written, ExportError if the bundle differs from the detector by more than
    SCORE or ON_AVERAGE on a golden image, gives one another verdict, or loses more than LOST of AUPRO or FLIPPED of
    the verdicts on labelled ones; nothing is left then.
    """
    target, kind = _checked(to, precision, good)
    samples = test_samples(labelled) if labelled is not None else []  # after the graph it would be late to refuse them
    train, held_out = fit_sources(detector.header_, good) if good else ([], [])
    if kind == "int8" and not train:
        raise InputError("good: none of the images that trained the model is among those given (--good FOLDER)")
    with new_folder(out, overwrite=overwrite, mark=FILE, others=CONTENTS) as folder:
        _write_graph(folder, detector, target=target, precision=kind, good=train[:RANGES])
        header = detector.header_
        if kind != "float32" and held_out:
            maps = np.stack(list(_raw_maps(folder, header, held_out, target=target, precision=kind)))
            update = {"calibration": calibrate(maps, score=header.score)}
            header = Header.model_validate(header.model_copy(update=update).model_dump())
        bundle = _write_bundle(folder, header, golden_files(header, train), target=target, precision=kind)
        runtime = Runtime.load(folder, self_test=False)
        score, mean = _differences(detector, runtime, [folder / golden.file for golden in bundle.golden])
        runtime.self_test(folder)
        lost = _lost(detector, runtime, samples, data=labelled) if labelled is not None else None
    return Exported(bundle, score_difference=score, mean_difference=mean, lost=lost)


def _checked(to: str, precision: str, good: Sequence[Source]) -> tuple[Target, Precision]:
    if to not in GRAPHS:
        raise InputError(f"to: {printable(to)} is not allowed, expected {' or '.join(GRAPHS)}")
    if precision not in PRECISIONS:
        raise InputError(f"precision: {printable(precision)} is not allowed, expected {', '.join(PRECISIONS)}")
    if precision != "float32" and to != "openvino":
        raise InputError(f"{precision}: onnxruntime is no faster with it (docs/performance.md); use --to openvino")
    if precision == "int8" and not good:
        raise InputError("int8: needs the good images of the fit, for its ranges and its threshold (--good FOLDER)")
    if precision == "bfloat16":
        import openvino

        if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise InputError("bfloat16: this processor has none, so what it loses cannot be measured here")
    return to, precision


def _write_graph(
    folder: Path, detector: "Detector", *, target: Target, precision: Precision, good: Sequence[Source]
) -> None:
    header = detector.header_
    teacher, modules = copy.deepcopy(detector._teacher).cpu(), copy.deepcopy(detector.modules_)
    graph = Graph(teacher, [one.cpu() for one in modules], reference_size=header.reference_size, score=header.score)
    with tempfile.TemporaryDirectory(prefix="blemish-export-") as scratch, _writing(folder):
        path = Path(scratch, GRAPHS["onnx"][0])
        write_onnx(path, graph)
        if precision == "int8":
            from blemish.quantise import quantise

            images = (blotted(load(one), seed=index) if index % 2 else load(one) for index, one in enumerate(good))
            feeds = ({f"image{size}": one[None] for size, one in _resized(image, header).items()} for image in images)
            path.write_bytes(quantise(path, feeds))
        if target == "openvino":
            import openvino

            model = openvino.Core().read_model(path)
            openvino.save_model(model, Path(scratch, GRAPHS[target][0]), compress_to_fp16=False)
        for name in GRAPHS[target]:
            write_atomically(folder / name, Path(scratch, name).read_bytes())


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn what the libraries say of a full disk into one line; torch and OpenVINO have no error of its own for it."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise StorageError(f"{printable(folder)}: the graph cannot be written: {reason}") from error


def _resized(image: NDArray[np.uint8], header: Header) -> dict[int, NDArray[np.uint8]]:
    return {size: resize(image, size) for size in sorted({module.size for module in header.modules})}


def _raw_maps(
    folder: Path, header: Header, images: Sequence[Source], *, target: Target, precision: Precision
) -> Iterator[NDArray[np.float32]]:
    """Yield what the graph in the folder makes of each image, before it is put on a scale."""
    engine = open_engine(folder, target, precision, threads=available_threads(), streams=1)
    for source in images:
        yield engine.run(_resized(load(source), header))


def _write_bundle(
    folder: Path, header: Header, files: Sequence[tuple[str, bytes]], *, target: Target, precision: Precision
) -> Bundle:
    """Write the golden images and `bundle.json` beside the graph; the expected scores are those of this machine."""
    paths = [folder / name for name, _ in files]
    make_folder(paths[0].parent)
    for path, (_, data) in zip(paths, files, strict=True):
        write_atomically(path, data)
    golden = []
    raw = _raw_maps(folder, header, paths, target=target, precision=precision)
    for (name, data), found in zip(files, raw, strict=True):
        scaled = on_scale(found, header)
        score, mean = image_score(scaled), float(scaled.mean())
        golden.append(GoldenPart(file=name, sha256=sha256(data).hexdigest(), score=score, mean=mean))
    bundle = sealed(
        blemish=__version__,
        exported=datetime.now(UTC).isoformat(timespec="seconds"),
        target=target,
        precision=precision,
        graph={name: sha256((folder / name).read_bytes()).hexdigest() for name in GRAPHS[target]},
        golden=golden,
        tolerance=ELSEWHERE[precision] * 2 * header.calibration.threshold,
        libraries={name: version(name) for name in ("numpy", "pillow", "torch", "onnxruntime", "openvino")},
        model=header,
    )
    write_atomically(folder / FILE, (bundle.model_dump_json(indent=1) + "\n").encode())
    return bundle


def _differences(detector: "Detector", runtime: Runtime, images: Sequence[Path]) -> tuple[float, float]:
    """Return the largest difference of a score, and of a map on average; raises ExportError for one too large."""
    precision, limits = runtime.bundle.precision, (detector.threshold_, runtime.threshold_)
    scale = 2 * limits[0]  # 1 but for the paper's score
    allowed = SCORE[precision] * scale, ON_AVERAGE[precision] * scale
    largest = [0.0, 0.0]
    pairs = zip(detector.reference_maps(images), runtime.reference_maps(images), strict=True)
    for path, ((_, _, expected), (_, _, found)) in zip(images, pairs, strict=True):
        before, after = image_score(expected), image_score(found)
        score, mean = abs(after - before), float(np.abs(found - expected).mean())
        if not (score <= allowed[0] and mean <= allowed[1]):  # NaN as well
            raise ExportError(
                f"not exported: golden image {path.name} scores {after:.4f} instead of {before:.4f}, its map is off by "
                f"{mean:.2g} on average; {precision} may be off by {allowed[0]:.2g} and {allowed[1]:.2g}"
            )
        if (before > limits[0]) != (after > limits[1]) and abs(before - limits[0]) > ROUNDING * scale:
            raise ExportError(
                f"not exported: golden image {path.name} has another verdict: {before:.4f} is {after:.4f}"
            )
        largest = [max(largest[0], score), max(largest[1], mean)]
    return largest[0], largest[1]


def _lost(detector: "Detector", runtime: Runtime, samples: Sequence[Sample], *, data: Path) -> Lost:
    """Return what a bundle has lost on the labelled images of `data`; raises ExportError if that is too much."""
    paths, side = [sample.path for sample in samples], detector.header_.reference_size
    truths = [read_truth(sample) for sample in samples]
    masks = [np.zeros((side, side), np.bool_) if one is None else resize_mask(one, side, side) for one in truths]
    before = [found for _, _, found in detector.reference_maps(paths)]
    after = [found for _, _, found in runtime.reference_maps(paths)]
    scores = [(image_score(one), image_score(other)) for one, other in zip(before, after, strict=True)]
    flipped = [(one > detector.threshold_) != (other > runtime.threshold_) for one, other in scores]
    aupro, exported = (pixel_metrics(maps, masks)["aupro"] for maps in (before, after))
    if not (isinstance(aupro, float) and isinstance(exported, float)):
        raise InputError(f"{printable(data)}: no defective or no defect-free pixel, so there is no AUPRO to compare")
    if aupro - exported > LOST:
        raise ExportError(
            f"not exported: AUPRO on {printable(data)} falls from {aupro:.4f} to {exported:.4f}; it may lose {LOST}"
        )
    if sum(flipped) > max(FEW, FLIPPED * len(samples)):
        raise ExportError(
            f"not exported: {sum(flipped)} of {len(samples)} verdicts on {printable(data)} change; "
            f"{max(FEW, int(FLIPPED * len(samples)))} may"
        )
    return Lost(
        images=len(samples),
        verdicts=sum(flipped),
        largest=max(abs(one - other) for one, other in scores),
        aupro=aupro,
        exported_aupro=exported,
    )
