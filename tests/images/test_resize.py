"""Resizing, against a slow version."""

import numpy as np

from blemish.images.resize import resize, resize_map, resize_mask

RNG = np.random.default_rng(3)


def slow_bilinear(line, size):
    """Resample one line by the textbook: a triangle as wide as the larger of a source and a target pixel."""
    scale = len(line) / size
    width = max(scale, 1.0)
    centres = np.arange(len(line)) + 0.5
    result = []
    for target in range(size):
        weights = np.clip(1 - np.abs(centres - (target + 0.5) * scale) / width, 0, None)
        result.append((weights * line).sum() / weights.sum())
    return np.array(result)


def test_resize_squashes_each_side_on_its_own():
    wide = RNG.integers(0, 256, (40, 120, 3), dtype=np.uint8)
    small = resize(wide, 32)
    assert small.shape == (32, 32, 3)
    assert small.dtype == np.uint8
    across = np.apply_along_axis(slow_bilinear, 1, wide.astype(float), 32)
    expected = np.apply_along_axis(slow_bilinear, 0, across, 32)
    assert np.abs(small - expected).max() <= 1.001  # each of two passes rounds by half a level
    marks = np.zeros((64, 256, 3), np.uint8)
    marks[32:48, 64:128] = 255  # a quarter of each side
    rows, columns = np.nonzero(resize(marks, 32)[..., 0] > 127)
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (16, 24, 8, 16)


def test_resize_map_stretches_back():
    values = RNG.random((32, 32), dtype=np.float32)
    large = resize_map(values, 40, 120)
    assert large.shape == (40, 120)
    assert large.dtype == np.float32
    across = np.apply_along_axis(slow_bilinear, 1, values.astype(float), 120)
    assert np.abs(large - np.apply_along_axis(slow_bilinear, 0, across, 40)).max() < 1e-6
    assert np.array_equal(resize_map(values, 32, 32), values)


def test_resize_mask_takes_the_nearest():
    mask = np.array([[True, False], [False, False]])
    assert np.array_equal(resize_mask(mask, 4, 6), np.kron(mask, np.ones((2, 3))).astype(bool))
    lines = RNG.random((9, 15)) < 0.5
    assert np.array_equal(resize_mask(lines, 3, 5), lines[1::3, 1::3])
    assert resize_mask(mask, 4, 6).dtype == np.bool_
