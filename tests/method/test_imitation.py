"""The paper's formulas against closed forms and a slow version written with loops."""

import math

import pytest
import torch

from blemish.method.imitation import combine, imitation_loss, module_map, resample, residual, squared_distance


def slow_squared_distance(teacher, student):
    """Equations (1), (2) and (6) with plain Python numbers."""
    images, channels, height, width = teacher.shape
    result = torch.zeros(images, height, width)
    for b in range(images):
        for y in range(height):
            for x in range(width):
                t, s = teacher[b, :, y, x].tolist(), student[b, :, y, x].tolist()
                t_length, s_length = math.hypot(*t), math.hypot(*s)
                result[b, y, x] = sum((t[c] / t_length - s[c] / s_length) ** 2 for c in range(channels))
    return result


@pytest.fixture
def pair():
    random = torch.Generator().manual_seed(3)
    return torch.randn(2, 5, 3, 4, generator=random), torch.randn(2, 5, 3, 4, generator=random)


def test_distance_equals_the_slow_version(pair):
    assert torch.allclose(squared_distance(*pair), slow_squared_distance(*pair), atol=1e-6)


def test_distance_of_known_vectors():
    teacher = torch.tensor([1.0, 0.0])[None, :, None, None]
    for student, expected in (([3.0, 0.0], 0.0), ([0.0, 0.1], 2.0), ([-7.0, 0.0], 4.0), ([1.0, 1.0], 2 - math.sqrt(2))):
        found = squared_distance(teacher, torch.tensor(student)[None, :, None, None])
        assert found.item() == pytest.approx(expected, abs=1e-6)


def test_distance_ignores_the_length_of_the_vectors(pair):
    teacher, student = pair
    assert torch.allclose(squared_distance(5 * teacher, 0.01 * student), squared_distance(teacher, student), atol=1e-6)


def test_a_zero_vector_gives_a_finite_distance_and_gradient():
    student = torch.zeros(1, 3, 1, 1, requires_grad=True)
    loss = imitation_loss(torch.ones(1, 3, 1, 1), student)
    loss.backward()
    assert loss.item() == pytest.approx(1.0)
    assert bool(student.grad.isfinite().all())


def test_loss_is_the_mean_over_positions_and_images(pair):
    assert imitation_loss(*pair).item() == pytest.approx(slow_squared_distance(*pair).mean().item(), abs=1e-6)


def test_positions_that_do_not_count_are_left_out_of_the_loss(pair):
    valid = torch.tensor([[[1.0, 0, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0]]])
    expected = slow_squared_distance(*pair)[:, valid[0] == 1].mean().item()
    assert imitation_loss(*pair, valid=valid).item() == pytest.approx(expected, abs=1e-6)
    assert imitation_loss(*pair, valid=torch.ones(1, 3, 4)).item() == pytest.approx(imitation_loss(*pair).item())


def test_loss_and_score_come_from_one_distance(pair):
    """Higher is more anomalous: the map is a quarter of the distance that training makes small."""
    assert torch.equal(module_map(*pair), 0.25 * residual(*pair).square().sum(dim=1))
    assert module_map(*pair).mean().item() == pytest.approx(0.25 * imitation_loss(*pair).item())


def test_map_reaches_both_ends_of_its_range(pair):
    teacher, _ = pair
    assert torch.allclose(module_map(teacher, 2 * teacher), torch.zeros(2, 3, 4), atol=1e-6)
    assert torch.allclose(module_map(teacher, -teacher), torch.ones(2, 3, 4))


def test_bfloat16_features_are_compared_in_float32(pair):
    teacher, student = (feature.bfloat16() for feature in pair)
    assert squared_distance(teacher, student).dtype == torch.float32


def test_resample_is_bilinear():
    """Pixel centres: 2 -> 4 puts new pixels at a quarter and three quarters between the old ones."""
    row = resample(torch.tensor([[[0.0, 4.0], [0.0, 4.0]]]), 4)[0, 0]
    assert row.tolist() == [0.0, 1.0, 3.0, 4.0]


def test_equal_weights_give_the_mean_of_the_resampled_maps():
    maps = [torch.full((1, 2, 2), 0.3), torch.full((1, 4, 4), 0.9)]
    assert torch.allclose(combine(maps, [0.5, 0.5], size=8), torch.full((1, 8, 8), 0.6))


def test_a_weight_of_one_gives_that_module_alone(pair):
    maps = [module_map(*pair), module_map(*reversed(pair)) * 0.5]
    assert torch.equal(combine(maps, [1.0, 0.0], size=6), resample(maps[0], 6))


def test_combine_refuses_another_number_of_weights(pair):
    with pytest.raises(ValueError, match="zip"):
        combine([module_map(*pair)], [0.5, 0.5], size=4)
