"""How many faults of a whole surface a model finds: good test images, made uneven, pale, noisy or blurred all over.

For each kind of fault the share of the images whose verdict is not OK, by the map alone and with what looks at the
whole surface; then the same for changes that any camera makes.

    python benchmarks/surface/run.py MODEL DATA [--images 12]
"""

import argparse
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from blemish import Detector
from blemish.data.datasets import test_samples
from blemish.images.read import read_image
from blemish.verdict.scale import image_score

Floats = NDArray[np.float32]
Change = Callable[[Floats, np.random.Generator], NDArray[np.floating]]


def waves(image: Floats, random: np.random.Generator, *, step: float) -> NDArray[np.float64]:
    """Return smooth noise of unit deviation, (H, W, 1), whose bumps are `step` of the shorter side wide."""
    height, width = image.shape[:2]
    noise = gaussian_filter(random.normal(size=(height, width)), step * min(height, width), mode="wrap")
    return np.asarray((noise / noise.std())[..., None])


def tilt(image: Floats, random: np.random.Generator) -> NDArray[np.float64]:
    """Return -1 to 1 from one side of an image to the other, (1, W, 1), to the left or to the right."""
    return np.linspace(-1, 1, image.shape[1])[None, :, None] * random.choice([-1, 1])


def stripes(image: Floats) -> NDArray[np.float64]:
    """Return slanted waves of unit height, 32 along the shorter side, (H, W, 1)."""
    height, width = image.shape[:2]
    y, x = np.ogrid[:height, :width]
    return np.asarray(np.sin(2 * np.pi * 32 * (0.8 * x + 0.6 * y) / min(height, width))[..., None])


def blurred(image: Floats, share: float) -> NDArray[np.floating]:
    """Return an image blurred by a share of its shorter side."""
    sigma = share * min(image.shape[:2])
    return np.asarray(gaussian_filter(image, (sigma, sigma, 0)))


def as_jpeg(image: Floats) -> NDArray[np.floating]:
    """Return an image as a JPEG of quality 85 keeps it."""
    data = BytesIO()
    Image.fromarray(image.astype(np.uint8)).save(data, "JPEG", quality=85)
    return np.asarray(Image.open(data), np.float32)


FAULTS: dict[str, Change] = {
    "tilted light, 12 %": lambda image, random: image * (1 + 0.12 * tilt(image, random)),
    "tilted light, 25 %": lambda image, random: image * (1 + 0.25 * tilt(image, random)),
    "tilted light, 40 %": lambda image, random: image * (1 + 0.40 * tilt(image, random)),
    "15 % darker": lambda image, _: 0.85 * image,
    "15 % brighter": lambda image, _: 1.15 * image,
    "a quarter less contrast": lambda image, _: 0.75 * image + 0.25 * image.mean(axis=(0, 1)),
    "blur of 1/400": lambda image, _: blurred(image, 1 / 400),
    "blur of 1/200": lambda image, _: blurred(image, 1 / 200),
    "a cast of 4 %": lambda image, _: image * np.array([1.04, 1, 0.96]),
    "noise of 6 levels": lambda image, random: image + 6 * random.normal(size=(*image.shape[:2], 1)),
    "stripes of 3 levels": lambda image, _: image + 3 * stripes(image),
    "mottled by 8 %": lambda image, random: image * (1 + 0.08 * waves(image, random, step=0.05)),
}
HARMLESS: dict[str, Change] = {
    "as it is": lambda image, _: image,
    "3 % darker": lambda image, _: 0.97 * image,
    "3 % brighter": lambda image, _: 1.03 * image,
    "tilted light, 4 %": lambda image, random: image * (1 + 0.04 * tilt(image, random)),
    "noise of 1 level": lambda image, random: image + random.normal(size=(*image.shape[:2], 1)),
    "JPEG of 85": lambda image, _: as_jpeg(image),
}


def shares(detector: Detector, paths: list[Path], change: Change) -> tuple[float, float]:
    """Return the shares of changed images that are not OK, by the map alone and with the surface."""
    random, review, least = np.random.default_rng(0), detector.thresholds_.review, detector.header_.calibration.min_area

    def changed() -> Iterator[NDArray[np.uint8]]:
        for path in paths:
            pixels = change(read_image(path).astype(np.float32), random)
            yield np.clip(np.rint(pixels), 0, 255).astype(np.uint8)

    found = [reference for image in changed() for _, _, reference in detector.references(image)]
    alone = [image_score(one.map, min_area=least) for one in found]
    return float(np.mean(np.array(alone) > review)), float(
        np.mean([one.score(min_area=least) > review for one in found])
    )


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=12)
    options = parser.parse_args()
    detector = Detector.load(options.model, device="cpu")
    good = [sample.path for sample in test_samples(options.data) if sample.label == "good"]
    paths = good[:: max(1, -(-len(good) // options.images))]
    for title, changes in (("fault", FAULTS), ("harmless", HARMLESS)):
        rows = {name: shares(detector, paths, change) for name, change in changes.items()}
        print(f"| {title} ({len(paths)} images) | map alone | with the surface |\n|---|---|---|")
        for name, (alone, both) in rows.items():
            print(f"| {name} | {100 * alone:.0f} % | {100 * both:.0f} % |")
        mean = np.mean(list(rows.values()), axis=0)
        print(f"| **mean** | {100 * mean[0]:.0f} % | {100 * mean[1]:.0f} % |\n")


if __name__ == "__main__":
    main()
