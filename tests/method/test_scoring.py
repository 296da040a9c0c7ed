"""Residuals against the teacher's length, whitening, the module maps and their combination."""

import numpy as np
import pytest
import torch

from blemish.method.imitation import module_map, resample, residual, scaled_residual
from blemish.method.modules import Module, whiten, whitened_map
from blemish.method.pretrained import load_teacher
from blemish.method.scoring import label_free_weights, module_maps, module_score, score_maps, set_weights
from blemish.method.statistics import fit_statistics, whitener
from blemish.method.teacher import student_stage

LITE0 = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def teacher():
    return load_teacher(LITE0)


@pytest.fixture(scope="module")
def images():
    random = torch.Generator().manual_seed(0)
    return {size: torch.randint(0, 256, (3, 3, size, size), dtype=torch.uint8, generator=random) for size in (64, 96)}


def made_module(size, level, *, weight, channels):
    module = Module(student_stage(LITE0, level, seed=level), size=size, level=level, channels=channels, weight=weight)
    random = torch.Generator().manual_seed(size + level)
    module.mean.copy_(0.1 * torch.rand(channels, generator=random))
    module.variance.copy_(0.5 + torch.rand(module.variance.shape, generator=random))
    module.centre.fill_(0.3)
    module.spread.fill_(2.0)
    return module


def test_scaled_residual_is_the_teacher_less_the_students_direction_at_its_length():
    random = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(2, 4, 3, 3, generator=random), torch.randn(2, 4, 3, 3, generator=random)
    for b, y, x in ((0, 1, 2), (1, 0, 0)):
        t, s = teacher[b, :, y, x], student[b, :, y, x]
        expected = t - s * t.norm() / s.norm()
        assert torch.allclose(scaled_residual(teacher, student)[b, :, y, x], expected, atol=1e-6)


def test_whitened_residuals_of_good_images_have_unit_covariance():
    random = torch.Generator().manual_seed(1)
    mix = torch.tensor([[2.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.5, 0.9]])
    rows = torch.randn(20_000, 3, generator=random) @ mix.T + torch.tensor([1.0, -2.0, 0.5])
    covariance = torch.cov(rows.T.double())
    found = whiten(rows.T.reshape(1, 3, 100, 200), rows.mean(dim=0), whitener(covariance).float())
    assert torch.allclose(torch.cov(found.reshape(3, -1)), torch.eye(3), atol=0.02)
    assert torch.allclose(found.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-4)


def test_whitened_map_is_a_mahalanobis_distance():
    """By hand: S = diag(4, 1), residual (2, 3): (2 / 2)^2 + (3 / 1)^2 = 10, divided by C = 2; variance 5 makes it 1."""
    covariance = torch.diag(torch.tensor([4.0, 1.0], dtype=torch.float64))
    whitened = whiten(torch.tensor([2.0, 3.0])[None, :, None, None], torch.zeros(2), whitener(covariance).float())
    assert whitened_map(whitened, torch.ones(2, 1, 1)).item() == pytest.approx(5.0, rel=5e-3)
    assert whitened_map(whitened, torch.full((2, 1, 1), 5.0)).item() == pytest.approx(1.0, rel=5e-3)


def test_whitener_of_residuals_that_never_vary_is_finite():
    assert bool(whitener(torch.zeros(3, 3, dtype=torch.float64)).isfinite().all())


def test_a_dead_channel_cannot_rule_the_score(teacher, images):
    ((_, _, targets),) = teacher.features(images[64], [3])
    module = Module(torch.nn.Identity(), size=64, level=3, channels=40, weight=1.0)
    targets = targets.clone()
    targets[:, 7] = 0
    student = targets + torch.randn(targets.shape, generator=torch.Generator().manual_seed(0))
    student[:, 7] = 0
    fit_statistics(module, student, targets)
    changed = student.clone()
    changed[:, 7] = 0.01
    with torch.no_grad():
        before, after = (module_score(module, targets, given, score="whitened") for given in (student, changed))
    assert (after - before).abs().max() < 1


def test_statistics_are_those_of_a_slow_version(teacher, images):
    """Mean, covariance and position variance of all residuals at once, by numpy."""
    ((_, inputs, targets),) = teacher.features(images[64], [3])
    module = Module(student_stage(LITE0, 3, seed=1), size=64, level=3, channels=40, weight=1.0)
    fit_statistics(module, inputs, targets)
    with torch.no_grad():
        residuals = scaled_residual(targets, module.student(inputs)).double().numpy()
    rows = residuals.transpose(0, 2, 3, 1).reshape(-1, 40)
    assert np.allclose(module.mean, rows.mean(axis=0), atol=1e-5)
    covariance = np.cov(rows.T, bias=True)
    ridged = covariance + 1e-3 * covariance.trace() / 40 * np.eye(40)
    w = module.whitener.double().numpy()
    assert np.allclose(w @ ridged @ w.T, np.eye(40), atol=1e-3)

    white = ((rows - rows.mean(axis=0)) @ w.T).reshape(3, 8, 8, 40)
    own = np.pad((white**2).mean(axis=0), ((1, 1), (1, 1), (0, 0)), mode="edge")
    smooth = np.mean([own[dy : dy + 8, dx : dx + 8] for dy in range(3) for dx in range(3)], axis=0)
    variance = 0.5 * smooth + 0.5 * smooth.mean(axis=(0, 1))
    assert np.allclose(module.variance.permute(1, 2, 0), variance, rtol=1e-3)

    logs = np.log((white**2 / variance).mean(axis=3) + 1e-6)
    assert module.centre.item() == pytest.approx(logs.mean(), abs=1e-4)
    assert module.spread.item() == pytest.approx(logs.std(ddof=1), rel=1e-3)


@pytest.mark.parametrize(("room", "runs"), [(4 * 3 * 40 * 8 * 8, 1), (4 * 3 * 40 * 8 * 8 - 1, 3)])
def test_statistics_run_the_student_once_where_residuals_fit_in_memory(teacher, images, monkeypatch, room, runs):
    """3 images of 40 x 8 x 8 values; the result is the same to the bit."""
    ((_, inputs, targets),) = teacher.features(images[64], [3])
    modules = [Module(student_stage(LITE0, 3, seed=1), size=64, level=3, channels=40, weight=1.0) for _ in range(2)]
    fit_statistics(modules[0], inputs, targets)
    calls = []
    modules[1].student.register_forward_hook(lambda *_: calls.append(1))
    monkeypatch.setattr("blemish.method.statistics.RAM_FOR_RESIDUALS", room)
    fit_statistics(modules[1], inputs, targets)
    assert len(calls) == runs
    for (name, one), other in zip(modules[0].named_buffers(), modules[1].buffers(), strict=True):
        assert torch.equal(one, other), name


def test_whitened_scores_of_the_images_of_the_statistics_are_standardised(teacher, images):
    ((_, inputs, targets),) = teacher.features(images[96], [2])
    module = Module(student_stage(LITE0, 2, seed=1), size=96, level=2, channels=24, weight=1.0)
    fit_statistics(module, inputs, targets)
    with torch.no_grad():
        found = module_score(module, targets, module.student(inputs), score="whitened")
    assert found.mean().item() == pytest.approx(0, abs=1e-4)
    assert found.std().item() == pytest.approx(1, abs=1e-4)


def test_paper_score_is_the_plain_mean_of_the_papers_maps(teacher, images):
    modules = [
        made_module(64, 2, weight=0.25, channels=24),
        made_module(64, 3, weight=0.25, channels=40),
        made_module(96, 3, weight=0.5, channels=40),
    ]
    with torch.no_grad():
        found = score_maps(teacher, modules, images, size=64, score="paper")
        expected = torch.zeros(3, 64, 64)
        for module in modules:
            ((_, previous, feature),) = teacher.features(images[module.size], [module.level])
            expected += module.weight * resample(0.25 * residual(feature, module.student(previous)).square().sum(1), 64)
    assert torch.allclose(found, expected, atol=1e-6)
    assert 0 <= found.min() <= found.max() <= 1


def test_whitened_score_is_the_standardised_logarithm(teacher, images):
    module = made_module(64, 3, weight=1.0, channels=40)
    with torch.no_grad():
        ((_, previous, feature),) = teacher.features(images[64], [3])
        distance = whitened_map(
            whiten(scaled_residual(feature, module.student(previous)), module.mean, module.whitener), module.variance
        )
        found = score_maps(teacher, [module], images, size=8, score="whitened")
    assert torch.allclose(found, (torch.log(distance + 1e-6) - 0.3) / 2.0, atol=1e-5)


NINE = [(size, level, channels) for size in (64, 96, 128) for level, channels in ((2, 24), (3, 40), (4, 112))]


@pytest.mark.parametrize("score", ["paper", "whitened"])
def test_kept_modules_equal_the_full_model_with_other_weights_at_zero(teacher, images, score):
    """Bit for bit, whichever modules are kept: the kept weights stay as they are, they are not made to sum to 1."""
    random = torch.Generator().manual_seed(3)
    images = {**images, 128: torch.randint(0, 256, (3, 3, 128, 128), dtype=torch.uint8, generator=random)}
    modules = [made_module(size, level, weight=0.0, channels=channels) for size, level, channels in NINE]
    for kept in ((0,), (8,), (1, 3, 5, 8), (2, 4, 6, 7), (0, 1, 2, 3, 4, 5, 6, 7)):
        for index, module in enumerate(modules):
            module.weight = (index + 1) / 17 if index in kept else 0.0
        with torch.no_grad():
            full = score_maps(teacher, modules, images, size=64, score=score)
            pruned = score_maps(teacher, [modules[index] for index in kept], images, size=64, score=score)
        assert full.numpy().tobytes() == pruned.numpy().tobytes()


def test_module_maps_come_in_the_order_of_the_modules(teacher, images):
    names = [(96, 3, 40), (64, 2, 24), (96, 2, 24)]
    modules = [made_module(size, level, weight=0.0, channels=channels) for size, level, channels in names]
    with torch.no_grad():
        found = module_maps(teacher, modules, images, score="whitened")
        for module, score_map in zip(modules, found, strict=True):
            ((_, previous, feature),) = teacher.features(images[module.size], [module.level])
            assert score_map.shape == (3, module.size >> module.level, module.size >> module.level)
            assert torch.equal(score_map, module_score(module, feature, module.student(previous), score="whitened"))


def test_module_maps_compute_no_stage_twice_and_none_that_no_module_needs(teacher, images):
    calls = []
    hooks = [
        stage.register_forward_hook(lambda _, __, output, level=level: calls.append((level, output.shape[2] << level)))
        for level, stage in enumerate(teacher.stages, start=1)
    ]
    modules = [made_module(size, level, weight=0.5, channels=40) for size, level in ((64, 3), (96, 2), (64, 2))]
    with torch.no_grad():
        module_maps(teacher, modules, images, score="paper")
    for hook in hooks:
        hook.remove()
    assert sorted(calls) == [(1, 64), (1, 96), (2, 64), (2, 96), (3, 64)]


def test_higher_is_more_anomalous_for_both_scores():
    """A student further from its teacher scores higher, everywhere."""
    random = torch.Generator().manual_seed(2)
    teacher = torch.randn(1, 24, 8, 8, generator=random)
    away = torch.randn(1, 24, 8, 8, generator=random)
    module = Module(torch.nn.Identity(), size=32, level=2, channels=24, weight=1.0)
    for score in ("paper", "whitened"):
        near, far = (module_score(module, teacher, teacher + step * away, score=score) for step in (0.1, 0.3))
        assert bool((far > near).all())


def test_weights_without_labels():
    modules = [made_module(64, 2, weight=0.1, channels=24), made_module(96, 4, weight=0.9, channels=112)]
    shares = [24 * 64**0.5, 112 * 96**0.5]  # channels times the root of the size
    whitened = label_free_weights(modules, score="whitened")
    assert whitened == pytest.approx([share / sum(shares) for share in shares])
    assert label_free_weights(modules, score="paper") == [0.5, 0.5]
    assert [module.weight for module in modules] == [0.1, 0.9]  # the modules keep theirs
    set_weights(modules, score="paper")
    assert [module.weight for module in modules] == [0.5, 0.5]
    set_weights(modules, score="whitened")
    assert [module.weight for module in modules] == whitened


def test_module_map_ignores_the_statistics():
    module = made_module(64, 3, weight=1.0, channels=40)
    teacher, student = torch.rand(1, 40, 8, 8), torch.rand(1, 40, 8, 8)
    assert torch.equal(module_score(module, teacher, student, score="paper"), module_map(teacher, student))
