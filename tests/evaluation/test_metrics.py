import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from blemish.errors import InputError
from blemish.evaluation.metrics import image_metrics, pixel_metrics

PIXEL_VALUES = ("pixel_auroc", "aupro", "pixel_ap", "pixel_f1_max", "pixel_f1_threshold")


def assert_same(result, expected, tolerance=1e-12):
    assert result["undefined"] == {}
    assert {key: result[key] for key in expected} == pytest.approx(expected, rel=0, abs=tolerance)


# The slow, independent version: every threshold, every point of the curves, the area by trapezoids.


def slow_regions(mask):
    """Flood fill over the eight neighbours; a list of sets of (row, column)."""
    left = {(int(row), int(column)) for row, column in np.argwhere(mask)}
    regions = []
    while left:
        region, frontier = set(), [left.pop()]
        while frontier:
            row, column = frontier.pop()
            region.add((row, column))
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            frontier += near
        regions.append(region)
    return regions


def slow_area(rates, heights, limit):
    area = 0.0
    for x0, x1, y0, y1 in zip(rates, rates[1:], heights, heights[1:], strict=False):
        if x1 <= limit:
            area += (x1 - x0) * (y0 + y1) / 2
        elif x0 < limit:
            at_limit = y0 + (y1 - y0) * (limit - x0) / (x1 - x0)
            area += (limit - x0) * (y0 + at_limit) / 2
    return area / limit


def slow_metrics(maps, masks, limit):
    pairs = list(zip(maps, masks, strict=True))
    regions = [[scores[pixel] for pixel in region] for scores, mask in pairs for region in slow_regions(mask)]
    defect = np.concatenate([scores[mask] for scores, mask in pairs])
    good = np.concatenate([scores[~mask] for scores, mask in pairs])
    rates, recalls, overlaps, precisions, f1s = [0.0], [0.0], [0.0], [1.0], []
    thresholds = sorted({*defect.tolist(), *good.tolist()}, reverse=True)
    for threshold in thresholds:
        true, false = int(sum(defect >= threshold)), int(sum(good >= threshold))
        rates.append(false / good.size)
        recalls.append(true / defect.size)
        overlaps.append(float(np.mean([np.mean(np.array(region) >= threshold) for region in regions])))
        precisions.append(true / (true + false))
        f1s.append(2 * true / (2 * true + false + defect.size - true))
    return {
        "pixel_auroc": slow_area(rates, recalls, 1.0),
        "aupro": slow_area(rates, overlaps, limit),
        "pixel_ap": sum(
            (after - before) * precision
            for before, after, precision in zip(recalls, recalls[1:], precisions[1:], strict=False)
        ),
        "pixel_f1_max": max(f1s),
        "pixel_f1_threshold": thresholds[f1s.index(max(f1s))],
        "regions": len(regions),
        "pixels": defect.size + good.size,
        "defect_pixels": defect.size,
    }


def drawing(*rows):
    return np.array([[character == "#" for character in row] for row in rows])


MASKS = {
    "single pixels": [drawing("#....", "..#..", "....#"), drawing("..#..", ".....")],
    "diagonal": [drawing("#....", ".#...", "..##.", "....#")],
    "border": [drawing("#####", "#...#", "#...#", "#####"), drawing("..", "##")],
    "gap of one": [drawing("##.##", "##.##", ".....", "##.##")],
    "nested": [drawing("#####", "#...#", "#.#.#", "#...#", "#####")],
    "some without": [drawing("...", "..."), drawing("##.", "..."), drawing("....", "....")],
    "nearly all": [drawing("####", "####", "###.")],
}


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("values", [1, 2, 4, 1000], ids="values={}".format)
@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_equals_the_slow_version(kind, values, limit):
    rng = np.random.default_rng([values, len(kind)])
    for _ in range(5):
        maps = [rng.integers(0, values, mask.shape).astype(np.float32) - 3 for mask in MASKS[kind]]
        expected = slow_metrics(maps, MASKS[kind], limit)
        assert_same(pixel_metrics(maps, MASKS[kind], fpr_limit=limit), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("values", [12, 100_000], ids="values={}".format)
@pytest.mark.parametrize("step", [1, 5, 1 << 13], ids="step={}".format)
def test_equals_the_slow_version_on_random_masks(dtype, values, step, monkeypatch):
    monkeypatch.setattr("blemish.evaluation.metrics.STEP", step)  # ties and regions lie on both sides of a step
    rng = np.random.default_rng(5)
    for _ in range(20):
        masks = [rng.random((7, 9)) < rng.choice([0.05, 0.3, 0.6]) for _ in range(3)]
        masks[0][3, 4] = True
        maps = [(rng.integers(0, values, mask.shape) + values // 3 * mask).astype(dtype) for mask in masks]
        assert_same(pixel_metrics(maps, masks), slow_metrics(maps, masks, 0.3))


def test_a_case_by_hand():
    # Region A holds 5 and 4, region B holds 4; the five defect-free pixels hold 7, 4, 2, 1, 0.
    #   threshold   FPR   found of A, B   PRO    true, false   precision   recall   F1
    #       7       0.2      0    0       0        0     1         0         0      0
    #       5       0.2     1/2   0       1/4      1     1        1/2       1/3     2/5
    #       4       0.4      1    1       1        3     2        3/5        1      3/4
    # AUPRO: from FPR 0.2 to 0.3 PRO runs from 1/4 to 1/4 + 3/8, so the area is 0.1 * 7/16, over 0.3: 7/48.
    # AUROC: of 15 pairs 7 loses three, 4 wins one and ties two, 2, 1 and 0 win three each: (1 + 2/2 + 9) / 15.
    # AP: 1/3 * 1/2 + 2/3 * 3/5 = 17/30.
    scores = np.array([[5, 4, 7, 4], [4, 2, 1, 0]], np.float32)
    mask = drawing("##.#", "....")
    expected = {
        "aupro": 7 / 48,
        "pixel_auroc": 11 / 15,
        "pixel_ap": 17 / 30,
        "pixel_f1_max": 3 / 4,
        "pixel_f1_threshold": 4.0,
        "regions": 2,
        "pixels": 8,
        "defect_pixels": 3,
    }
    assert_same(pixel_metrics([scores], [mask]), expected, 1e-15)


@pytest.mark.parametrize("limit", [0.01, 0.3, 1.0])
def test_all_equal_scores(limit):
    masks = MASKS["border"]  # 18 - 2 + 2 = 16 of 24 pixels
    maps = [np.full(mask.shape, 0.1, np.float32) for mask in masks]
    # One tie of everything: the curves are the diagonal, whose area up to the limit is limit² / 2.
    expected = {"pixel_auroc": 0.5, "aupro": limit / 2, "pixel_ap": 16 / 24, "pixel_f1_max": 2 * 16 / (16 + 24)}
    assert_same(pixel_metrics(maps, masks, fpr_limit=limit), expected, 1e-15)


def test_perfect_and_inverted_scores():
    rng = np.random.default_rng(2)
    masks = MASKS["single pixels"] + MASKS["gap of one"]
    noise = [rng.random(mask.shape, np.float32) for mask in masks]
    perfect = pixel_metrics([n + mask.astype(np.float32) for n, mask in zip(noise, masks, strict=True)], masks)
    assert [perfect[key] for key in PIXEL_VALUES[:4]] == [1.0, 1.0, 1.0, 1.0]
    assert perfect["pixel_f1_threshold"] == 1 + min(n[mask].min() for n, mask in zip(noise, masks, strict=True))
    inverted = pixel_metrics([n - mask.astype(np.float32) for n, mask in zip(noise, masks, strict=True)], masks)
    assert (inverted["pixel_auroc"], inverted["aupro"]) == (0.0, 0.0)


def test_each_region_counts_alike_whatever_its_size():
    scores = np.zeros((40, 40), np.float32)
    mask = np.zeros((40, 40), bool)
    mask[:20, :20], mask[39, 39] = True, True
    scores[:20, :20], scores[39, 39] = 1, -1  # the large region is found at once, the pixel last of all
    assert_same(pixel_metrics([scores], [mask]), {"aupro": 0.5, "pixel_auroc": 400 / 401, "regions": 2})


@pytest.mark.parametrize("step", [1, 2])
def test_higher_threshold_among_equally_good(step, monkeypatch):
    monkeypatch.setattr("blemish.evaluation.metrics.STEP", step)
    # At 9: 2 * 1 / (2 + 1 + 0); at 1: 2 * 2 / (2 + 2 + 2).
    scores = np.array([[9, 5, 0, 5, 1]], np.float32)
    result = pixel_metrics([scores], [drawing("#...#")])
    assert (result["pixel_f1_max"], result["pixel_f1_threshold"]) == (2 / 3, 9.0)


def test_f1_threshold_gives_that_f1():
    rng = np.random.default_rng(8)
    mask = rng.random((40, 50)) < 0.2
    scores = (rng.standard_normal(mask.shape) + mask).astype(np.float32)
    result = pixel_metrics([scores], [mask])
    called = scores >= result["pixel_f1_threshold"]
    assert result["pixel_f1_max"] == pytest.approx(2 * (called & mask).sum() / (called.sum() + mask.sum()), abs=1e-15)


@pytest.mark.parametrize("decimals", [1, 7])
def test_equals_scikit_learn(decimals):
    rng = np.random.default_rng(decimals)
    masks = [rng.random((60, 50)) < share for share in (0.0, 0.1, 0.3)]
    maps = [np.round(rng.standard_normal(mask.shape) + mask, decimals).astype(np.float32) for mask in masks]
    labels, scores = np.concatenate(masks).ravel(), np.concatenate(maps).ravel()
    expected = {"pixel_auroc": roc_auc_score(labels, scores), "pixel_ap": average_precision_score(labels, scores)}
    assert_same(pixel_metrics(maps, masks), expected)
    expected = {"image_auroc": expected["pixel_auroc"], "image_ap": expected["pixel_ap"]}
    assert_same(image_metrics(scores, labels), expected)


@pytest.mark.parametrize("rising", [np.exp, lambda x: x**3, lambda x: 5 * x - 1e4], ids=["exp", "cube", "line"])
def test_only_the_order_counts(rising):
    rng = np.random.default_rng(3)
    masks = [rng.random((20, 30)) < 0.1 for _ in range(2)]
    maps = [rng.integers(-9, 9, mask.shape).astype(np.float64) for mask in masks]
    before, after = pixel_metrics(maps, masks), pixel_metrics([rising(scores) for scores in maps], masks)
    assert after.pop("pixel_f1_threshold") == rising(before.pop("pixel_f1_threshold"))
    assert after == before


def test_float64_keeps_its_order():
    single = np.array([[1.0, 0.0]], np.float32)
    double = np.array([[1.0, 1.0 + 1e-12]])
    masks = [drawing(".."), drawing(".#")]
    assert pixel_metrics([single, double], masks)["pixel_auroc"] == 1.0
    assert pixel_metrics([single, double.astype(np.float32)], masks)["pixel_auroc"] == 1 - 2 / 6


def test_signed_zeros_tie():
    assert pixel_metrics([np.array([[-0.0, 0.0]], np.float32)], [drawing("#.")])["pixel_auroc"] == 0.5


def test_counts_beyond_float32():
    # More than 2**24 defect-free pixels; expected values from exact integers in a histogram.
    rng = np.random.default_rng(1)
    values = rng.integers(0, 200, (4500, 4500), dtype=np.uint8)
    mask = np.zeros(values.shape, np.bool_)
    mask[:700], mask[4499, 0] = True, True
    values[:700] //= 2
    values[:700] += 100
    defect = [int(count) for count in np.bincount(values[mask], minlength=200)]
    good = [int(count) for count in np.bincount(values[~mask], minlength=200)]
    assert sum(good) > 2**24
    wins = sum(2 * defect[v] * sum(good[:v]) + defect[v] * good[v] for v in range(200))
    pixel = int(values[4499, 0])
    large = [count - (v == pixel) for v, count in enumerate(defect)]
    overlaps = [(sum(large[v:]) / sum(large) + (pixel >= v)) / 2 for v in range(200)]
    true, false = [sum(defect[v:]) for v in range(200)], [sum(good[v:]) for v in range(200)]
    expected = {
        "pixel_auroc": wins / (2 * sum(defect) * sum(good)),
        "aupro": slow_area([0.0, *(f / sum(good) for f in false[::-1])], [0.0, *overlaps[::-1]], 0.3),
        "pixel_ap": sum(defect[v] * true[v] / (true[v] + false[v]) for v in range(200)) / sum(defect),
        "pixel_f1_max": max(2 * true[v] / (sum(defect) + true[v] + false[v]) for v in range(200)),
        "regions": 2,
        "pixels": 4500 * 4500,
        "defect_pixels": sum(defect),
    }
    assert_same(pixel_metrics([values.astype(np.float32)], [mask]), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [2, 128])
def test_memory_is_one_copy_and_one_image(rows, dtype):
    rng = np.random.default_rng(1)
    mask = np.zeros((256, 256), np.bool_)
    mask[100 : 100 + rows] = True
    maps = [rng.random((256, 256), dtype) for _ in range(64)]
    pixel_metrics(maps[:1], [mask])  # imports are not counted
    tracemalloc.start()
    pixel_metrics(maps, [mask] * 64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    for_each_defect_pixel = {np.float32: 16, np.float64: 20}[dtype]
    assert peak < 64 * (maps[0].nbytes + for_each_defect_pixel * mask.sum()) + 4 * 2**20


@pytest.mark.parametrize(
    ("mask", "reason", "regions"),
    [("..", "no defect pixel", 0), ("##", "no defect-free pixel", 1)],
)
def test_undefined_pixel_metrics(mask, reason, regions):
    result = pixel_metrics([np.array([[1, 2]], np.float32)], [drawing(mask)])
    assert result == {
        **dict.fromkeys(PIXEL_VALUES),
        "undefined": dict.fromkeys(PIXEL_VALUES, reason),
        "regions": regions,
        "pixels": 2,
        "defect_pixels": 2 * regions,
    }


def test_no_images():
    assert pixel_metrics([], [])["undefined"] == dict.fromkeys(PIXEL_VALUES, "no defect pixel")
    assert image_metrics([], []) == {
        "image_auroc": None,
        "image_ap": None,
        "image_f1_max": None,
        "undefined": dict.fromkeys(("image_auroc", "image_ap", "image_f1_max"), "no anomalous image"),
    }


GOOD_MAP, GOOD_MASK = np.zeros((2, 3), np.float32), np.zeros((2, 3), np.bool_)


def bad_map(value):
    scores = GOOD_MAP.copy()
    scores[1, 2] = value
    return scores


@pytest.mark.parametrize(
    ("scores", "mask", "message"),
    [
        (bad_map(np.nan), GOOD_MASK, "1 of 6 scores are NaN or infinite, all must be finite"),
        (bad_map(-np.inf), GOOD_MASK, "1 of 6 scores are NaN or infinite, all must be finite"),
        (GOOD_MAP, np.zeros((512, 512), np.bool_), "mask 512x512 vs map 2x3, they must be equal"),
        (GOOD_MAP, GOOD_MASK.T, "mask 3x2 vs map 2x3, they must be equal"),
        (GOOD_MAP, GOOD_MASK.astype(np.uint8), "a mask of uint8 is not allowed, it must be bool"),
        (GOOD_MAP.astype(np.float16), GOOD_MASK, "float16 scores are not allowed, they must be float32 or float64"),
        (GOOD_MAP[None], GOOD_MASK[None], "a map with 3 axes is not allowed, it must have height and width"),
    ],
)
def test_bad_maps_are_named(scores, mask, message):
    maps, masks = [GOOD_MAP, scores], [GOOD_MASK, mask]
    with pytest.raises(InputError) as caught:
        pixel_metrics(maps, masks)
    assert str(caught.value) == f"map 1: {message}"
    with pytest.raises(InputError) as caught:
        pixel_metrics(maps, masks, names=["a.png", "b\n.png"])
    assert str(caught.value) == f"b\\n.png: {message}"


def test_bad_counts_and_limits():
    with pytest.raises(InputError, match=r"^masks: 1 masks vs 2 maps"):
        pixel_metrics([GOOD_MAP, GOOD_MAP], [GOOD_MASK])
    with pytest.raises(InputError, match=r"^names: 2 names vs 1 images"):
        pixel_metrics([GOOD_MAP], [GOOD_MASK], names=["a", "b"])
    for limit in (0.0, -0.3, 1.1, float("nan")):
        with pytest.raises(InputError, match=rf"^fpr_limit: {limit} is not allowed, it must be above 0 and at most 1$"):
            pixel_metrics([GOOD_MAP], [GOOD_MASK], fpr_limit=limit)


def test_image_metrics_by_hand():
    # Anomalous 3 and 1, good 2, 1, 0. Pairs: 3 wins three, 1 wins one and ties one: 4.5 of 6.
    # At 3: precision 1, F1 2 * 1 / (2 + 1 + 0). At 1: precision 2/4, F1 2 * 2 / (2 + 2 + 2).
    result = image_metrics([3, 2, 1, 1, 0], [True, False, True, False, False])
    assert result == {"image_auroc": 0.75, "image_ap": 0.75, "image_f1_max": 2 / 3, "undefined": {}}


def test_image_metrics_of_equal_scores():
    result = image_metrics([0.5] * 4, [True, False, True, False])
    assert result == {"image_auroc": 0.5, "image_ap": 0.5, "image_f1_max": 2 / 3, "undefined": {}}


@pytest.mark.parametrize(("label", "reason"), [(True, "no good image"), (False, "no anomalous image")])
def test_undefined_image_metrics(label, reason):
    keys = ("image_auroc", "image_ap", "image_f1_max")
    assert image_metrics([1.0, 2.0], [label] * 2) == {**dict.fromkeys(keys), "undefined": dict.fromkeys(keys, reason)}


def test_bad_image_scores_are_named():
    with pytest.raises(InputError, match=r"^image 1: the image score is nan, it must be finite$"):
        image_metrics([0.0, float("nan")], [True, False])
    with pytest.raises(InputError, match=r"^b\.png: the image score is inf, it must be finite$"):
        image_metrics([0.0, float("inf")], [True, False], names=["a.png", "b.png"])
    with pytest.raises(InputError, match=r"^labels: 1 labels vs 2 scores"):
        image_metrics([0.0, 1.0], [True])
    with pytest.raises(InputError, match=r"^labels: int64 is not allowed, they must be bool$"):
        image_metrics([0.0, 1.0], np.array([0, 1], np.int64))
