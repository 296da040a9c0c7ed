"""Score the maps that run.py left, with blemish's metrics, in blemish's own environment.

python benchmarks/peers/score.py --data DATA --out OUT
"""

import argparse
import json
from pathlib import Path

import numpy as np

from blemish.data.datasets import test_samples
from blemish.data.samples import read_truth
from blemish.evaluation.metrics import image_metrics, pixel_metrics
from blemish.images.resize import resize_mask


def main() -> None:
    """Print a Markdown row for each method and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    samples = {str(sample.path.relative_to(options.data)): sample for sample in test_samples(options.data)}
    print("| method | seed | pixel AUROC | AUPRO | image AUROC | pixel AP | fit s | ms / image | peak MB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for path in sorted(options.out.glob("*-seed*.json")):
        record = json.loads(path.read_text())
        ordered = [samples[name] for name in record["order"]]
        size = 256, 256
        masks = [
            np.zeros(size, bool) if truth is None else resize_mask(truth, *size)
            for truth in (read_truth(sample) for sample in ordered)
        ]
        pixel = pixel_metrics(list(np.load(path.with_suffix(".npy"))), masks)
        scores = [record["image_scores"][name] for name in record["order"]]
        image = image_metrics(scores, [sample.label != "good" for sample in ordered])
        method, seed = path.stem.split("-seed")
        figures = [pixel["pixel_auroc"], pixel["aupro"], image["image_auroc"], pixel["pixel_ap"]]
        print(
            f"| {method} | {seed} | " + " | ".join(f"{value:.4f}" for value in figures) + f" | "
            f"{record['fit_seconds']:.0f} | {1000 * record['predict_seconds_per_image']:.0f} | "
            f"{record['peak_rss_mb']:.0f} |"
        )


if __name__ == "__main__":
    main()
