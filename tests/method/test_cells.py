"""Covariances by place: positions of a cell share a root."""

import numpy as np
import pytest
import torch

from blemish.method.imitation import scaled_residual
from blemish.method.modules import Module, cell_of, new_module, rooted_map, whiten, whitened_map
from blemish.method.statistics import fit_statistics
from blemish.method.teacher import ARCHITECTURES

LITE0 = (2, 24), (3, 40), (4, 112)
SIDE, CHANNELS, IMAGES = 6, 3, 11
INSIDE = np.zeros((SIDE, SIDE), bool)
INSIDE[1:5, :4] = True
INSIDE[2, 2] = False  # a hole
CELLS = [(slice(y, y + 2), slice(x, x + 2)) for y in range(0, SIDE, 2) for x in range(0, SIDE, 2)]


def features(seed=0):
    """Features of a teacher whose residuals, that of a student which is the identity, vary from place to place."""
    random = torch.Generator().manual_seed(seed)
    targets = torch.randn(IMAGES, CHANNELS, SIDE, SIDE, generator=random) + 1
    noise = torch.randn(targets.shape, generator=random) * torch.linspace(0.1, 1, SIDE)
    noise[:, 0] += noise[:, 1] * torch.linspace(-1, 1, SIDE)[:, None]
    return targets + noise, targets


def fitted(inputs, targets, inside=None):
    module = Module(torch.nn.Identity(), size=96, level=4, channels=CHANNELS, weight=1.0, cell=2)
    fit_statistics(module, inputs, targets, inside=inside if inside is None else torch.from_numpy(inside))
    return module


@pytest.mark.parametrize("inside", [None, INSIDE, np.stack([np.roll(INSIDE, one, axis=1) for one in range(IMAGES)])])
def test_roots_are_those_of_a_slow_version(inside):
    inputs, targets = features()
    module = fitted(inputs, targets, inside)
    residuals = scaled_residual(targets, inputs).double().numpy().transpose(0, 2, 3, 1)
    mask = np.broadcast_to(True if inside is None else inside, residuals.shape[:3])
    centred = residuals - residuals[mask].mean(axis=0)
    assert np.allclose(module.mean, residuals[mask].mean(axis=0), atol=1e-6)
    everywhere = np.cov(residuals[mask].T, bias=True)
    everywhere += 1e-3 * everywhere.trace() / CHANNELS * np.eye(CHANNELS)
    logs = np.zeros(residuals.shape[:3])
    for root, cell in zip(module.roots.double().numpy().reshape(-1, CHANNELS, CHANNELS), CELLS, strict=True):
        rows = centred[:, *cell][mask[:, *cell]]
        own = rows.T @ rows / len(rows) if len(rows) else everywhere
        shrunk = 0.6 * 11 / 31 * own + (1 - 0.6 * 11 / 31) * everywhere
        assert np.allclose(root @ shrunk @ root.T, np.eye(CHANNELS), atol=1e-4)
        logs[:, *cell] = np.log(((centred[:, *cell] @ root.T) ** 2).mean(axis=3) + 1e-6)
    assert module.centre.item() == pytest.approx(logs[mask].mean(), abs=1e-4)
    assert module.spread.item() == pytest.approx(logs[mask].std(ddof=1), rel=1e-4)


def test_what_lies_outside_changes_no_bit():
    (inputs, targets), (other_inputs, other_targets) = features(), features(seed=1)
    outside = torch.from_numpy(~INSIDE)
    changed = [torch.where(outside, 100 * new, old) for old, new in ((inputs, other_inputs), (targets, other_targets))]
    before, after = fitted(inputs, targets, INSIDE), fitted(*changed, INSIDE)
    for (name, one), other in zip(before.named_buffers(), after.buffers(), strict=True):
        assert torch.equal(one, other), name
    assert not torch.equal(fitted(*changed).roots, fitted(inputs, targets).roots)


def test_residuals_that_never_vary_give_finite_roots():
    targets = torch.ones(IMAGES, CHANNELS, SIDE, SIDE)
    assert all(bool(buffer.isfinite().all()) for buffer in fitted(targets, targets).buffers())


def test_what_is_usual_at_one_place_stands_out_at_another():
    """Residuals of the first channel occur in the upper half alone; the same one counts there for less than below."""
    random = torch.Generator().manual_seed(0)
    targets = torch.full((200, 2, 4, 4), 1.0)
    noise = 0.05 * torch.randn(targets.shape, generator=random)
    noise[:, 0, :2] *= 10
    module = Module(torch.nn.Identity(), size=64, level=4, channels=2, weight=1.0, cell=2)
    fit_statistics(module, targets + noise, targets)
    residual = torch.tensor([0.3, 0.0])[None, :, None, None].expand(1, 2, 4, 4)
    found = module.distance(residual)[0]
    assert found[2:].min() > 2 * found[:2].max()


def test_a_rooted_map_is_that_of_a_loop():
    random = torch.Generator().manual_seed(0)
    values, roots = torch.randn(2, 5, 4, 8, generator=random), torch.randn(2, 4, 5, 5, generator=random)
    found = rooted_map(values, roots)
    assert found.shape == (2, 4, 8)
    for image in range(2):
        for y in range(4):
            for x in range(8):
                expected = (roots[y // 2, x // 2] @ values[image, :, y, x]).square().mean()
                assert found[image, y, x].item() == pytest.approx(expected.item(), rel=1e-5)


def test_where_all_cells_have_the_same_root_nothing_is_by_place():
    random = torch.Generator().manual_seed(0)
    module = Module(torch.nn.Identity(), size=64, level=4, channels=5, weight=1.0, cell=2)
    root, residuals = torch.randn(5, 5, generator=random), torch.randn(1, 5, 4, 4, generator=random)
    module.mean.copy_(torch.randn(5, generator=random))
    module.roots.copy_(root.expand_as(module.roots))
    expected = whitened_map(whiten(residuals, module.mean, root), torch.ones(5, 4, 4))
    assert torch.allclose(module.distance(residuals), expected, rtol=1e-4)


def test_cells_take_ten_megabytes_at_most():
    """Of Lite0, of ResNet18 (64 and 128 channels: 16 cells of 2 on a side would take 16 MB), of a Wide ResNet."""
    for size in (128, 256, 384):
        assert [cell_of(channels, size=size, level=level) for level, channels in LITE0] == [4, 2, 2]
    assert [cell_of(64, size=size, level=2) for size in (128, 256, 384)] == [4, 4, 4]
    assert [cell_of(128, size=size, level=3) for size in (128, 256, 384)] == [2, 4, 4]
    assert cell_of(256, size=256, level=2) == cell_of(1024, size=384, level=4) == 0
    assert cell_of(3, size=96, level=5) == 0  # no side divides 3
    for level, channels in (*LITE0, (2, 64), (3, 128)):
        assert 4 * ((384 >> level) // cell_of(channels, size=384, level=level)) ** 2 * channels**2 <= 10e6


def test_a_new_module_has_cells_where_they_fit():
    lite0 = ARCHITECTURES["tf_efficientnet_lite0"]
    assert new_module(lite0, size=64, level=4, weight=1.0, seed=0).roots.shape == (2, 2, 112, 112)
    bare = new_module(lite0, size=64, level=4, weight=1.0, seed=0, cell=0)
    assert (bare.cell, bare.variance.shape) == (0, (112, 4, 4))
