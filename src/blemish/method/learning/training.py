"""Trains one module: a student stage that learns to imitate the teacher's stage on good images.

A module is a function of plain arguments (features in, student out), so modules can be trained in any order, alone,
and in any process.
"""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from blemish.checks import word
from blemish.errors import InputError
from blemish.method.imitation import imitation_loss
from blemish.method.learning.progress import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides a training run but the seed; a field that is None is not used."""

    name: str
    optimiser: str
    learning_rate: float
    batch_size: int
    momentum: float | None = None
    weight_decay: float = 0.0
    epochs: int | None = None
    steps: int | None = None  # instead of epochs: the cost is then the same for any number of images
    warm_steps: int | None = None  # of a module that starts from that of the smallest size; of each larger size half
    warm_divisor: float | None = None  # what the peak learning rate of such a module is divided by
    positions: int | None = None  # at most so many positions of the target in a batch, but 4 images at least
    crop: int | None = None  # side of random crops, in positions of the target feature; None: whole maps
    autocast: bool = False  # bfloat16 on a GPU; on the CPUs tried, float32 was as fast (docs/log.md)


RECIPES = {
    "paper": Recipe(name="paper", optimiser="sgd", learning_rate=0.5, batch_size=16, momentum=0.9, epochs=600),
    "fast": Recipe(
        name="fast",
        optimiser="adamw",
        learning_rate=2e-2,
        batch_size=16,
        weight_decay=0.01,
        steps=400,
        warm_steps=200,
        warm_divisor=3,
        positions=2048,
        crop=16,
        autocast=True,
    ),
}
RECIPES["quick"] = replace(RECIPES["fast"], name="quick", steps=200, warm_steps=100)
PROBE = 32  # side of the window that `crop_margin` tries out

Losses = Iterator[tuple[Tensor, int]]  # the loss of a batch, and how many images are in it


def find_recipe(name: str) -> Recipe:
    """Return the recipe of that name; InputError names the known ones."""
    return RECIPES[word("recipe", name, RECIPES)]


def train_module(
    student: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    *,
    recipe: Recipe,
    seed: int,
    warm: int = 0,
    report: Step | None = None,
) -> nn.Module:
    """Train a student, where it is, to map the teacher's feature f^{l-1} to f^l, and return it frozen.

    inputs: (N, C', h', w') features f^{l-1} of N good images; targets: (N, C, h, w) features f^l, with h' a multiple
    of h; both float32, or what they were kept in; channels_last saves copies. warm: on so many smaller sizes the
    student has learnt already. Raises InputError, naming the step, if the loss is not finite. Source: equations (1) and
    (3); no gradient crosses modules.
    """
    random = torch.Generator().manual_seed(seed)
    losses = batch_losses(student, [(inputs, targets)], recipe=recipe, random=random)
    steps = count_steps(recipe, len(inputs), warm=warm)
    return descend(student, losses, recipe=recipe, steps=steps, warm=warm, report=report)


def descend(
    student: nn.Module, losses: Losses, *, recipe: Recipe, steps: int, warm: int, report: Step | None = None
) -> nn.Module:
    """Take the recipe's steps down the losses, each computed from the student as it then is; return it frozen.

    Raises InputError, naming the step, if a loss is not finite.
    """
    student.requires_grad_(True).train()
    optimiser = make_optimiser(recipe, student)
    started, seen, smooth = time.monotonic(), 0, 0.0
    for step in range(1, steps + 1):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(recipe, step, steps, warm=warm)
        loss, images = next(losses)
        if not math.isfinite(value := loss.item()):
            raise InputError(
                f"the loss is not finite at step {step} of {steps}: learning rate too high, or bad features"
            )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        seen += images
        smooth = value if step == 1 else 0.98 * smooth + 0.02 * value
        if report:
            report(step, steps, smooth, seen / (time.monotonic() - started))
    for name, tensor in student.state_dict().items():
        if not bool(tensor.isfinite().all()):
            raise InputError(f"{name} is not finite after step {steps}: rate too high, or features not finite")
    return student.requires_grad_(False).eval()


def batch_losses(
    student: nn.Module, features: Sequence[tuple[Tensor, Tensor]], *, recipe: Recipe, random: torch.Generator
) -> Losses:
    """Yield for ever the loss of the next batch of (inputs, targets), of one pair after the other if there are several.

    Features are those of `train_module`, the pairs those of several sizes.
    """
    device = next(student.parameters()).device.type
    margin = crop_margin(student, *features[0]) if recipe.crop else 0
    crop = recipe.crop if margin < PROBE // 2 else None
    batches = [
        sample_batches(len(x), batch_size(recipe, y.shape[-1], crop=crop, margin=margin), random) for x, y in features
    ]
    while True:
        for (inputs, targets), indices in zip(features, batches, strict=True):
            picked = next(indices)
            x, y, valid = pick(inputs, targets, picked, crop=crop, margin=margin, random=random)
            if device == "cuda":
                x, y = x.pin_memory(), y.pin_memory()
            x = x.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
            if x.dtype == torch.float16:  # how features are kept, not how students compute
                x = x.float()
            with torch.autocast(device, torch.bfloat16, enabled=autocasts(recipe, device)):
                feature = student(x)
            yield imitation_loss(y.to(device, non_blocking=True), feature, valid=valid.to(device)), len(picked)


def autocasts(recipe: Recipe, device: str) -> bool:
    """Return whether features are kept and computed in bfloat16 on that kind of device."""
    return recipe.autocast and device == "cuda"


def count_steps(recipe: Recipe, images: int, *, warm: int) -> int:
    """Return the number of optimiser steps that the recipe takes for one module; warm: as in `train_module`."""
    if recipe.epochs is not None:
        return recipe.epochs * math.ceil(images / recipe.batch_size)
    assert recipe.steps is not None, "a recipe has epochs or steps"
    if not warm or recipe.warm_steps is None:
        return recipe.steps
    return max(recipe.warm_steps >> (warm - 1), min(recipe.warm_steps, 1))


def sizes_below(size: int, sizes: Iterable[int]) -> int:
    """Return how many sizes are smaller: `warm` of a student that has learnt on each of them before."""
    return sum(other < size for other in sizes)


def batch_size(recipe: Recipe, side: int, *, crop: int | None, margin: int) -> int:
    """Return the number of images in a batch for a target feature of that side.

    Large maps need fewer images for a gradient as good, and a batch that leaves the processor's cache costs more than
    its share: on two cores 16 maps of level 4 at 256 take three times as long as 8.
    """
    if recipe.positions is None:
        return recipe.batch_size
    seen = min(side, (crop or side) + 2 * margin)
    return min(recipe.batch_size, max(4, recipe.positions // seen**2))


def make_optimiser(recipe: Recipe, student: nn.Module) -> torch.optim.Optimizer:
    """Return the recipe's optimiser; its learning rate is set anew at each step."""
    parameters, rate, decay = student.parameters(), recipe.learning_rate, recipe.weight_decay
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=recipe.momentum or 0.0, weight_decay=decay)
    return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay, fused=True)


def learning_rate(recipe: Recipe, step: int, steps: int, *, warm: int) -> float:
    """Return the learning rate of a step (1 ... steps): constant for SGD, else one cycle.

    One cycle: up linearly over the first tenth, then down along a cosine to nearly zero. A warm start gets a part
    of the peak, enough to adapt and too little to forget.
    """
    if recipe.optimiser == "sgd":
        return recipe.learning_rate
    peak = recipe.learning_rate / (recipe.warm_divisor or 1) if warm else recipe.learning_rate
    rise = max(steps // 10, 1)
    if step <= rise:
        return peak * step / rise
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rise) / (steps - rise + 1)))


def sample_batches(count: int, batch_size: int, random: torch.Generator) -> Iterator[Tensor]:
    """Yield the indices of batches for ever: a new order each epoch, the last batch of an epoch may be smaller."""
    while True:
        yield from torch.randperm(count, generator=random).split(batch_size)


def pick(
    inputs: Tensor, targets: Tensor, indices: Tensor, *, crop: int | None, margin: int, random: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the features of a batch and which positions count in the loss: (B or 1, h, w), 1 or 0.

    With a crop, each image gives a random window of crop + 2 margin positions. A crop's border is padded where the
    teacher saw the image go on, so positions within the margin of it do not count, unless the image ends there too.
    Maps that are hardly larger than the window are taken whole.
    """
    side = targets.shape[-1]
    window = (crop or side) + 2 * margin
    if window >= side:
        return inputs[indices], targets[indices], torch.ones(1, side, side)
    stride = inputs.shape[-1] // side
    # Windows that would stick out are moved inside: border positions count as often as inner ones.
    corners = torch.randint(-margin, side - window + margin + 1, (len(indices), 2), generator=random)
    corners = corners.clamp(0, side - window)
    position = torch.arange(window)
    from_start = (position >= margin) | (corners[..., None] == 0)
    from_end = (position < window - margin) | (corners[..., None] == side - window)
    inside = from_start & from_end
    x, y = [], []
    for index, (top, left) in zip(indices.tolist(), corners.tolist(), strict=True):
        y.append(_cut(targets, index, top, left, window))
        x.append(_cut(inputs, index, top * stride, left * stride, window * stride))
    # Of windows that are channels_last cat makes a batch that is, so each is copied once; stack would not.
    return torch.cat(x), torch.cat(y), (inside[:, 0, :, None] & inside[:, 1, None, :]).float()


def _cut(features: Tensor, index: int, top: int, left: int, side: int) -> Tensor:
    return features[index : index + 1, :, top : top + side, left : left + side]


def crop_margin(student: nn.Module, inputs: Tensor, targets: Tensor) -> int:
    """Return how many positions from a crop's border see the padding there, by trying it out; PROBE / 2 stands for all.

    The features give the numbers of channels and the stride.
    """
    stride = inputs.shape[-1] // targets.shape[-1]
    random = torch.Generator().manual_seed(0)
    device = next(student.parameters()).device
    whole = torch.rand((1, inputs.shape[1], 3 * PROBE * stride, 3 * PROBE * stride), generator=random).to(device)
    part = whole[:, :, PROBE * stride : 2 * PROBE * stride, PROBE * stride : 2 * PROBE * stride]
    student.eval()
    with torch.inference_mode():
        difference = student(whole)[:, :, PROBE : 2 * PROBE, PROBE : 2 * PROBE] - student(part)
    student.train()
    # The middle row is far from the upper and lower border, so it shows the effect of the left and right ones alone.
    row = difference[0, :, PROBE // 2].abs().amax(dim=0)
    wrong = (row > 1e-4 * difference.abs().max()).nonzero()[:, 0].tolist()
    return max((min(position + 1, PROBE - position) for position in wrong), default=0)
