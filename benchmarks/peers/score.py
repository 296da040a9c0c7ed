"""Score the maps that run.py left, with blemish's metrics, in blemish's own environment.

python benchmarks/peers/score.py --data DATA --out OUT [--original]
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from blemish.data.datasets import test_samples
from blemish.data.samples import read_truth
from blemish.evaluation.metrics import image_metrics, pixel_metrics
from blemish.images.read import read_image
from blemish.images.resize import resize_map, resize_mask

SIZE = 256, 256


def score(path: Path, data: Path, *, original: bool = False) -> dict[str, Any]:
    """Return what the maps beside METHOD-seedN.json are worth, stretched to each image's own size if `original`.

    `overall` and, with that type's images and all good ones, `types`: the metrics. `images`: for each image what
    `blemish evaluate` would say of it: image, label, score, and area of its defects in px of the image.
    """
    record = json.loads(path.read_text())
    known = {sample.path.relative_to(data).as_posix(): sample for sample in test_samples(data)}
    samples = [known[name] for name in record["order"]]
    truths = [read_truth(sample) for sample in samples]
    shapes = [read_image(sample.path).shape[:2] if original else SIZE for sample in samples]
    pairs = list(zip(truths, shapes, strict=True))
    masks = [np.zeros(shape, bool) if truth is None else resize_mask(truth, *shape) for truth, shape in pairs]
    found, scores = np.load(path.with_suffix(".npy")), [record["image_scores"][name] for name in record["order"]]
    maps = [resize_map(one, *shape) for one, shape in zip(found, shapes, strict=True)]

    def figures(label: str | None) -> dict[str, Any]:
        chosen = [i for i, sample in enumerate(samples) if label is None or sample.label in ("good", label)]
        pixel = pixel_metrics([maps[i] for i in chosen], [masks[i] for i in chosen])
        return {**pixel, **image_metrics([scores[i] for i in chosen], [samples[i].label != "good" for i in chosen])}

    return {
        "overall": figures(None),
        "types": {label: figures(label) for label in sorted({sample.label for sample in samples} - {"good"})},
        "images": [
            {"image": name, "label": sample.label, "score": one, "area": 0 if truth is None else int(truth.sum())}
            for name, sample, one, truth in zip(record["order"], samples, scores, truths, strict=True)
        ],
    }


def main() -> None:
    """Print a Markdown row for each method and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--original", action="store_true", help="at each image's own size, not at 256 x 256")
    options = parser.parse_args()
    print("| method | seed | pixel AUROC | AUPRO | image AUROC | pixel AP | fit s | ms / image | peak MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for path in sorted(options.out.glob("*-seed*.json")):
        record, overall = json.loads(path.read_text()), score(path, options.data, original=options.original)["overall"]
        method, seed = path.stem.split("-seed")
        figures = [overall[name] for name in ("pixel_auroc", "aupro", "image_auroc", "pixel_ap")]
        print(
            f"| {method} | {seed} | " + " | ".join(f"{value:.4f}" for value in figures) + f" | "
            f"{record['fit_seconds']:.0f} | {1000 * record['predict_seconds_per_image']:.0f} | "
            f"{record['peak_rss_mb']:.0f} |"
        )


if __name__ == "__main__":
    main()
