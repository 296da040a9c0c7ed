"""Regions: wherever a score is above the threshold and nowhere else, and outlines that fit what is there."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy import ndimage

from blemish.errors import InputError
from blemish.images.resize import resize_map
from blemish.verdict.regions import Region, _kept, find_regions
from blemish.verdict.scale import Scale

PAPER = Scale("paper", good=0.0, limit=0.5)
WHITENED = Scale("whitened", good=1.0, limit=4.0)
EIGHT = np.ones((3, 3))


def grey(shape: tuple[int, int], value: int = 90) -> np.ndarray:
    return np.full((*shape, 3), value, np.uint8)


def cone(peak: float, radius: float, *, centre: tuple[float, float] = (64, 64), side: int = 128) -> np.ndarray:
    """A map that falls evenly from its peak to 0 at a radius."""
    y, x = np.mgrid[:side, :side]
    away = np.hypot(y - centre[0], x - centre[1])
    return np.float32(np.maximum(peak * (1 - away / radius), 0))


def described(inside: np.ndarray, score_map: np.ndarray) -> set[tuple[int, float, tuple[int, ...], float]]:
    """What can be said of regions from their pixels, by scipy: area, share, box, mean."""
    labels, count = ndimage.label(inside, EIGHT)
    found = set()
    for number, (y, x) in enumerate(ndimage.find_objects(labels), start=1):
        area = int((labels == number).sum())
        box = x.start, y.start, x.stop - x.start, y.stop - y.start
        found.add((area, area / inside.size, box, round(float(score_map[labels == number].mean(dtype=float)), 2)))
    assert len(found) == count
    return found


@pytest.mark.parametrize("shape", [(256, 256), (64, 64), (5000, 300), (40, 900), (7, 5), (1, 1)])
@pytest.mark.parametrize("scale", [PAPER, WHITENED], ids=lambda scale: scale.score)
def test_an_image_has_regions_exactly_if_its_score_is_above_the_threshold(shape: tuple[int, int], scale: Scale) -> None:
    """Smooth maps, and single pixels that no map at the image's own size shows; the image is noise."""
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
    for seed in range(3):
        noise = np.random.default_rng(seed).random((256, 256))
        smooth = ndimage.gaussian_filter(noise, 6)
        reference = np.float32(0.2 + 0.6 * (smooth - smooth.min()) / np.ptp(smooth))
        reference[noise > 0.9999] = 0.9
        score = float(reference.max())
        for threshold in (0.3, 0.7, 0.85, float(np.nextafter(reference.max(), np.float32(0)))):
            found, inside = find_regions(reference, image, threshold=threshold, scale=scale)
            assert found[0].peak == score
            assert min(region.peak for region in found) > threshold
            assert [region.peak for region in found] == sorted((region.peak for region in found), reverse=True)
            assert (inside.shape, inside.dtype) == (shape, np.bool_)
            assert len(found) == ndimage.label(inside, EIGHT)[1]
            assert sum(region.area for region in found) == inside.sum()
            assert all(0 < region.mean <= region.peak for region in found)
        found, inside = find_regions(reference, image, threshold=score, scale=scale)
        assert (found, inside.any()) == ([], False)


def test_every_peak_is_marked() -> None:
    reference = np.full((64, 64), 0.1, np.float32)
    places = [(0, 0), (0, 63), (63, 0), (63, 63), (30, 20)]
    for row, column in places:
        reference[row, column] = 0.75
    for height, width in ((64, 64), (32, 640), (1000, 50)):
        found, inside = find_regions(reference, grey((height, width)), threshold=0.5, scale=WHITENED)
        assert [region.peak for region in found] == [0.75] * 5
        for row, column in places:
            assert inside[int((row + 0.5) * height / 64), int((column + 0.5) * width / 64)]


def test_regions_are_described_by_their_pixels() -> None:
    reference = np.maximum(cone(0.8, 30, centre=(40, 40)), cone(0.7, 20, centre=(90, 100)))
    image = np.random.default_rng(0).integers(0, 256, (300, 200, 3), dtype=np.uint8)
    score_map = resize_map(reference, 300, 200)
    found, inside = find_regions(reference, image, threshold=0.5, scale=PAPER, score_map=score_map)
    assert len(found) > 1
    listed = {(region.area, region.share, region.box, round(region.mean, 2)) for region in found}
    assert listed == described(inside, score_map)
    assert find_regions(reference, image, threshold=0.5, scale=PAPER)[0] == found


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.45, 0.7])
def test_on_one_colour_a_defect_ends_halfway_below_its_peak_wherever_the_threshold_lies(threshold: float) -> None:
    """Of the paper's score half; the threshold decides only whether there is a region at all."""
    found, inside = find_regions(cone(0.8, 20), grey((128, 128)), threshold=threshold, scale=PAPER)
    radius = 20 * (1 - max(0.5 * 0.8, 0.8 * threshold) / 0.8)
    assert len(found) == 1
    assert found[0].area == inside.sum() == pytest.approx(np.pi * radius**2, rel=0.15)


def test_whitened_scores_are_cut_as_they_were_before_they_were_squashed() -> None:
    raw = cone(9.0, 40)
    reference = WHITENED.of(raw)
    found, _ = find_regions(
        reference, grey((128, 128)), threshold=float(WHITENED.of(np.float32([4.0]))[0]), scale=WHITENED
    )
    assert found[0].area == pytest.approx(np.pi * (40 * 0.12) ** 2, rel=0.2)  # above 0.88 of the peak
    np.testing.assert_allclose(WHITENED.levels(reference)[raw > 3], raw[raw > 3], rtol=1e-4)


def test_a_weak_defect_far_from_a_strong_one_has_an_outline_of_its_own() -> None:
    reference = np.maximum(cone(0.9, 16, centre=(30, 30)), cone(0.4, 16, centre=(96, 96)))
    found, _ = find_regions(reference, grey((128, 128)), threshold=0.3, scale=PAPER)
    assert [round(region.peak, 2) for region in found] == [0.9, 0.4]
    assert found[1].area > 0.5 * found[0].area


@pytest.mark.parametrize("colour", [(20, 20, 20), (230, 230, 230), (90, 60, 160)])
@pytest.mark.parametrize("shape", [(128, 128), (400, 320)])
def test_the_image_draws_the_line(colour: tuple[int, int, int], shape: tuple[int, int]) -> None:
    """A thin scratch under a wide blur: its colour tells which pixels are meant."""
    truth = np.zeros(shape, bool)
    height, width = shape
    truth[height * 2 // 5 : height // 2, width // 4 : width * 3 // 4] = True
    random = np.random.default_rng(0)
    image = np.clip(random.normal(110, 6, (*shape, 3)), 0, 255).astype(np.uint8)
    image[truth] = np.clip(random.normal(colour, 6, (truth.sum(), 3)), 0, 255)
    small = np.asarray(
        Image.fromarray(truth.astype(np.uint8) * 255).resize((128, 128)).filter(ImageFilter.GaussianBlur(8))
    )
    reference = np.float32(small / 255 * 0.9)
    _, inside = find_regions(reference, image, threshold=0.1, scale=PAPER)
    plain = resize_map(reference, *shape) > 0.1
    before, after = ((one & truth).sum() / (one | truth).sum() for one in (plain, inside))
    assert before < 0.45
    assert after > 0.7


def test_many_specks_are_each_a_region() -> None:
    reference = np.full((256, 256), 0.1, np.float32)
    for row, column in np.ndindex(4, 4):
        reference[row + 6 :: 16, column + 6 :: 16] = 0.75
    found, inside = find_regions(reference, grey((512, 512)), threshold=0.5, scale=WHITENED)
    assert len(found) == 16 * 16
    assert inside[17::32, 17::32].all()
    assert {region.area for region in found} <= {36, 64}  # 8 x 8 px each, more or less


def test_small_pieces_without_a_peak_and_pieces_not_above_the_threshold_are_left_out() -> None:
    inside, tips = np.zeros((20, 30), bool), np.zeros((20, 30), np.float32)
    score_map = np.full((20, 30), 0.6, np.float32)
    inside[2:4, 2:4] = True  # 4 px: a piece
    inside[2:5, 10] = True  # 3 px: too small
    inside[10, 10], tips[10, 10] = True, 0.9  # 1 px with a peak, which the map does not show
    inside[15:19, 20:25], score_map[15:19, 20:25] = True, 0.5  # not above the threshold
    found, kept = _kept(inside, score_map, tips, 0.5)
    assert [(region.area, region.box, round(region.peak, 3)) for region in found] == [
        (1, (10, 10, 1, 1), 0.9),
        (4, (2, 2, 2, 2), 0.6),
    ]
    assert kept.sum() == 5
    assert kept[10, 10]


def test_values_are_plain_numbers() -> None:
    found, _ = find_regions(cone(0.8, 20), grey((128, 128)), threshold=0.5, scale=PAPER)
    (region,) = found
    assert isinstance(region, Region)
    values = region.area, *region.box, region.share, region.peak, region.mean
    assert [type(value) for value in values] == [int] * 5 + [float] * 3


def test_nothing_that_is_given_is_changed() -> None:
    reference, image = cone(0.8, 20), np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8)
    score_map = resize_map(reference, 90, 70)
    before = [array.copy() for array in (reference, image, score_map)]
    for array in (reference, image, score_map):
        array.setflags(write=False)
    find_regions(reference, image, threshold=0.5, scale=PAPER, score_map=score_map)
    for array, copy in zip((reference, image, score_map), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_find_regions_refuses() -> None:
    image = grey((4, 4))
    with pytest.raises(InputError, match=r"score map: shape \(1, 4, 4\), allowed is \(H, W\)"):
        find_regions(np.zeros((1, 4, 4), np.float32), image, threshold=0.1, scale=PAPER)
    with pytest.raises(InputError, match="score map: 16 scores are not finite"):
        find_regions(np.full((4, 4), np.nan, np.float32), image, threshold=0.1, scale=PAPER)
    for threshold in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match=f"threshold: {threshold:g} is not allowed, give a finite number above 0"):
            find_regions(np.zeros((4, 4), np.float32), image, threshold=threshold, scale=PAPER)


def test_what_draws_and_writes_results_needs_numpy_and_pillow_only(tmp_path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from types import SimpleNamespace\n"
        "import numpy as np\n"
        "from blemish.results import overlays\n"
        "from blemish.results.write import write\n"
        "from blemish.verdict.judge import judge\n"
        "from blemish.verdict.scale import Reference, Scale\n"
        "from blemish.verdict.threshold import Thresholds\n"
        "header = SimpleNamespace(bits=16, scale=Scale('whitened', good=1.0, limit=4.0))\n"
        "header.roi, header.counted = None, lambda height, width: None\n"
        "score_map = np.full((40, 40), 0.1, np.float32)\n"
        "score_map[5:9, 5:9] = 1\n"
        "def predict(images):\n"
        "    given = {'thresholds': Thresholds(0.5), 'scale': header.scale}\n"
        "    return [judge(images[0], images[0], Reference(score_map), **given)]\n"
        "out = Path(sys.argv[1])\n"
        "overlays.save_png(out / 'in.png', np.full((40, 40, 3), 90, np.uint8))\n"
        "stub = SimpleNamespace(header_=header, thresholds_=Thresholds(0.5), streams=1, predict=predict)\n"
        "(record,) = write(stub, [(out / 'in.png', 'in')], out, save_maps=True)\n"
        "assert [one['peak'] for one in record['regions']] == [1.0], record\n"
        "heavy = {'torch', 'torchvision', 'timm', 'scipy', 'skimage', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
