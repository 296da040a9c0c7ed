"""What looks at the whole surface: what it joins, what it has learnt of good images, and where it puts what it says."""

import copy

import numpy as np
import pytest
import torch

from blemish.images.resize import resize
from blemish.method.beside.surface import (
    FEWEST,
    LEVELS,
    MOST,
    NOTICED,
    Surface,
    anchor,
    fit_surface,
    learn,
    shrunk,
    surface_rows,
    widen,
)
from blemish.method.pretrained import load_teacher
from blemish.method.pyramid import stack
from blemish.method.teacher import empty_teacher
from blemish.verdict.scale import FAR, scale_of


@pytest.fixture(scope="module")
def teacher():
    return load_teacher("tf_efficientnet_lite0")


def grain(count, *, seed=0, light=1.0):
    """Images of grain, each as bright as it likes by a few per cent."""
    random = np.random.default_rng(seed)
    images = []
    for _ in range(count):
        coarse = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        image = 0.25 * resize(coarse, 64) + random.normal(100, 8, (64, 64, 1)) * random.uniform(0.97, 1.03)
        images.append(np.clip(light * image, 0, 255).astype(np.uint8))
    return stack(images, [64])[64]


@pytest.fixture(scope="module")
def surface(teacher):
    return fit_surface(teacher, grain(60), levels=(2, 3, 4))


def says(teacher, surface, images):
    return surface(surface_rows(teacher, surface, images)).numpy()


def test_means_and_deviations_of_every_channel_are_laid_side_by_side():
    one = Surface(size=64, levels=(3, 4), channels=3)
    fine = torch.tensor([[[[1.0, 3.0], [5.0, 7.0]], [[2.0, 2.0], [2.0, 2.0]]]])  # (1, 2, 2, 2)
    deep = torch.tensor([[[[6.0, 0.0]]]])  # (1, 1, 1, 2)
    assert one.joined({3: fine, 4: deep})[0].tolist() == pytest.approx([4, 2, 5**0.5, 0, 3, 3])


def test_the_distance_is_that_of_mahalanobis_over_the_root_of_the_dimensions():
    random = np.random.default_rng(0)
    one, root, mean = Surface(size=64, levels=(3,), channels=2), random.normal(size=(4, 4)), random.normal(size=4)
    one.root.copy_(torch.from_numpy(root))
    one.mean.copy_(torch.from_numpy(mean))
    covariance = np.linalg.inv(root.T @ root)
    for row in random.normal(size=(5, 4)):
        expected = np.sqrt((row - mean) @ np.linalg.inv(covariance) @ (row - mean) / 4)
        assert float(one.distance(torch.from_numpy(row[None]).float())[0]) == pytest.approx(expected, rel=1e-4)


def test_what_it_says_is_the_limit_where_it_is_noticed_and_a_span_more_for_each_far_deviation():
    one = Surface(size=64, levels=(3,), channels=1)
    for name, value in (("centre", 2.0), ("spread", 0.5), ("limit", 7.0), ("span", 3.0)):
        getattr(one, name).fill_(value)
    for deviations, expected in ((NOTICED, 7.0), (NOTICED + FAR, 10.0), (NOTICED - FAR, 4.0), (0.0, 7 - NOTICED)):
        joined = torch.full((1, 2), 2.0 + 0.5 * deviations)  # the root is the unit matrix: that is its distance
        assert float(one(joined)[0]) == pytest.approx(expected)


@pytest.mark.parametrize(("count", "width"), [(5, 12), (40, 8), (4000, 3)])
def test_covariances_are_shrunk_as_ledoit_and_wolf_say(count, width):
    """Against their formulas, term by term."""
    random = np.random.default_rng(count)
    rows = random.normal(size=(count, width)) * np.linspace(1, 3, width)
    rows -= rows.mean(axis=0)
    sample = sum(np.outer(row, row) for row in rows) / count
    mu = np.trace(sample) / width
    off = np.sum((sample - mu * np.eye(width)) ** 2)
    noise = min(sum(np.sum((np.outer(row, row) - sample) ** 2) for row in rows) / count**2, off)
    expected = noise / off * mu * np.eye(width) + (off - noise) / off * sample
    assert shrunk(torch.from_numpy(rows)).numpy() == pytest.approx(expected, abs=1e-9)


def test_equal_rows_have_no_covariance_and_no_fault():
    assert not shrunk(torch.zeros(12, 5, dtype=torch.float64)).any()


def test_good_images_lie_around_zero_deviations_and_others_beyond(teacher, surface):
    anchor(surface, np.float32([np.full((8, 8), level) for level in (0.9, 1.0, 1.1)]))
    limit = float(surface.limit)
    assert np.max(says(teacher, surface, grain(40, seed=1))) < limit
    assert np.min(says(teacher, surface, grain(6, seed=2, light=0.5))) > limit
    tilted = (grain(6, seed=3) * torch.linspace(0.4, 1.2, 64)).clamp(max=255).to(torch.uint8)
    assert np.min(says(teacher, surface, tilted)) > limit
    deviations = (surface.distance(surface_rows(teacher, surface, grain(40, seed=1))) - surface.centre) / surface.spread
    assert abs(float(deviations.mean())) < 0.7
    assert 0.5 < float(deviations.std()) < 1.6


@pytest.mark.parametrize(
    ("distances", "expected"),
    [
        ([2.0, 2.2, 1.8], (2.0, 0.5)),  # as cross-validation says
        ([3.0, 3.2, 2.8], (3.0, 0.5)),  # farther away
        ([2.0, 4.0, 0.0], (2.0, 1.4826 * 2.0)),  # they vary more
        ([1.0, 1.1, 0.9], (2.0, 0.5)),  # nearer: that promises nothing
        ([2.0] * 4 + [2.2] * 4 + [90.0], (2.2, 0.5)),  # one stranger decides nothing
    ],
)
def test_held_out_images_that_are_farther_away_or_vary_more_count(distances, expected):
    one = Surface(size=64, levels=(3,), channels=1)
    one.centre.fill_(2.0)
    one.spread.fill_(0.5)
    levels = ((np.array(distances) - 2.0) / 0.5 - NOTICED) / FAR
    widen(one, levels)
    assert (float(one.centre), float(one.spread)) == pytest.approx(expected)


def test_parts_of_another_day_are_good_where_held_out_ones_are(teacher):
    one, other_day = fit_surface(teacher, grain(60), levels=(2, 3, 4)), grain(30, seed=4, light=0.5)
    maps = np.float32([np.full((8, 8), level) for level in (0.9, 1.0, 1.1)])
    bare = copy.deepcopy(one)
    anchor(bare, maps)
    assert np.median(says(teacher, bare, other_day[15:])) > float(bare.limit)
    widen(one, says(teacher, one, other_day[:15]).astype(np.float64))
    anchor(one, maps)
    assert np.max(says(teacher, one, other_day[15:])) < float(one.limit)


def test_it_lies_where_the_maps_of_good_images_do(surface):
    maps = np.random.default_rng(0).normal(3, 1, (9, 16, 16)).astype(np.float32)
    anchor(surface, maps)
    scale = scale_of(maps, score="whitened")
    assert (float(surface.limit), float(surface.span)) == pytest.approx((scale.limit, scale.limit - scale.good))


def test_a_channel_that_hardly_ever_varies_does_not_rule(teacher):
    rows = surface_rows(teacher, Surface(size=64, levels=LEVELS, channels=152), grain(40))
    still = rows.clone()
    still[:, 7] = 0.0  # as of a channel that no good image wakes
    one, other = Surface(size=64, levels=LEVELS, channels=152), Surface(size=64, levels=LEVELS, channels=152)
    learn(one, rows)
    learn(other, still)
    still[0, 7] = rows[:, 7].std()
    assert float(other.distance(still[:1])) < 10 * float(one.distance(rows[:1]))


def test_levels_teachers_and_images_that_cannot_tell(teacher):
    few, enough = grain(FEWEST - 1), grain(FEWEST)
    assert fit_surface(teacher, few, levels=LEVELS) is None
    assert fit_surface(teacher, enough, levels=(2, 3)) is None
    assert fit_surface(teacher, enough, levels=(4,)) is None
    assert fit_surface(teacher, grain(1).repeat(40, 1, 1, 1), levels=LEVELS) is None
    assert fit_surface(empty_teacher("wide_resnet50_2", 4, sha256="0" * 64), enough, levels=(2, 3, 4)) is None
    one = fit_surface(teacher, enough, levels=LEVELS)
    assert (one.size, one.levels, one.level, len(one.mean)) == (64, (3, 4), 4, 2 * (40 + 112))


def test_of_very_many_images_some_are_looked_at_from_first_to_last(teacher, monkeypatch):
    from blemish.method.beside import surface as module

    seen = []
    look = module.surface_rows
    monkeypatch.setattr(module, "surface_rows", lambda *given: seen.append(given[2]) or look(*given))
    images = grain(12).repeat(30, 1, 1, 1)  # 360
    fit_surface(teacher, images, levels=LEVELS)
    assert len(seen[0]) == 180 <= MOST
    assert torch.equal(seen[0], images[::2])
