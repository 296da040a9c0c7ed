"""Chained students and one group for all sizes, against loops written out by hand."""

import dataclasses

import pytest
import timm
import torch
from torch import nn

from blemish.errors import InputError
from blemish.experiments.store.variants import chained_features, chained_maps, train_chained, train_one_group
from blemish.method.learning.fitting import fit_modules, module_seed
from blemish.method.learning.training import RECIPES
from blemish.method.scoring import module_maps, score_maps
from blemish.method.teacher import student_stage, teacher_from_state

LITE0 = "tf_efficientnet_lite0"
PAPER, FAST = RECIPES["paper"], RECIPES["fast"]


def made_teacher(name):
    torch.manual_seed(0)
    return teacher_from_state(name, timm.create_model(name, pretrained=False).state_dict())


@pytest.fixture(scope="module")
def resnet18():
    return made_teacher("resnet18")


@pytest.fixture(scope="module")
def lite0():
    return made_teacher(LITE0)


def pictures(*sizes, count=4):
    random = torch.Generator().manual_seed(1)
    return {size: torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=random) for size in sizes}


def distance(teacher, student):
    """Equation (1) in other words: |u - v|^2 of two unit vectors is 2 - 2 cos."""
    return (2 - 2 * torch.cosine_similarity(teacher, student, dim=1)).mean()


def step_by_hand(student, loss, velocity):
    """SGD with momentum written out: v = 0.9 v + g, w = w - 0.5 v."""
    student.zero_grad()
    loss.backward()
    with torch.no_grad():
        for parameter, speed in zip(student.parameters(), velocity, strict=True):
            speed.mul_(0.9).add_(parameter.grad)
            parameter.sub_(0.5 * speed)


def assert_same_weights(found, expected, *, fresh):
    """Within 2 % of what training changed: rounding alone can turn into 0.2 % of it."""
    ours, theirs, before = (
        torch.cat([parameter.flatten() for parameter in student.parameters()]) for student in (found, expected, fresh)
    )
    assert (ours - theirs).norm() < 0.02 * (theirs - before).norm()
    assert found.state_dict().keys() == expected.state_dict().keys()
    for (name, ours), theirs in zip(found.named_buffers(), expected.buffers(), strict=True):
        assert torch.allclose(ours.float(), theirs.float(), rtol=1e-3, atol=1e-4), name


def fresh_chain(name, *, size, seed, levels):
    stages = [student_stage(name, level, seed=module_seed(seed, size, level)) for level in levels]
    # The memory layout of training: another one rounds otherwise, which two steps at rate 0.5 turn into 1 %.
    return nn.Sequential(*stages).to(memory_format=torch.channels_last)


def test_chained_steps_equal_a_plain_loop(resnet18):
    """Two steps of one network on levels 2 and 3 together: batches of 4 images in a new order each epoch."""
    images = pictures(64)
    recipe = dataclasses.replace(PAPER, epochs=2)
    trained = train_chained(resnet18, images, levels=(3, 2), recipe=recipe, seed=5)

    student = fresh_chain("resnet18", size=64, seed=5, levels=(1, 2, 3))
    random = torch.Generator().manual_seed(module_seed(5, 64, 1))
    velocity = [torch.zeros_like(parameter) for parameter in student.parameters()]
    for _ in range(2):
        x = images[64][torch.randperm(4, generator=random)] / 255
        x = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
            :, None, None
        ]
        teacher2 = resnet18.stages[1](resnet18.stages[0](x))
        student2 = student[1](student[0](x))
        loss = distance(teacher2, student2) + distance(resnet18.stages[2](teacher2), student[2](student2))
        step_by_hand(student, loss, velocity)

    assert list(trained) == [64]
    fresh = fresh_chain("resnet18", size=64, seed=5, levels=(1, 2, 3))
    assert_same_weights(trained[64], student, fresh=fresh)
    assert not trained[64].training
    assert not any(parameter.requires_grad for parameter in trained[64].parameters())


def test_the_gradient_reaches_the_stem(resnet18):
    """Also that of the deepest level alone, through the student's own stages; the teacher's stay out of it."""
    chain = fresh_chain("resnet18", size=64, seed=0, levels=(1, 2, 3))
    ((level, target, feature),) = chained_features(resnet18, chain, pictures(64)[64], [3])
    distance(target, feature).backward()
    assert level == 3
    assert chain[0][0].weight.grad.norm() > 1e-3
    assert resnet18.stages[0][0].weight.grad is None


def test_a_larger_chain_starts_from_the_smaller_one_where_the_recipe_warms(lite0):
    images = pictures(64, 96)
    for warm_steps in (0, 1, None):
        recipe = dataclasses.replace(FAST, steps=2, warm_steps=warm_steps)
        chains = train_chained(lite0, images, levels=(2,), recipe=recipe, seed=0)
        small, large = chains[64][0].state_dict(), chains[96][0].state_dict()
        assert torch.equal(small["0.weight"], large["0.weight"]) == (warm_steps == 0)
        updates = [int(weights["1.num_batches_tracked"]) for weights in (small, large)]
        assert updates == [2, 2 if warm_steps is None else 2 + warm_steps]


def test_a_chain_sees_as_many_images_as_the_deepest_levels_module(lite0, monkeypatch):
    """Of 2048 positions: 32 maps of level 3 at 64 (16 at most), 14 at 96, 8 at 128."""
    seen = []
    features = type(lite0).features
    monkeypatch.setattr(
        type(lite0), "features", lambda self, images, levels: seen.append(len(images)) or features(self, images, levels)
    )
    recipe = dataclasses.replace(FAST, steps=1, warm_steps=1)
    train_chained(lite0, pictures(64, 96, 128, count=20), levels=(2, 3), recipe=recipe, seed=0)
    assert seen == [16, 14, 8]


def test_chained_maps_are_the_quarter_of_the_squared_distance(lite0):
    chains = {size: fresh_chain(LITE0, size=size, seed=1, levels=(1, 2, 3)).eval() for size in (64, 96)}
    images = pictures(64, 96, count=9)  # more than one batch
    maps = chained_maps(lite0, chains, images, levels=(2, 3))
    assert {name: tuple(found.shape) for name, found in maps.items()} == {
        (64, 2): (9, 16, 16),
        (64, 3): (9, 8, 8),
        (96, 2): (9, 24, 24),
        (96, 3): (9, 12, 12),
    }
    assert all(0 <= found.min() < found.max() <= 1 for found in maps.values())
    with torch.no_grad():
        x = (images[96] - 127.5) / 127.5
        cosine = torch.cosine_similarity(nn.Sequential(*lite0.stages[:3])(x), chains[96](x), dim=1)
    assert torch.allclose(maps[96, 3], (1 - cosine) / 2, atol=1e-5)


def test_a_chain_of_the_teachers_own_stages_scores_zero(lite0):
    maps = chained_maps(lite0, {64: nn.Sequential(*lite0.stages)}, pictures(64), levels=(2, 4))
    assert list(maps) == [(64, 2), (64, 4)]
    assert all(found.abs().max() < 1e-6 for found in maps.values())


def test_one_groups_steps_equal_a_plain_loop(resnet18):
    """Three steps, one for each size: one epoch of one batch for each of the three modules."""
    images = pictures(64, 96, 128)
    recipe = dataclasses.replace(PAPER, epochs=1)
    modules = train_one_group(resnet18, images, levels=(3, 2), recipe=recipe, seed=5)

    assert [module.name for module in modules] == ["64/2", "64/3", "96/2", "96/3", "128/2", "128/3"]
    for position, level in enumerate((2, 3)):
        student, fresh = (fresh_chain("resnet18", size=64, seed=5, levels=(level,))[0] for _ in range(2))
        random = torch.Generator().manual_seed(module_seed(5, 64, level))
        velocity = [torch.zeros_like(parameter) for parameter in student.parameters()]
        for size in (64, 96, 128):
            order = torch.randperm(4, generator=random)
            x = images[size].contiguous(memory_format=torch.channels_last)
            ((_, inputs, targets),) = resnet18.features(x, [level])
            step_by_hand(student, distance(targets[order], student(inputs[order])), velocity)
        shared = modules[position].student
        assert modules[position + 2].student is shared
        assert modules[position + 4].student is shared
        assert_same_weights(shared, student, fresh=fresh)
        assert not shared.training


def test_one_group_takes_the_steps_of_all_modules_together(lite0):
    """With crops, and with more images at the sizes and levels whose maps are smaller."""
    recipe = dataclasses.replace(FAST, steps=3, warm_steps=2, crop=8, positions=300)
    modules = train_one_group(lite0, pictures(64, 96, 128, count=5), levels=(2,), recipe=recipe, seed=0)
    assert int(modules[0].student.state_dict()["0.bn1.num_batches_tracked"]) == 3 + 2 + 1


def test_one_group_of_one_size_is_blemishs_own_module(lite0):
    """The same crops, batches and initial weights: only sharing among sizes makes the difference."""
    images, recipe = pictures(128, count=5), dataclasses.replace(FAST, steps=4, crop=8)
    (group,) = train_one_group(lite0, images, levels=(2,), recipe=recipe, seed=3)
    (own,) = fit_modules(lite0, images, levels=(2,), recipe=recipe, seed=3)
    assert group.name == own.name
    for name, tensor in own.state_dict().items():
        assert torch.equal(group.state_dict()[name], tensor), name


def test_all_of_scoring_works_on_one_group(lite0):
    images, recipe = pictures(64, 96), dataclasses.replace(FAST, steps=2, warm_steps=1)
    modules = train_one_group(lite0, images, levels=(2, 3), recipe=recipe, seed=0)
    assert [module.weight for module in modules] == [0.25] * 4
    with torch.inference_mode():
        maps = module_maps(lite0, modules, images, score="paper")
        assert [tuple(found.shape) for found in maps] == [(4, 16, 16), (4, 8, 8), (4, 24, 24), (4, 12, 12)]
        assert all(0 <= found.min() < found.max() <= 1 for found in maps)
        for found in module_maps(lite0, modules, images, score="whitened"):
            assert found.mean().item() == pytest.approx(0, abs=1e-3)  # on the images that gave the statistics
            assert found.std().item() == pytest.approx(1, abs=1e-2)
        assert score_maps(lite0, modules, images, size=96, score="whitened").shape == (4, 96, 96)


def test_a_loss_that_is_not_finite_names_the_size_or_the_level():
    teacher = made_teacher(LITE0)
    teacher.stages[2][0].conv_pw.weight[0] = float("nan")
    images, recipe = pictures(64, 96), dataclasses.replace(PAPER, epochs=2)
    with pytest.raises(InputError, match=r"^chained students, size 64: the loss is not finite at step 1 of 2: "):
        train_chained(teacher, images, levels=(2, 3), recipe=recipe, seed=0)
    with pytest.raises(InputError, match=r"^one group, level 3: the loss is not finite at step 1 of 4: "):
        train_one_group(teacher, images, levels=(2, 3), recipe=recipe, seed=0)


def test_weights_that_a_last_step_makes_infinite_are_refused(lite0):
    recipe = dataclasses.replace(PAPER, epochs=1, learning_rate=float("inf"))
    with pytest.raises(InputError, match=r"^chained students, size 64: \S+ is not finite after step 1: "):
        train_chained(lite0, pictures(64), levels=(2,), recipe=recipe, seed=0)
