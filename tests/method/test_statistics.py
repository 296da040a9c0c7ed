"""Statistics of residuals where only some positions count."""

import numpy as np
import pytest
import torch

from blemish.method.imitation import scaled_residual
from blemish.method.modules import Module
from blemish.method.statistics import fit_statistics

SIDE, CHANNELS, IMAGES = 6, 3, 11
INSIDE = np.zeros((SIDE, SIDE), bool)
INSIDE[1:5, :4] = True
INSIDE[2, 2] = False  # a hole


def features(seed=0):
    """Features of a teacher whose residuals, that of a student which is the identity, vary from place to place."""
    random = torch.Generator().manual_seed(seed)
    targets = (
        torch.randn(IMAGES, CHANNELS, SIDE, SIDE, generator=random) + torch.tensor([2.0, 0.0, -1.0])[:, None, None]
    )
    noise = torch.randn(targets.shape, generator=random) * torch.linspace(0.1, 1, SIDE)
    return targets + noise, targets


def fitted(inputs, targets, inside=INSIDE):
    module = Module(torch.nn.Identity(), size=64, level=3, channels=CHANNELS, weight=1.0)
    module.variance = torch.ones(CHANNELS, SIDE, SIDE)
    fit_statistics(module, inputs, targets, inside=None if inside is None else torch.from_numpy(inside))
    return module


def test_statistics_are_those_of_a_slow_version_at_the_positions_that_count():
    inputs, targets = features()
    module = fitted(inputs, targets)
    residuals = scaled_residual(targets, inputs).double().numpy()
    places = [(y, x) for y in range(SIDE) for x in range(SIDE) if INSIDE[y, x]]
    rows = np.array([residuals[image, :, y, x] for image in range(IMAGES) for y, x in places])
    assert np.allclose(module.mean, rows.mean(axis=0), atol=1e-6)
    covariance = np.cov(rows.T, bias=True)
    ridged = covariance + 1e-3 * covariance.trace() / CHANNELS * np.eye(CHANNELS)
    w = module.whitener.double().numpy()
    assert np.allclose(w @ ridged @ w.T, np.eye(CHANNELS), atol=1e-4)

    white = {place: (residuals[:, :, place[0], place[1]] - rows.mean(axis=0)) @ w.T for place in places}
    own = {}
    for y, x in places:
        around = []  # an edge goes on as it ends: beyond it the nearest position stands once more
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                place = min(max(y + down, 0), SIDE - 1), min(max(x + right, 0), SIDE - 1)
                if place in white:
                    around.append((white[place] ** 2).mean(axis=0))
        own[y, x] = np.maximum(np.mean(around, axis=0), 0.1)
    everywhere = np.mean(list(own.values()), axis=0)
    logs = []
    for y, x in places:
        variance = 0.5 * own[y, x] + 0.5 * everywhere
        assert np.allclose(module.variance[:, y, x], variance, rtol=1e-4), (y, x)
        logs.append(np.log((white[y, x] ** 2 / variance).mean(axis=1) + 1e-6))
    assert module.centre.item() == pytest.approx(np.mean(logs), abs=1e-4)
    assert module.spread.item() == pytest.approx(np.std(logs, ddof=1), rel=1e-4)


def test_what_lies_outside_changes_no_bit():
    inputs, targets = features()
    before = fitted(inputs, targets)
    other_inputs, other_targets = features(seed=1)
    outside = torch.from_numpy(~INSIDE)
    changed = [torch.where(outside, 100 * new, old) for old, new in ((inputs, other_inputs), (targets, other_targets))]
    after = fitted(*changed)
    for (name, one), other in zip(before.named_buffers(), after.buffers(), strict=True):
        part = (slice(None), torch.from_numpy(INSIDE)) if name == "variance" else ...
        assert torch.equal(one[part], other[part]), name
        assert bool(other.isfinite().all()), name
    assert not torch.equal(fitted(*changed, inside=None).mean, before.mean)


def test_where_every_position_counts_nothing_changes():
    inputs, targets = features()
    every, bare = fitted(inputs, targets, inside=np.ones_like(INSIDE)), fitted(inputs, targets, inside=None)
    for (name, one), other in zip(every.named_buffers(), bare.buffers(), strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-7), name


def test_one_position_is_enough():
    inside = np.zeros_like(INSIDE)
    inside[0, 5] = True
    module = fitted(*features(), inside=inside)
    assert all(bool(buffer.isfinite().all()) for buffer in module.buffers())


def test_where_each_image_has_its_own_positions_these_count():
    """The same for all is what one for all is; what lies outside of an image's own changes nothing."""
    inputs, targets = features()
    whole, each = fitted(inputs, targets), fitted(inputs, targets, inside=np.stack([INSIDE] * IMAGES))
    for (name, one), other in zip(whole.named_buffers(), each.buffers(), strict=True):
        part = (slice(None), torch.from_numpy(INSIDE)) if name == "variance" else ...
        assert torch.allclose(one[part], other[part], rtol=1e-5, atol=1e-7), name
    own = np.stack([np.roll(INSIDE, index, axis=1) for index in range(IMAGES)])
    before = fitted(inputs, targets, inside=own)
    outside = torch.from_numpy(~own)[:, None]
    other_inputs, other_targets = features(seed=1)
    after = fitted(*(torch.where(outside, 100 * new, old) for old, new in (
        (inputs, other_inputs), (targets, other_targets))), inside=own)  # fmt: skip
    for (name, one), other in zip(before.named_buffers(), after.named_buffers(), strict=True):
        assert torch.equal(one, other[1]), name
    residuals = scaled_residual(targets, inputs).movedim(1, -1)[torch.from_numpy(own)]
    assert torch.allclose(before.mean, residuals.mean(dim=0), atol=1e-6)
