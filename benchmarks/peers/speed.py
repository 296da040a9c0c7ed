"""One of anomalib's models, in a process of its own, for benchmarks/speed/run.py: prepare it once, then serve it.

prepare fits a model as run.py does (STFPM's student stays untrained: its weights do not change the time), writes its
tensors and exports it with anomalib's own `to_openvino`, as 1 x 3 x 256 x 256, float32. serve predicts through torch,
or through OpenVINO alone: neither anomalib nor torch is loaded there, and OpenVINO is asked for latency, in its
default precision ("openvino": bfloat16 where the processor has it) or in float32 ("openvino-f32").
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "speed"))  # last: run.py is that of this folder

import numpy as np
from loop import Predict, Scan, serve
from numpy.typing import NDArray
from PIL import Image

WAYS = ("torch", "openvino", "openvino-f32")
SIZE = 256


def prepare(method: str, data: Path, out: Path, *, images: int | None) -> None:
    """Fit on the first `images` good images (None: all) and write OUT/state.safetensors and OUT/openvino."""
    from lightning.pytorch import seed_everything
    from run import build, check_teacher, teacher_weights
    from safetensors.torch import save_file

    seed_everything(0)
    weights = teacher_weights()
    model, teacher = build(method, weights)
    check_teacher(method, teacher, weights)
    with tempfile.TemporaryDirectory() as scratch:
        if method != "stfpm":
            _fit(model, _some(data, Path(scratch), images=images), Path(scratch))
        check_teacher(method, teacher, weights)
        model.eval()
        partial = out.with_name(out.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        tensors = {name: tensor.clone().contiguous() for name, tensor in model.model.state_dict().items()}
        save_file(tensors, partial / "state.safetensors")
        how = {"dynamic_axes": None, "opset_version": 18}  # one image; 18 is what torch makes in any case
        path = model.to_openvino(scratch, input_size=(SIZE, SIZE), onnx_kwargs=how)
        shutil.copytree(Path(path).parent, partial / "openvino")
    partial.replace(out)


def _fit(model: Any, data: Path, scratch: Path) -> None:
    from anomalib.engine import Engine
    from run import images

    where: dict[str, Any] = {"default_root_dir": scratch, "accelerator": "cpu", "devices": 1}
    engine = Engine(max_epochs=1, limit_val_batches=0, barebones=True, **where)
    engine.fit(model=model, datamodule=images(data))


def _some(data: Path, scratch: Path, *, images: int | None) -> Path:
    """Return the data set with fewer good images to train on."""
    if images is None:
        return data
    good = scratch / "some" / "train" / "good"
    good.mkdir(parents=True)
    for path in sorted((data / "train" / "good").iterdir())[:images]:
        shutil.copy(path, good)
    for part in ("test", "ground_truth"):
        shutil.copytree(data / part, scratch / "some" / part)
    return scratch / "some"


def resized(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what the models take: (H, W, 3) uint8 -> (1, 3, 256, 256) float32 in [0, 1]; they normalise themselves."""
    small = np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BILINEAR))
    return np.ascontiguousarray(small.transpose(2, 0, 1)[None], dtype=np.float32) / np.float32(255)


def load_torch(method: str, prepared: Path, *, threads: int) -> Predict:
    """Return anomalib's own module, with the tensors of its fit."""
    import torch
    from run import build, teacher_weights
    from safetensors.torch import load_file

    torch.set_num_threads(threads)
    model, _ = build(method, teacher_weights())
    model.model.load_state_dict(load_file(prepared / "state.safetensors"), assign=True)  # no second copy
    model.eval()

    def predict(image: NDArray[np.uint8]) -> float:
        with torch.inference_mode():
            found = model(torch.from_numpy(resized(image)))
            return float(found.pred_score)

    return predict


def load_openvino(prepared: Path, *, threads: int, float32: bool) -> Predict:
    """Return the exported model, compiled for this machine's CPU."""
    import openvino

    core = openvino.Core()
    network = core.read_model(prepared / "openvino" / "model.xml")
    network.reshape([1, 3, SIZE, SIZE])
    settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    settings["ENABLE_CPU_PINNING"] = False  # else all contenders are pinned to the same cores
    compiled = core.compile_model(network, "CPU", settings | ({"INFERENCE_PRECISION_HINT": "f32"} if float32 else {}))
    del network  # its constants would count as memory of the prediction
    request = compiled.create_infer_request()
    names = [next(iter(port.names)) for port in compiled.outputs]
    print("precision", compiled.get_property("INFERENCE_PRECISION_HINT"), names, file=sys.stderr)

    def predict(image: NDArray[np.uint8]) -> float:
        found = request.infer([resized(image)], share_inputs=True, share_outputs=True)
        return float(found[names.index("pred_score")].max())

    return predict


def main() -> None:
    """Read the arguments, then prepare, or load and answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", choices=["prepare", "serve"])
    parser.add_argument("method", choices=["padim", "patchcore", "stfpm"])
    parser.add_argument("prepared", type=Path, help="the folder that prepare makes and serve reads")
    parser.add_argument("--way", choices=WAYS, default="torch")
    parser.add_argument("--data", type=Path, help="one category in MVTec AD layout")
    parser.add_argument("--fit-images", type=int, help="good images to fit on; default: all")
    parser.add_argument("--images", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    given = parser.parse_args()
    os.environ["HF_HUB_OFFLINE"] = "1"
    if given.work == "prepare":
        import torch

        torch.set_num_threads(given.threads)
        prepare(given.method, given.data.resolve(), given.prepared, images=given.fit_images)
        return

    def load() -> tuple[Predict, Scan | None]:
        if given.way == "torch":
            return load_torch(given.method, given.prepared, threads=given.threads), None
        return load_openvino(given.prepared, threads=given.threads, float32=given.way == "openvino-f32"), None

    serve(load, given.images)


if __name__ == "__main__":
    main()
