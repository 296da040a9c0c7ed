"""The training loop against a hand-written one, and the parts it is made of."""

import dataclasses
import math

import pytest
import torch

from blemish.errors import InputError
from blemish.method.imitation import imitation_loss
from blemish.method.learning import training
from blemish.method.learning.training import (
    RECIPES,
    count_steps,
    crop_margin,
    find_recipe,
    learning_rate,
    make_optimiser,
    pick,
    sample_batches,
    train_module,
)
from blemish.method.teacher import student_stage

PAPER, FAST = RECIPES["paper"], RECIPES["fast"]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def features(*, images=20, channels=(64, 64), side=8, stride=1, seed=0):
    random = torch.Generator().manual_seed(seed)
    inputs = torch.rand(images, channels[0], side * stride, side * stride, generator=random)
    return inputs, torch.rand(images, channels[1], side, side, generator=random)


def test_paper_recipe_is_the_papers():
    assert dataclasses.asdict(PAPER) | {"name": "paper"} == {
        "name": "paper",
        "optimiser": "sgd",
        "learning_rate": 0.5,
        "batch_size": 16,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "epochs": 600,
        "steps": None,
        "warm_steps": None,
        "warm_divisor": None,
        "positions": None,
        "crop": None,
        "autocast": False,
    }


def test_papers_first_steps_equal_a_plain_loop():
    """SGD with momentum written out: v = 0.9 v + g, w = w - 0.5 v, on batches of 16 in a new order each epoch."""
    inputs, targets = features(images=20)
    recipe = dataclasses.replace(PAPER, epochs=3)  # batches of 16, 4, 16, 4, 16, 4
    trained = train_module(student_stage("resnet18", 2, seed=5), inputs, targets, recipe=recipe, seed=9)

    student = student_stage("resnet18", 2, seed=5)
    random = torch.Generator().manual_seed(9)
    velocity = [torch.zeros_like(parameter) for parameter in student.parameters()]
    for _ in range(3):
        order = torch.randperm(20, generator=random)
        for batch in (order[:16], order[16:]):
            student.zero_grad()
            imitation_loss(targets[batch], student(inputs[batch])).backward()
            with torch.no_grad():
                for parameter, speed in zip(student.parameters(), velocity, strict=True):
                    speed.mul_(0.9).add_(parameter.grad)
                    parameter.sub_(0.5 * speed)

    for (name, found), expected in zip(trained.state_dict().items(), student.state_dict().values(), strict=True):
        assert torch.allclose(found.float(), expected.float(), rtol=1e-3, atol=1e-4), name


def test_training_lowers_the_loss_and_freezes_the_student():
    inputs, _ = features(images=12, channels=(16, 24), side=8, stride=2)
    model = student_stage("tf_efficientnet_lite0", 2, seed=0).eval()
    with torch.no_grad():
        targets = model(inputs)
    student = student_stage("tf_efficientnet_lite0", 2, seed=1)
    with torch.no_grad():
        before = imitation_loss(targets, student.eval()(inputs)).item()
    losses = []
    recipe = dataclasses.replace(FAST, steps=60)
    train_module(
        student, inputs, targets, recipe=recipe, seed=0, report=lambda step, steps, loss, rate: losses.append(loss)
    )
    with torch.no_grad():
        after = imitation_loss(targets, student(inputs)).item()
    assert after < 0.25 * before
    assert losses[-1] < losses[0]
    assert not student.training
    assert not any(parameter.requires_grad for parameter in student.parameters())


def imitable():
    """Features f^1 and f^2 that a level 2 stage of Lite0 relates, so that a loss can fall; channels_last."""
    inputs, _ = features(images=12, channels=(16, 24), side=24, stride=2)
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        return inputs, student_stage("tf_efficientnet_lite0", 2, seed=0).eval()(inputs)


def losses_of(inputs, targets, *, device="cpu", memory_format=torch.channels_last):
    """The losses that 40 steps on crops report, and the student."""
    losses, recipe = [], dataclasses.replace(FAST, steps=40, crop=8)
    student = student_stage("tf_efficientnet_lite0", 2, seed=1).to(device).to(memory_format=memory_format)
    train_module(
        student, inputs, targets, recipe=recipe, seed=0, report=lambda step, steps, loss, rate: losses.append(loss)
    )
    return losses, student


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("autocast", [False, True])
def test_every_device_and_bfloat16_learn_what_float32_on_a_cpu_does(monkeypatch, device, autocast):
    """On a CPU a GPU's path is taken as well: features kept in bfloat16, the student under autocast."""
    inputs, targets = imitable()
    expected, _ = losses_of(inputs, targets)
    monkeypatch.setattr(training, "autocasts", lambda recipe, device: autocast)
    seen, normalise = set(), training.imitation_loss

    def watched(target, feature, *, valid):
        seen.add((feature.device.type, feature.dtype, target.device.type))
        return normalise(target, feature, valid=valid)

    monkeypatch.setattr(training, "imitation_loss", watched)
    kind = torch.bfloat16 if autocast else torch.float32
    losses, student = losses_of(inputs.to(kind), targets.to(kind), device=device)
    assert seen == {(device, kind, device)}
    assert {parameter.dtype for parameter in student.parameters()} == {torch.float32}
    assert losses == pytest.approx(expected, rel=0.05 if autocast else 1e-3)
    assert (losses != expected) == (autocast or device != "cpu")
    assert losses[-1] < losses[0]


def test_features_kept_in_float16_train_nearly_the_same_student():
    inputs, targets = imitable()
    losses, student = losses_of(inputs.half(), targets.half())
    expected, other = losses_of(inputs, targets)
    assert losses == pytest.approx(expected, rel=1e-2)
    assert losses != expected
    with torch.no_grad():
        apart = imitation_loss(other(inputs), student(inputs))
        assert 0 < apart < 0.1 * imitation_loss(targets, other(inputs))


def test_the_layout_of_features_changes_rounding_only():
    inputs, targets = imitable()
    losses, _ = losses_of(inputs.contiguous(), targets.contiguous())
    assert losses == pytest.approx(losses_of(inputs, targets)[0], rel=1e-3)


@pytest.mark.parametrize("crop", [8, None])
def test_batches_of_channels_last_features_are_channels_last(crop):
    """And hold what batches of plain features do: a batch is one copy of what it shows."""
    inputs, targets = features(images=5, channels=(3, 4), side=24, stride=2)
    last = [one.contiguous(memory_format=torch.channels_last) for one in (inputs, targets)]
    found, expected = (
        pick(*pair, torch.tensor([4, 0, 2]), crop=crop, margin=2, random=torch.Generator().manual_seed(0))
        for pair in (last, (inputs, targets))
    )
    assert found[0].shape == (3, 3, *(2 * [24 if crop else 48]))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)
    assert all(one.is_contiguous(memory_format=torch.channels_last) for one in found[:2])


def test_same_seed_same_weights():
    inputs, targets = features(channels=(16, 24), side=32, stride=2)
    recipe = dataclasses.replace(FAST, steps=4, crop=8)
    runs = [
        train_module(student_stage("tf_efficientnet_lite0", 2, seed=1), inputs, targets, recipe=recipe, seed=seed)
        for seed in (3, 3, 4)
    ]
    one, two, other = (run.state_dict()["0.conv_pw.weight"] for run in runs)
    assert torch.equal(one, two)
    assert not torch.equal(one, other)


def test_a_loss_that_is_not_finite_stops_at_that_step():
    inputs, targets = features(images=4)
    targets[2, 0, 0, 0] = float("nan")
    with pytest.raises(InputError, match="the loss is not finite at step 1 of 600"):
        train_module(student_stage("resnet18", 2, seed=0), inputs, targets, recipe=PAPER, seed=0)


def test_every_step_is_reported():
    inputs, targets = features(images=4, channels=(16, 24), stride=2)
    seen = []
    recipe = dataclasses.replace(FAST, steps=3)
    train_module(
        student_stage("tf_efficientnet_lite0", 2, seed=0),
        inputs,
        targets,
        recipe=recipe,
        seed=0,
        report=lambda step, steps, loss, rate: seen.append((step, steps, loss > 0, rate > 0)),
    )
    assert seen == [(1, 3, True, True), (2, 3, True, True), (3, 3, True, True)]


def test_steps_are_epochs_times_batches_or_as_the_recipe_says():
    assert [count_steps(PAPER, 209, warm=warm) for warm in (0, 1, 2)] == [600 * 14] * 3
    assert [count_steps(FAST, 209, warm=warm) for warm in (0, 1, 2, 3, 10)] == [400, 200, 100, 50, 1]
    assert count_steps(FAST, 20_000, warm=0) == 400


def test_learning_rate_is_constant_for_the_paper_and_one_cycle_for_fast():
    assert {learning_rate(PAPER, step, 100, warm=0) for step in range(1, 101)} == {0.5}
    rates = [learning_rate(FAST, step, 100, warm=0) for step in range(1, 101)]
    assert rates[0] == pytest.approx(FAST.learning_rate / 10)
    assert max(rates) == rates[9] == FAST.learning_rate
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[54] == pytest.approx(FAST.learning_rate * 0.5 * (1 + math.cos(math.pi * 45 / 91)))
    assert 0 < rates[-1] < 0.01 * FAST.learning_rate
    assert learning_rate(FAST, 10, 100, warm=1) == pytest.approx(FAST.learning_rate / 3)
    gentle = dataclasses.replace(FAST, warm_divisor=8.0)
    assert learning_rate(gentle, 10, 100, warm=1) == pytest.approx(FAST.learning_rate / 8)
    assert learning_rate(gentle, 10, 100, warm=0) == FAST.learning_rate


@pytest.mark.parametrize(("recipe", "kind", "decay"), [(PAPER, torch.optim.SGD, 0.0), (FAST, torch.optim.AdamW, 0.01)])
def test_the_optimiser_is_all_in_the_recipe(recipe, kind, decay):
    student = torch.nn.Linear(2, 2)
    (group,) = make_optimiser(recipe, student).param_groups
    assert type(make_optimiser(recipe, student)) is kind
    assert (group["lr"], group["weight_decay"], group.get("momentum")) == (recipe.learning_rate, decay, recipe.momentum)
    (group,) = make_optimiser(dataclasses.replace(recipe, weight_decay=0.25), student).param_groups
    assert group["weight_decay"] == 0.25


def test_weight_decay_changes_what_is_learnt():
    """By hand, with no gradient: AdamW multiplies a weight by 1 - rate x decay, at every step."""
    student = torch.nn.Linear(1, 1, bias=False)
    before = student.weight.item()
    optimiser = make_optimiser(dataclasses.replace(FAST, weight_decay=0.5), student)
    student.weight.grad = torch.zeros_like(student.weight)
    optimiser.step()
    assert student.weight.item() == pytest.approx(before * (1 - FAST.learning_rate * 0.5))


def test_adamws_first_steps_are_by_hand():
    """Three steps of one weight with gradients 0.3, -0.1, 0.2 and the betas 0.9 and 0.999 of its authors."""
    student = torch.nn.Linear(1, 1, bias=False)
    weight, mean, square = student.weight.item(), 0.0, 0.0
    optimiser = make_optimiser(FAST, student)
    for step, gradient in enumerate((0.3, -0.1, 0.2), start=1):
        student.weight.grad = torch.full_like(student.weight, gradient)
        optimiser.step()
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        weight *= 1 - FAST.learning_rate * FAST.weight_decay
        weight -= FAST.learning_rate * (mean / (1 - 0.9**step)) / (math.sqrt(square / (1 - 0.999**step)) + 1e-8)
        assert student.weight.item() == pytest.approx(weight, rel=1e-5)


def test_an_epoch_sees_every_image_once():
    batches = sample_batches(10, 4, torch.Generator().manual_seed(0))
    for _ in range(3):
        epoch = [next(batches).tolist() for _ in range(3)]
        assert [len(batch) for batch in epoch] == [4, 4, 2]
        assert sorted(index for batch in epoch for index in batch) == list(range(10))


@pytest.mark.parametrize(("level", "channels", "margin"), [(2, (16, 24), 2), (3, (24, 40), 3), (4, (40, 112), 9)])
def test_margin_is_how_far_the_padding_reaches(level, channels, margin):
    """By hand for Lite0, level 2: 3x3 with stride 2 padded on the right only, then 3x3: 1 on the left, 2 on the right;

    level 3: 5x5 with stride 2 (1 and 1), then 5x5 (2 and 2); level 4: 1 + 1 + 1 of 3x3, then 2 + 2 + 2 of 5x5.
    """
    inputs, targets = features(images=1, channels=channels, side=32, stride=2)
    assert crop_margin(student_stage("tf_efficientnet_lite0", level, seed=0), inputs, targets) == margin


def test_where_a_crop_counts_it_equals_the_whole_map():
    """Including the borders of the image, where the padding is the teacher's own."""
    student = student_stage("tf_efficientnet_lite0", 3, seed=0).eval()
    inputs, _ = features(images=3, channels=(24, 40), side=32, stride=2)
    with torch.no_grad():
        whole = student(inputs)
    margin, covered = 3, 0
    random = torch.Generator().manual_seed(1)
    for _ in range(20):
        x, y, valid = pick(inputs, whole, torch.tensor([0, 2]), crop=8, margin=margin, random=random)
        assert x.shape == (2, 24, 28, 28)
        assert y.shape == (2, 40, 14, 14)
        with torch.no_grad():
            wrong = (student(x) - y).abs().amax(dim=1) > 1e-4
        assert not bool((wrong & (valid == 1)).any())
        assert bool((wrong & (valid == 0)).any())
        covered = max(covered, int(valid.sum(dim=(1, 2)).max()))
    assert covered == 11 * 11  # a window in a corner of the image loses the margin on two sides only


def test_windows_reach_every_position_of_the_map():
    inputs = torch.arange(24.0).repeat(1, 1, 24, 1)  # each value names its column
    random = torch.Generator().manual_seed(0)
    seen = torch.zeros(24)
    for _ in range(300):
        x, _, valid = pick(inputs, inputs, torch.tensor([0]), crop=6, margin=2, random=random)
        seen[x[0, 0, 0][valid[0].amax(dim=0) == 1].long()] += 1
    assert bool((seen > 20).all())


def test_small_maps_are_taken_whole():
    inputs, targets = features(images=4, side=8, stride=2)
    x, y, valid = pick(inputs, targets, torch.tensor([3, 1]), crop=6, margin=1, random=torch.Generator())
    assert torch.equal(x, inputs[[3, 1]])
    assert torch.equal(y, targets[[3, 1]])
    assert valid.shape == (1, 8, 8)
    assert bool((valid == 1).all())


def test_an_unknown_recipe_names_the_known_ones():
    with pytest.raises(InputError, match="recipe: slow is not allowed, expected paper, fast or quick"):
        find_recipe("slow")
