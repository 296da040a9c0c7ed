"""Reference maps: nothing is computed that no module needs, nothing twice, and the values are those of the scores."""

from collections import Counter

import numpy as np
import pytest
import torch

from blemish.errors import InputError
from blemish.images.resize import resize
from blemish.method import pyramid
from blemish.method.pyramid import stack
from blemish.method.scoring import score_maps, set_weights
from blemish.model import model
from blemish.verdict.scale import squash
from tiny import tiny_detector

NAMES = ["64/3", "128/2", "128/3"]
IMAGES = [np.random.default_rng(seed).integers(0, 256, (50, 70, 3), dtype=np.uint8) for seed in range(3)]


@pytest.fixture
def resized(monkeypatch):
    """Counts how many images are resized to which size."""
    sizes = Counter()

    def count(image, size):
        sizes[size] += 1
        return resize(image, size)

    monkeypatch.setattr(pyramid, "resize", count)
    return sizes


@pytest.mark.parametrize("maps", ["references", "reference_pairs"])
def test_only_what_the_kept_modules_need_is_computed_and_once(resized, maps):
    detector, calls = tiny_detector(["128/2", "64/3"], sizes=[64, 128, 192, 256])
    assert len(list(getattr(detector, maps)(IMAGES))) == 3
    assert resized == {64: 3, 128: 3}
    assert calls == {"T1": 6, "T2": 6, "T3": 3, "128/2": 3, "64/3": 3}  # each of three images alone


def test_one_deep_module_takes_its_own_size_only(resized):
    detector, calls = tiny_detector(["96/5"], sizes=[64, 96, 128])
    assert len(list(detector.references(IMAGES[:1]))) == 1
    assert resized == {96: 1}
    assert calls == {"T1": 1, "T2": 1, "T3": 1, "T4": 1, "T5": 1, "96/5": 1}


@pytest.mark.parametrize("score", ["whitened", "paper"])
def test_both_maps_are_those_of_the_scores_by_their_weights(score):
    weights = [0.7, 0.0, 0.3]
    detector, _ = tiny_detector(NAMES, sizes=[64, 128], score=score, weights=weights)
    pairs = [[one.map for one in pair] for _, _, pair in detector.reference_pairs(IMAGES)]
    once = [reference.map for _, _, reference in detector.references(IMAGES)]
    assert [module.weight for module in detector.modules_] == weights  # its own weights stay

    def expected():
        with torch.inference_mode():
            parts = [
                score_maps(detector.model_.teacher, detector.modules_, stack([one], [64, 128]), size=64, score=score)
                for one in IMAGES
            ]
            maps = torch.cat(parts).numpy()
        return squash(maps, good=-14.0, limit=-8.0) if score == "whitened" else maps

    for pair, own, want in zip(pairs, once, expected(), strict=True):
        assert own.shape == (64, 64)
        assert np.array_equal(pair[0], want)
        assert np.array_equal(own, want)
    set_weights(detector.modules_, score=score)
    without = expected()
    for pair, want in zip(pairs, without, strict=True):
        assert np.array_equal(pair[1], want)
        assert not np.array_equal(pair[0], want)


def test_images_are_read_and_scored_one_at_a_time(monkeypatch):
    detector, calls = tiny_detector(["64/2"], sizes=[64])
    loaded = []
    monkeypatch.setattr(model, "load", lambda source, bits, roi: loaded.append(1) or source)
    for done, _ in enumerate(detector.reference_pairs([IMAGES[0]] * 17), start=1):
        assert (len(loaded), calls["64/2"]) == (done, done)
    assert done == 17


def test_a_detector_that_is_not_fitted_has_no_maps():
    from blemish import Detector

    for maps in (Detector().references, Detector().reference_pairs):
        with pytest.raises(InputError, match="not fitted yet"):
            list(maps(IMAGES))
