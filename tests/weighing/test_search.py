"""The three objectives against closed forms and slow versions, collapse, and which modules are kept."""

import numpy as np
import pytest

from blemish.errors import InputError
from blemish.evaluation.metrics import pixel_metrics
from blemish.weighing import objectives
from blemish.weighing import search as weighting
from blemish.weighing.labelled import LabelledMaps
from blemish.weighing.objectives import Pixels, gather, region_overlap
from blemish.weighing.search import OBJECTIVES, keep_best, search


def made(maps, masks, labels=None):
    """Return labelled maps of modules a, b, c ...; maps: (N, I, R, R), masks: (I, R, R)."""
    maps, masks = np.asarray(maps, np.float32), np.asarray(masks, bool)
    return LabelledMaps(list("abcdefghi"[: len(maps)]), list(maps), masks, labels or ["crack"] * len(masks))


def spots(count, *, side=32, seed=0):
    """Return masks with two rectangles each."""
    random = np.random.default_rng(seed)
    masks = np.zeros((count, side, side), bool)
    for mask in masks:
        for top in (2, side // 2 + 2):
            left, height, width = random.integers(0, side - 8), *random.integers(2, 8, 2)
            mask[top : top + height, left : left + width] = True
    return masks


def noisy(shifts, masks, *, seed=0):
    """Return maps of unit noise that is higher on defects: by shifts[i] for module i."""
    random = np.random.default_rng(seed)
    return [random.normal(size=masks.shape) + shift * masks for shift in shifts]


@pytest.fixture(scope="module")
def thirds():
    """Module i answers 0.9 on its own part of the defect and 0.1 elsewhere on it: the best weights are no corner."""
    masks = np.zeros((1, 32, 32), bool)
    masks[0, :6, :20] = True  # 120 px: 60, 40 and 20
    maps = np.full((3, 1, 32, 32), 0.05)
    for index, columns in enumerate((slice(0, 10), slice(10, 16), slice(16, 20))):
        maps[index, 0, :6, :20] = 0.1
        maps[index, 0, :6, columns] = 0.9
    return made(maps, masks)


def descend(pixels, logits, *, rate, steps):
    """Return the weights after plain gradient descent on the logits, equations (8) to (10)."""
    for _ in range(steps):
        weights = np.exp(logits - logits.max())
        weights /= weights.sum()
        _, slope = objectives.cross_entropy(pixels, weights)
        logits = logits - rate * weights * (slope - weights @ slope)
    return weights


def test_paper_weights_are_the_shares_of_what_only_one_module_sees():
    """Each module is 1 on its own part of the defect and 0 elsewhere: -sum n_i log w_i is least at w_i = n_i / n."""
    mask = np.zeros((1, 16, 16), bool)
    mask[0, :2] = True
    maps = np.zeros((3, 1, 16, 16))
    maps[0, 0, :2, :8], maps[1, 0, :2, 8:14], maps[2, 0, :2, 14:] = 1, 1, 1
    found = search(made(maps, mask), objective="paper", prior=[1, 1, 1])
    assert found.weights == pytest.approx([8 / 16, 6 / 16, 2 / 16], abs=1e-6)
    expected = -sum(n * np.log(n / 32) for n in (16, 12, 4)) / 256
    assert found.loss == pytest.approx(expected, abs=1e-9)
    assert not found.collapsed
    assert found.reason == ""


def test_paper_loss_is_the_mean_cross_entropy_of_a_slow_version():
    random = np.random.default_rng(1)
    masks, weights = spots(2), np.array([0.2, 0.5, 0.3])
    maps = random.uniform(0.01, 0.99, (3, 2, 32, 32)).astype(np.float32)
    loss, slope = objectives.cross_entropy(made(maps, masks).pixels(), weights)

    def slow(w):
        phi = np.einsum("n,nihw->ihw", w, maps.astype(np.float64))
        return -np.where(masks, np.log(phi), np.log(1 - phi)).mean()

    assert loss == pytest.approx(slow(weights), abs=1e-12)
    for index in range(3):
        step = 1e-6 * np.eye(3)[index]
        assert slope[index] == pytest.approx((slow(weights + step) - slow(weights - step)) / 2e-6, abs=1e-7)


def test_paper_search_ends_at_the_same_weights_from_any_start(thirds):
    pixels = thirds.pixels()
    random = np.random.default_rng(0)
    ends = [objectives.paper(pixels, start=random.dirichlet(np.full(3, 0.5))).weights for _ in range(5)]
    assert np.ptp(ends, axis=0).max() < 1e-5
    assert 0.02 < ends[0].min() < ends[0].max() < 0.9


def test_gradient_descent_on_the_logits_ends_where_the_paper_search_does(thirds):
    pixels = thirds.pixels()
    expected = objectives.paper(pixels).weights
    for logits in ([0, 0, 0], [3, -3, 0], [-2, 1, 4]):
        assert descend(pixels, np.array(logits, float), rate=50, steps=1500) == pytest.approx(expected, abs=1e-4)


def test_gradient_descent_creeps_to_a_corner_that_the_paper_search_reaches():
    masks = spots(1)
    labelled = made(np.clip([0.5 * masks + 0.1, 0.3 * masks + 0.1, 0.2 * masks + 0.1], 0, 1), masks)
    found = search(labelled, objective="paper", prior=[1, 1, 1])
    assert found.weights.tolist() == [1, 0, 0]
    pixels = labelled.pixels()
    early, late = (descend(pixels, np.zeros(3), rate=20, steps=steps)[0] for steps in (20, 2000))
    assert 1 / 3 < early < 0.9 < late < 1


@pytest.mark.parametrize("objective", ["logistic", "aupro"])
def test_a_module_that_sees_defects_beats_one_that_is_noise(objective):
    masks = spots(20)
    labelled = made(noisy([3, 0], masks), masks)
    found = search(labelled, objective=objective, prior=[0.5, 0.5])
    assert found.weights[0] > 0.8
    assert found.weights.sum() == pytest.approx(1)
    pixels = labelled.pixels()
    own, equal = (
        region_overlap(pixels.rest @ w, pixels.defect @ w, pixels.region) for w in (found.weights, [0.5, 0.5])
    )
    assert own > equal + 0.02


def independent(shifts, spreads, *, images, count=40_000):
    """Return pixels whose scores are independent and normal, with one deviation a module, shifted on defects."""
    random = np.random.default_rng(0)
    spreads = np.array(spreads)
    rest, defect = (spreads * random.normal(size=(count, len(spreads))) for _ in range(2))
    region = np.repeat(np.arange(40), count // 40)
    return Pixels(rest, defect + shifts, np.full(count, 1 / count), region, (count, count), images)


def test_logistic_weights_of_many_images_are_those_of_fishers_discriminant():
    """Normal scores with the same deviation on defects: a_i = shift_i / spread_i^2; a negative one is not allowed."""
    pixels = independent([1, 2, 0.5, -1], [1, 2, 0.5, 1], images=10**9)
    found = objectives.logistic(pixels, prior=np.full(4, 0.25))
    assert found.weights == pytest.approx([1 / 3.5, 0.5 / 3.5, 2 / 3.5, 0], abs=0.02)


@pytest.mark.parametrize("objective", [objectives.logistic, objectives.aupro])
def test_the_fewer_images_the_nearer_the_prior(objective):
    prior, away = np.array([0.6, 0.1, 0.3]), []
    for images in (1, 10, 100):
        found = objective(independent([0, 1, 1], [1, 1, 1], images=images, count=4000), prior=prior).weights
        away.append(np.abs(found - prior).sum())
    assert 0 < away[0] < away[1] < away[2]
    held = objective(independent([0, 1, 1], [1, 1, 1], images=1e-9, count=4000), prior=prior).weights
    assert held == pytest.approx(prior, abs=1e-3)


def test_logistic_weights_do_not_depend_on_the_unit_of_the_scores_nor_on_the_start_of_the_scale():
    masks = spots(5)
    maps = np.array(noisy([2, 1, 0.3], masks))
    one, other = (
        search(made(values, masks), objective="logistic", prior=[0.2, 0.3, 0.5]).weights
        for values in (maps, 0.01 * maps + 0.3)
    )
    assert other == pytest.approx(one, abs=2e-3)


def test_logistic_weights_without_any_signal_are_the_prior():
    masks = spots(2)
    found = search(made([-1.0 * masks, -2.0 * masks], masks), objective="logistic", prior=[3, 1])
    assert found.weights == pytest.approx([0.75, 0.25])


def test_region_overlap_is_the_aupro_of_the_metrics():
    masks = spots(3)
    (maps,) = noisy([1.5], masks)
    rows = made([maps], masks).pixels()
    expected = pixel_metrics(list(maps.astype(np.float32)), list(masks))["aupro"]
    assert 0.5 < expected < 0.95
    assert region_overlap(rows.rest[:, 0], rows.defect[:, 0], rows.region) == pytest.approx(expected, abs=1e-4)


def test_pixels_are_balanced_by_image_and_region():
    """Image 0: regions of 4 and 12 px (one of them joined at a corner); image 1: one of 6; image 2: good."""
    masks = np.zeros((3, 16, 16), bool)
    masks[0, :2, :2] = True
    masks[0, 8:11, :3], masks[0, 11, 3:6] = True, True
    masks[1, 5, :6] = True
    found = gather(((np.zeros((2, 16, 16), np.float32), mask) for mask in masks), rest_step=1, region=5)
    assert found.counts == (3 * 256 - 22, 22)
    assert found.rest.shape == (3 * 256 - 22, 2)
    assert found.images == 2
    assert np.bincount(found.region).tolist() == [4, 5, 5]
    assert np.bincount(found.region, found.share) == pytest.approx([0.25, 0.25, 0.5])


def test_pixels_of_many_images_are_a_sample_spread_evenly():
    masks = spots(8)
    labelled = made([masks], masks)
    found = labelled.pixels(rest=1000, region=3)
    assert 700 < len(found.rest) <= 1000
    assert found.rest.max() == 0
    assert found.defect.min() == 1
    assert np.bincount(found.region).max() == 3
    assert found.counts == labelled.pixels().counts == (np.sum(~masks), np.sum(masks))


def test_distance_of_maps_is_that_of_their_correlation():
    masks = spots(4)
    pixels = made(noisy([2, 1, 0], masks), masks).pixels()
    one, other = np.array([0.5, 0.5, 0]), np.array([0, 0.7, 0.3])
    scores = np.concatenate([pixels.rest, pixels.defect])
    share = np.concatenate([np.full(len(pixels.rest), 1 / len(pixels.rest)), pixels.share])
    covariance = np.cov((scores @ np.stack([one, other], axis=1)).T, aweights=share)
    correlation = covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
    assert objectives.distance(pixels, one, other) == pytest.approx(1 - correlation**2)
    assert objectives.distance(pixels, one, 3 * one) == pytest.approx(0)
    assert objectives.distance(pixels, one, 0 * one) == 1


def test_maps_of_any_resolution_are_compared_at_the_reference_size():
    masks = spots(2)
    coarse = np.zeros((2, 4, 4), np.float32)
    coarse[:, 0, 0] = 8
    found = LabelledMaps(["a", "b"], [coarse, masks.astype(np.float32)], masks, ["x", "x"]).pixels()
    assert found.defect[:, 1].min() == 1
    assert found.rest[0, 0] == 8  # the corner
    assert 0 < found.rest[5, 0] < 8  # bilinear


def trap():
    """Return eight modules that see defects and one, the last, that does not, but whose scores are low everywhere."""
    masks = spots(6) & (np.arange(32) < 16)[:, None]
    random = np.random.default_rng(2)
    good = [0.08 + 0.05 * masks + random.uniform(0, 0.04, masks.shape) for _ in range(8)]
    low = 0.001 + 0.02 * random.uniform(0, 1, masks.shape) ** 4
    return made([*good, low], masks)


def test_a_collapse_of_the_paper_search_is_seen():
    """No score comes near 1, so the background decides the cross-entropy, and the module of lowest scores wins."""
    labelled = trap()
    found = search(labelled, objective="paper", prior=np.full(9, 1 / 9))
    assert found.weights[8] > 0.8
    assert found.collapsed
    assert "of the weight is on i; AUPRO on the images of the search: 0." in found.reason
    assert "equal weights 1.000" in found.reason
    assert "\n" not in found.reason


@pytest.mark.parametrize("objective", ["logistic", "aupro"])
def test_the_other_searches_do_not_collapse_there(objective):
    found = search(trap(), objective=objective, prior=np.full(9, 1 / 9))
    assert not found.collapsed
    assert found.weights[8] < 0.2


def test_all_weight_on_the_only_module_that_works_is_no_collapse():
    masks = spots(4)
    random = np.random.default_rng(0)
    maps = [0.9 * masks + 0.05, *(0.5 * random.uniform(size=masks.shape) for _ in range(4))]
    found = search(made(maps, masks), objective="paper", prior=np.full(5, 0.2))
    assert found.weights[0] > 0.99
    assert not found.collapsed


def test_weights_that_are_spread_are_no_collapse_however_bad(thirds, monkeypatch):
    monkeypatch.setattr(weighting, "FAR", -1)  # any other weights are far better
    found = search(thirds, objective="paper", prior=[1, 1, 1])
    assert np.exp(-(found.weights * np.log(found.weights)).sum()) > 2
    assert not found.collapsed


def test_a_search_is_repeatable_and_says_what_it_took():
    masks = spots(3)
    labelled = made(noisy([2, 1, 0.5], masks), masks)
    for objective in ("logistic", "aupro"):
        one, other = (search(labelled, objective=objective, prior=[1, 1, 1]) for _ in range(2))
        assert one.weights.dtype == np.float64
        assert one.weights.tobytes() == other.weights.tobytes()
        assert one.steps > 0
        assert one.seconds > 0


def test_a_module_that_another_stands_in_for_is_dropped_first():
    """a and b are all but the same and weigh most; c weighs less, and adds what nothing else has."""
    masks = spots(6)
    first, third = noisy([2, 0.8], masks, seed=3)
    second = first + noisy([0], masks, seed=4)[0] / 10
    labelled = made([first, second, third], masks)
    prior = [0.45, 0.43, 0.12]
    for objective in ("logistic", "aupro"):
        weights = search(labelled, objective=objective, prior=prior).weights
        assert weights[2] < weights[:2].min()
        kept = keep_best(labelled, 2, objective=objective, prior=prior)
        assert kept[1] == 2
        assert keep_best(labelled, 3, objective=objective, prior=prior) == [0, 1, 2]


def test_the_paper_keeps_the_highest_weights(thirds):
    assert search(thirds, objective="paper", prior=[1, 1, 1]).weights.argsort().tolist() == [2, 1, 0]
    assert keep_best(thirds, 2, objective="paper", prior=[1, 1, 1]) == [0, 1]
    assert keep_best(thirds, 1, objective="paper", prior=[1, 1, 1]) == [0]


def test_of_modules_without_weight_the_paper_keeps_the_least_bad():
    masks = spots(1)
    maps = [0.1 * masks + 0.1, 0.2 * masks + 0.1, 0.8 * masks + 0.1, 0.3 * masks + 0.1]
    labelled = made(maps, masks)
    assert search(labelled, objective="paper", prior=[1, 1, 1, 1]).weights.tolist() == [0, 0, 1, 0]
    assert keep_best(labelled, 2, objective="paper", prior=[1, 1, 1, 1]) == [2, 3]


def test_subsets_of_images_and_modules():
    masks = spots(3)
    labelled = made(noisy([1, 2, 3], masks), masks, ["crack", "hole", "crack"])
    some = labelled.images([2, 0]).modules([2, 1])
    assert list(some.names) == ["c", "b"]
    assert list(some.labels) == ["crack", "crack"]
    assert np.array_equal(some.masks, masks[[2, 0]])
    assert np.array_equal(some.maps[0], labelled.maps[2][[2, 0]])
    assert np.array_equal(some.maps[1], labelled.maps[1][[2, 0]])


MASKS = spots(2)
MAP = MASKS.astype(np.float32)
NAN = np.where(MASKS, np.nan, MAP).astype(np.float32)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ((["a"], [MAP, MAP], MASKS, ["x", "x"]), "maps: 2 maps vs 1 modules"),
        (([], [], MASKS, ["x", "x"]), "maps: 0 maps vs 0 modules"),
        ((["a"], [MAP], MASKS.astype(int), ["x", "x"]), "masks: int64 2x32x32 is not allowed, expected bool"),
        ((["a"], [MAP], MASKS[:, 1:], ["x", "x"]), "masks: bool 2x31x32 is not allowed"),
        ((["a"], [MAP], MASKS, ["x"]), "masks: 2 masks vs 1 labels"),
        ((["a"], [MAP[:1]], MASKS, ["x", "x"]), "map of a: float32 1x32x32, expected float32, 2 x h x w"),
        ((["a"], [MAP.astype(float)], MASKS, ["x", "x"]), "map of a: float64 2x32x32, expected float32"),
        ((["a"], [NAN], MASKS, ["x", "x"]), "map of a: holds scores that are not finite"),
        ((["a"], [MAP], 0 * MASKS > 0, ["x", "x"]), "masks: no defect pixel in 2 images"),
        ((["a"], [MAP], ~(0 * MASKS > 0), ["x", "x"]), "masks: no defect-free pixel in 2 images"),
        ((["a"], [MAP], MASKS, ["x", "good"]), "masks: an image labelled good has defect pixels"),
    ],
)
def test_maps_that_do_not_fit_together_are_refused(fields, text):
    with pytest.raises(InputError, match=text):
        LabelledMaps(*fields)


def test_arguments_that_are_not_allowed_are_refused():
    labelled = made([MAP, 3 * MAP], MASKS)
    for prior in ([1], [1, -1], [0, 0], [1, np.nan], [1, np.inf]):
        with pytest.raises(InputError, match="prior: expected 2 weights"):
            search(labelled, objective="logistic", prior=prior)
    with pytest.raises(InputError, match="objective: best is not known; known: logistic, aupro, paper"):
        search(labelled, objective="best", prior=[1, 1])
    with pytest.raises(InputError, match=r"needs score maps in \[0, 1\].*those of b reach from 0 to 3"):
        search(labelled, objective="paper", prior=[1, 1])
    for k in (0, 3, True, 1.0):
        with pytest.raises(InputError, match="is not allowed, expected 1 to 2 modules"):
            keep_best(labelled, k, objective="logistic", prior=[1, 1])
    assert OBJECTIVES == ("logistic", "aupro", "paper")
