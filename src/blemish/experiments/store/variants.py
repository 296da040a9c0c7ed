"""Two other ways to train the students, to compare with: chained students, and one group for all sizes.

Teacher, recipe, initial weights and number of updates are those of blemish's own modules (`fitting.fit_modules`), so
that only the method differs.
"""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from blemish.errors import InputError
from blemish.method.imitation import imitation_loss, module_map
from blemish.method.learning.features import cached_features
from blemish.method.learning.fitting import module_seed
from blemish.method.learning.training import (
    Losses,
    Recipe,
    autocasts,
    batch_losses,
    batch_size,
    count_steps,
    descend,
    sample_batches,
)
from blemish.method.modules import Module, cell_of
from blemish.method.pyramid import Pyramid
from blemish.method.scoring import one_by_one
from blemish.method.statistics import fit_statistics
from blemish.method.teacher import Teacher, student_stage


def train_chained(
    teacher: Teacher, pyramid: Pyramid, *, levels: Sequence[int], recipe: Recipe, seed: int
) -> dict[int, nn.Sequential]:
    """Train one whole student network for each size: {size: stages S^1 ... S^max(levels)}, frozen.

    f_s^l = S^l(f_s^{l-1}) from the image on, the stem S^1 included; the loss is the sum of `imitation_loss` over the
    levels. pyramid: good images. Source: STFPM, arXiv 2103.04257.

    Budget: a network takes the steps that one module of its size takes, and each step is a step of every level, so a
    stage is updated as often as the module of its size and level. Where the recipe has warm steps, a network starts
    from that of the next smaller size, as the modules do. A batch has as many images as the deepest level's module
    gets, of whole maps: at a crop's border the stem's padding would be wrong. Raises InputError naming the size whose
    loss is not finite.
    """
    chains: dict[int, nn.Sequential] = {}
    for size in sorted(pyramid):
        seeds = [module_seed(seed, size, level) for level in range(1, max(levels) + 1)]
        name = teacher.architecture.name
        chain = nn.Sequential(*(student_stage(name, level, seed=own) for level, own in enumerate(seeds, start=1)))
        chain.to(teacher.mean.device).to(memory_format=torch.channels_last)
        warm = 0 if recipe.warm_steps is None else len(chains)
        if warm:
            chain.load_state_dict(chains[max(chains)].state_dict())
        steps = count_steps(recipe, len(pyramid[size]), warm=warm)
        random = torch.Generator().manual_seed(seeds[0])
        losses = _chained_losses(teacher, chain, pyramid[size], levels=levels, recipe=recipe, random=random)
        try:
            descend(chain, losses, recipe=recipe, steps=steps, warm=warm)
        except InputError as error:
            raise InputError(f"chained students, size {size}: {error}") from error
        chains[size] = chain
    return chains


def chained_features(
    teacher: Teacher, chain: nn.Sequential, images: Tensor, levels: Sequence[int]
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield (level, f_t^level, f_s^level) for each of the levels, ascending: the teacher's feature and the chain's.

    Images are (B, 3, size, size) with values 0 ... 255; both features are (B, C_l, size / 2^l, size / 2^l).
    """
    done, feature = 0, teacher.normalise(images)
    for level, _, target in teacher.features(images, levels):
        feature = chain[done:level](feature)
        done = level
        yield level, target, feature


def chained_maps(
    teacher: Teacher, chains: Mapping[int, nn.Sequential], images: Pyramid, *, levels: Sequence[int]
) -> dict[tuple[int, int], Tensor]:
    """Return the paper's score maps of chained students, {(size, level): (N, h, w)}, in [0, 1], on the CPU.

    images: any number of them at the sizes of the chains. Source: equation (5), as `imitation.module_map`.
    """
    maps: dict[tuple[int, int], list[Tensor]] = {}
    with torch.inference_mode():
        for one in one_by_one(teacher, {size: images[size] for size in sorted(chains)}):
            for size, image in one.items():
                given = image.contiguous(memory_format=torch.channels_last)
                for level, target, feature in chained_features(teacher, chains[size], given, levels):
                    maps.setdefault((size, level), []).append(module_map(target, feature).cpu())
    return {name: torch.cat(parts) for name, parts in maps.items()}


def train_one_group(
    teacher: Teacher, pyramid: Pyramid, *, levels: Sequence[int], recipe: Recipe, seed: int
) -> list[Module]:
    """Train one group of students on all sizes at once; the modules of a level share one student. Smaller sizes first.

    As in `fitting.fit_modules`, a level has its own loss and sees the teacher's previous feature, and the modules come
    with equal weights and their own statistics on the good images of the pyramid, so that all of `scoring` works on
    them. Each step takes a batch of one size, sizes in turn, from the smallest. The paper (arXiv 2212.05786) calls
    this harmful: the students learn to imitate defects as well.

    Budget: the student of a level takes the steps of all modules of that level together (warm ones where the recipe
    has such), batches and crops being those of the size whose turn it is. Raises InputError naming the level whose
    loss is not finite, StorageError as `cached_features` does.
    """
    modules: dict[tuple[int, int], Module] = {}
    for level in sorted(levels):
        low = autocasts(recipe, teacher.mean.device.type)
        features = {size: cached_features(teacher, pyramid[size], level, bfloat16=low) for size in sorted(pyramid)}
        own_seed = module_seed(seed, min(pyramid), level)
        student = student_stage(teacher.architecture.name, level, seed=own_seed)
        student.to(teacher.mean.device).to(memory_format=torch.channels_last)
        random = torch.Generator().manual_seed(own_seed)
        losses = batch_losses(student, list(features.values()), recipe=recipe, random=random)
        counts = [count_steps(recipe, len(pyramid[size]), warm=number) for number, size in enumerate(features)]
        try:
            descend(student, losses, recipe=recipe, steps=sum(counts), warm=0)
        except InputError as error:
            raise InputError(f"one group, level {level}: {error}") from error
        channels, weight = teacher.architecture.channels[level - 2], 1 / (len(pyramid) * len(levels))
        for size, (inputs, targets) in features.items():
            cell = cell_of(channels, size=size, level=level)
            module = Module(student, size=size, level=level, channels=channels, weight=weight, cell=cell)
            fit_statistics(module.to(teacher.mean.device), inputs, targets)
            modules[size, level] = module
    return [modules[name] for name in sorted(modules)]


def _chained_losses(
    teacher: Teacher,
    chain: nn.Sequential,
    images: Tensor,
    *,
    levels: Sequence[int],
    recipe: Recipe,
    random: torch.Generator,
) -> Losses:
    """Yield for ever the loss of the next batch; the teacher's features, many as they are, are not kept but redone."""
    device = teacher.mean.device.type
    count = batch_size(recipe, images.shape[-1] >> max(levels), crop=None, margin=0)
    for picked in sample_batches(len(images), count, random):
        batch = images[picked].to(device, memory_format=torch.channels_last)
        with torch.autocast(device, torch.bfloat16, enabled=autocasts(recipe, device)):
            pairs = list(chained_features(teacher, chain, batch, levels))
        loss = torch.stack([imitation_loss(target, feature) for _, target, feature in pairs]).sum()
        yield loss, len(picked)
