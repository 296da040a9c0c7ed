"""One contender of blemish, in a process of its own: `run.py` starts it.

eager: the networks of a model file as Detector scores with them, but channels first, in float32 and with nothing
folded: the baseline. detector: Detector.predict as it is. bundle: blemish.runtime on an exported bundle, without torch.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from loop import Predict, Scan, serve
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def load_eager(model: Path) -> tuple[Predict, Scan | None]:
    """Return the baseline of a model file; it stops if the file's networks are folded, for it would be no baseline."""
    import torch

    from blemish import Detector
    from blemish.method.pyramid import stack
    from blemish.method.scoring import score_maps
    from blemish.verdict.judge import judge

    detector = Detector.load(model, device="cpu")
    header, thresholds = detector.header_, detector.thresholds_
    teacher = detector.model_.teacher.to(memory_format=torch.contiguous_format)
    modules = [module.to(memory_format=torch.contiguous_format) for module in detector.modules_]
    sizes = sorted({module.size for module in modules})
    for network in (teacher, *(module.student for module in modules)):
        _check_plain(network)

    def predict(image: Image) -> float:
        with torch.inference_mode():
            pyramid = {size: batch.contiguous() for size, batch in stack([image], sizes).items()}
            maps = score_maps(teacher, modules, pyramid, size=header.reference_size, score=header.score).numpy()
        return judge(image, image, header.reference(maps[0], -np.inf), thresholds=thresholds, scale=header.scale).score

    return predict, None


def load_detector(model: Path) -> tuple[Predict, Scan | None]:
    """Return a model file's Detector."""
    from blemish import Detector

    return _of(Detector.load(model, device="cpu"))


def load_bundle(folder: Path, *, threads: int, streams: int) -> tuple[Predict, Scan | None]:
    """Return the runtime of a bundle; it stops if that imports torch."""
    import sys

    from blemish.runtime import Runtime

    found = _of(Runtime.load(folder, threads=threads, streams=streams))
    if "torch" in sys.modules:
        raise SystemExit("blemish.runtime has imported torch")
    return found


def _of(predictor: Any) -> tuple[Predict, Scan | None]:
    """Return how a Detector or a Runtime predicts one image, and a folder: no further than its reference maps."""

    def predict(image: Image) -> float:
        return float(predictor.predict([image])[0].score)

    def scan(folder: Path) -> int:
        return sum(1 for _ in predictor.references(folder))

    return predict, scan


def _check_plain(network: Any) -> None:
    import torch

    norms = sum(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules())
    tensors = {key: value for key, value in network.state_dict().items() if value.is_floating_point()}
    strange = [key for key, value in tensors.items() if value.dtype != torch.float32 or not value.is_contiguous()]
    if not norms or strange:
        raise SystemExit(f"eager: not plain networks: {norms} batch normalisations, {strange[:1]} not plain float32")


def main() -> None:
    """Read the arguments, load, answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["eager", "detector", "bundle"])
    parser.add_argument("path", type=Path, help="a model file, or a bundle's folder")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--streams", type=int, default=1, help="of a bundle: images at the same time")
    given = parser.parse_args()

    def load() -> tuple[Predict, Scan | None]:
        if given.kind == "bundle":
            return load_bundle(given.path, threads=given.threads, streams=given.streams)
        import torch

        torch.set_num_threads(given.threads)
        return {"eager": load_eager, "detector": load_detector}[given.kind](given.path)

    serve(load, given.images)


if __name__ == "__main__":
    main()
