"""The memory: what it joins, what is nearest, what it remembers, and how it is balanced with the students."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from blemish import Detector
from blemish.images.roi import Interest, read_roi
from blemish.method.beside.memory import FLOOR, SHARE, Memory, balance, farthest, fit_memory, mean_of_three
from blemish.method.pretrained import load_teacher
from blemish.method.pyramid import stack
from blemish.method.scoring import label_free_weights, module_maps, score_pyramid


@pytest.fixture(scope="module")
def teacher():
    return load_teacher("tf_efficientnet_lite0")


@pytest.fixture(scope="module")
def stripes(good_arrays):
    return stack([colour(one) for one in good_arrays], [64])[64]


def colour(image):
    return np.stack([image] * 3, axis=-1)


def test_each_value_is_averaged_with_its_neighbours_and_borders_are_repeated():
    values = torch.tensor([3.0, 6.0, 0.0, 12.0])
    assert torch.allclose(mean_of_three(4) @ values, torch.tensor([4.0, 3.0, 6.0, 8.0]))


def test_levels_are_averaged_enlarged_and_of_unit_length_each():
    random = torch.Generator().manual_seed(0)
    fine, deep = torch.randn(2, 5, 8, 8, generator=random), 100 * torch.randn(2, 7, 4, 4, generator=random)
    memory = Memory(size=64, levels=(3, 4), channels=12, vectors=1, weight=0.25)
    found = memory.joined({3: fine, 4: deep})
    around = [F.avg_pool2d(F.pad(one, (1, 1, 1, 1), mode="replicate"), 3, 1) for one in (fine, deep)]
    around[1] = F.interpolate(around[1], size=(8, 8), mode="bilinear", align_corners=False)
    assert torch.allclose(found, torch.cat([F.normalize(one, dim=1) for one in around], dim=1), atol=1e-5)
    assert torch.allclose(found[:, 5:].norm(dim=1), torch.ones(2, 8, 8), atol=1e-5)
    assert (memory.name, memory.level) == ("64/m3+4", 4)


def test_the_score_is_the_logarithm_of_the_distance_to_the_nearest_vector():
    random = torch.Generator().manual_seed(1)
    memory = Memory(size=32, levels=(3,), channels=6, vectors=9, weight=0.25)
    memory.vectors.copy_(torch.randn(9, 6, generator=random))
    memory.centre.fill_(0.4)
    memory.spread.fill_(2.0)
    joined = torch.randn(2, 6, 4, 4, generator=random)
    joined[1, :, 2, 3] = memory.vectors[5]
    found = memory(joined).numpy()
    for image, y, x in np.ndindex(2, 4, 4):
        nearest = min(float((joined[image, :, y, x] - vector).norm()) for vector in memory.vectors)
        assert found[image, y, x] == pytest.approx((np.log(nearest**2 + FLOOR) / 2 - 0.4) / 2, abs=1e-3)
    assert found[1, 2, 3] == pytest.approx((np.log(FLOOR) / 2 - 0.4) / 2, abs=1e-3)  # what it remembers


def test_the_farthest_are_chosen_one_after_the_other():
    rows = torch.tensor([[0.0], [1.0], [4.0], [10.0], [4.1]])
    assert farthest(rows, 3).flatten().tolist() == [4.0, 10.0, 0.0]  # mean 3.82
    assert farthest(rows, 4).flatten().tolist() == [4.0, 10.0, 0.0, 1.0]
    assert farthest(rows, 9).equal(rows)


def test_what_it_remembers_is_near_and_what_it_has_not_met_is_far(teacher, stripes):
    memory = fit_memory(teacher, stripes[:8], levels=[2, 3, 4], seed=0)
    assert (memory.levels, memory.weight, len(memory.vectors)) == ((3, 4), SHARE, 8 * 8 * 8)  # fewer than 1,000
    unseen = stripes[8:].clone()
    unseen[0, :, 24:40, 24:40] = 250
    with torch.inference_mode():
        known, strange = (
            module_maps(teacher, [memory], {64: some}, score="memory")[0] for some in (stripes[:8], unseen)
        )
    assert known.max() < np.log(FLOOR) / 2 + 0.01  # no distance but rounding
    assert strange[0, 3:5, 3:5].min() > strange[1:].max()


def test_the_same_seed_remembers_the_same_and_what_does_not_count_is_not_remembered(teacher, stripes, monkeypatch):
    monkeypatch.setattr("blemish.method.beside.memory.SAMPLE", 40)
    monkeypatch.setattr("blemish.method.beside.memory.VECTORS", 10)
    one, same, other = (fit_memory(teacher, stripes, levels=[3], seed=seed).vectors for seed in (0, 0, 1))
    assert one.equal(same)
    assert one.shape == other.shape == (10, 40)
    assert not one.equal(other)
    inside = np.zeros((64, 64), bool)
    inside[:8, :8] = True  # one position of the 8 x 8
    roi = read_roi(Interest(roi=inside), side=64)
    assert len(fit_memory(teacher, stripes, levels=[3], seed=0, roi=roi).vectors) == min(10, len(stripes))


@pytest.mark.parametrize("weight", [0.25, 0.1])
def test_balanced_a_memory_spreads_by_its_weight(weight):
    random = np.random.default_rng(0)
    memory = Memory(size=64, levels=(3,), channels=1, vectors=1, weight=weight)
    students, own = random.normal(3, 2, (5, 8, 8)), random.normal(-1, 0.1, (5, 8, 8))

    def maps_of(modules):
        if modules != [memory]:
            return ((1 - weight) * students).astype(np.float32)
        return (weight * (own - float(memory.centre)) / float(memory.spread)).astype(np.float32)

    memory.centre.fill_(7)
    memory.spread.fill_(5)
    balance([torch.nn.Identity(), memory], maps_of)
    found = maps_of([memory])
    assert found.mean() == pytest.approx(0, abs=1e-5)
    assert found.std() / ((1 - weight) * students).std() == pytest.approx(weight / (1 - weight), rel=1e-3)


def test_only_pixels_that_count_balance_it():
    memory = Memory(size=64, levels=(3,), channels=1, vectors=1, weight=0.25)
    inside = np.zeros((4, 4), bool)
    inside[0] = True
    students, own = np.zeros((1, 4, 4), np.float32), np.zeros((1, 4, 4), np.float32)
    students[0, 0], own[0, 0], own[0, 1:], students[0, 1:] = [1, -1, 1, -1], [2, 4, 2, 4], 1000, 7
    balance([memory], lambda modules: own if modules else students, inside=inside)
    assert float(memory.centre) == pytest.approx(3 / 0.25)
    assert float(memory.spread) == pytest.approx(3)  # own deviation 1, wanted a third of 1


def test_without_labels_a_memory_has_its_share_and_students_keep_their_proportions(detector):
    students = [one for one in detector.modules_ if not isinstance(one, Memory)]
    memory = Memory(size=128, levels=(3,), channels=1, vectors=1, weight=0.0)
    alone, together = (label_free_weights(some, score="memory") for some in (students, [*students, memory]))
    assert together[-1] == SHARE == 0.25
    assert together[:-1] == pytest.approx([0.75 * one for one in alone])
    assert label_free_weights([memory], score="memory") == [1.0]


def test_beside_the_same_students_the_map_is_the_weighted_sum(teacher, good_arrays, short):
    settings = {"sizes": (64,), "levels": (3,), "seed": 0, "tiles": None}
    learnt, held_out = good_arrays[:8], good_arrays[8:]
    plain, joint = (
        Detector(score=score, **settings).fit(learnt, held_out=held_out) for score in ("whitened", "memory")
    )
    (student, memory), (alone,) = joint.modules_, plain.modules_
    assert all(one.equal(other) for one, other in zip(student.parameters(), alone.parameters(), strict=True))
    assert [(one.name, one.weight) for one in joint.header_.modules] == [("64/3", 0.75), ("64/m3", 0.25)]
    (whole,), (part,) = (
        score_pyramid(teacher, modules, stack([colour(good_arrays[9])], [64]), size=64, score="memory")
        for modules in ([student, memory], [memory])
    )
    (students,) = score_pyramid(
        teacher, plain.modules_, stack([colour(good_arrays[9])], [64]), size=64, score="whitened"
    )
    assert whole == pytest.approx(0.75 * students + part, abs=1e-5)
    assert part.std() > 0.01
