"""From images to score maps: the pyramid, the modules with their statistics, the combination."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blemish.data.sources import Source, load
from blemish.images.read import FULL_BITS
from blemish.images.tiles import TilesPart, mapped
from blemish.method.imitation import combine, module_map, scaled_residual
from blemish.method.memory import SHARE, Memory
from blemish.method.pyramid import Pyramid, stack
from blemish.method.teacher import Architecture, Teacher, student_stage

TINY = 1e-6  # added before a logarithm: a perfect imitation has distance 0
CELL = 16  # px of the image, and two positions at least; smaller ones take more room and time (docs/log.md)
MOST_VALUES = 2_500_000  # of all covariances of a module, 10 MB


class Module(nn.Module):
    """One trained module: the student of (size, level), its weight, and what its residuals are like on good images.

    Positions lie in square cells of `cell` x `cell`. mean (C,) and roots (h / cell, w / cell, C, C), one for each cell,
    turn the scaled residuals of good images into noise of zero mean and unit covariance. Where cell is 0 (wide levels,
    models of earlier versions) there is one root, the whitener (C, C), and variance (C, h, w), what then remains at
    each position. centre and spread (scalars) are the mean and deviation of the logarithm of `distance`. These good
    images are those that trained the module. On unseen good images the values are larger, the more so the deeper the
    level and the fewer the images; `scale.squash` hides the offset.
    """

    mean: Tensor
    roots: Tensor
    whitener: Tensor
    variance: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(
        self, student: nn.Module, *, size: int, level: int, channels: int, weight: float, cell: int = 0
    ) -> None:
        super().__init__()
        self.student = student.requires_grad_(False).eval()
        self.size, self.level, self.weight, self.cell = size, level, weight, cell
        side = size >> level
        self.register_buffer("mean", torch.zeros(channels))
        if cell:
            self.register_buffer("roots", torch.eye(channels).repeat(side // cell, side // cell, 1, 1))
        else:
            self.register_buffer("whitener", torch.eye(channels))
            self.register_buffer("variance", torch.ones(channels, side, side))
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))

    @property
    def name(self) -> str:
        """The module's name, SIZE/LEVEL."""
        return f"{self.size}/{self.level}"

    @property
    def levels(self) -> tuple[int]:
        """The levels whose features it looks at."""
        return (self.level,)

    def distance(self, residuals: Tensor) -> Tensor:
        """Return how far scaled residuals are from those of good images: (B, C, h, w) -> (B, h, w), >= 0.

        It is a squared Mahalanobis distance, divided by C: about 1 on average on the good images that trained the
        module (more on unseen ones), whatever the level, where the plain distance is ruled by the few channels that are
        hardest to imitate.
        """
        if self.cell:
            return rooted_map(residuals - self.mean[:, None, None], self.roots)
        return whitened_map(whiten(residuals, self.mean, self.whitener), self.variance)


AnyModule = Module | Memory


def cell_of(channels: int, *, size: int, level: int) -> int:
    """Return the side of the cells that share a covariance of so many channels, 0 where all take too much room.

    Twice as large ones do where there are still 8 x 8 of them.
    """
    side, least = size >> level, max(2, CELL >> level)
    allowed = (least, 2 * least) if side >= 16 * least else (least,)
    fitting = (cell for cell in allowed if (side // cell * channels) ** 2 <= MOST_VALUES)
    return next((cell for cell in fitting if side % cell == 0), 0)


def new_module(
    architecture: Architecture, *, size: int, level: int, weight: float, seed: int, cell: int | None = None
) -> Module:
    """Return a module whose student is freshly initialised from the seed, with statistics still to be set.

    cell: as of `Module`; default: as `cell_of` says.
    """
    student, channels = student_stage(architecture.name, level, seed=seed), architecture.channels[level - 2]
    cell = cell_of(channels, size=size, level=level) if cell is None else cell
    return Module(student, size=size, level=level, channels=channels, weight=weight, cell=cell)


def rooted_map(centred: Tensor, roots: Tensor) -> Tensor:
    """Return the mean square of residuals, less their mean, times the root of their cell: (B, C, h, w) -> (B, h, w).

    roots: (h / cell, w / cell, C, C). One product of matrices for each cell, so that its root is read once.
    """
    batch, _, height, width = centred.shape
    down, across = roots.shape[:2]
    cell = height // down
    rooted = in_cells(centred, cell) @ roots.flatten(0, 1).mT
    squares = rooted.square().mean(dim=2).reshape(down, across, batch, cell, cell)
    return squares.permute(2, 0, 3, 1, 4).reshape(batch, height, width)


def in_cells(values: Tensor, cell: int) -> Tensor:
    """Return the values at the positions of each cell, of all images: (B, C, h, w) -> (n, B cell^2, C), n cells."""
    batch, channels, height, width = values.shape
    last = values.permute(0, 2, 3, 1)  # as features lie in memory: runtimes need not sort them twice
    split = last.reshape(batch, height // cell, cell, width // cell, cell, channels).permute(1, 3, 0, 2, 4, 5)
    return split.reshape(-1, batch * cell * cell, channels)


def whiten(residuals: Tensor, mean: Tensor, whitener: Tensor) -> Tensor:
    """Return the whitened residuals at every position: (B, C, h, w) -> (B, C, h, w)."""
    return torch.einsum("dc,bchw->bdhw", whitener, residuals - mean[:, None, None])


def whitened_map(whitened: Tensor, variance: Tensor) -> Tensor:
    """Return the mean square of whitened residuals against the variance of their position: (B, h, w), >= 0."""
    return (whitened.square() / variance).mean(dim=1)


def log_distance(module: Module, residuals: Tensor) -> Tensor:
    """Return the logarithm of a module's `distance` for its scaled residuals: (B, C, h, w) -> (B, h, w)."""
    return torch.log(module.distance(residuals) + TINY)


def module_score(module: AnyModule, teacher: Tensor, student: Tensor, *, score: str) -> Tensor:
    """Return one module's score map (B, h, w) from the teacher's and the student's feature, (B, C, h, w) each.

    Of a memory, which has no student, both are what it has joined. score: "paper" is equation (5), in [0, 1]; the
    others are the logarithm of `Module.distance` in deviations from its mean on the good images that trained the
    module: any real number, 0 on average on those images, above 0 on unseen good ones (see `Module`). Of logarithms the
    mean over modules is a geometric one, so that the noise of one module cannot rule the map.
    """
    if isinstance(module, Memory):
        found: Tensor = module(teacher)
        return found
    if score == "paper":
        return module_map(teacher, student)
    return (log_distance(module, scaled_residual(teacher, student)) - module.centre) / module.spread


def label_free_weights(modules: Sequence[AnyModule], *, score: str) -> list[float]:
    """Return the weights that need no labels; they sum to 1.

    "paper": all equal, equation (4). Else proportional to channels times the root of the size. Every whitened
    channel has one say, so the deep levels, which see what a defect is, are not outvoted by the noise of shallow ones;
    and larger sizes count for more, as small defects show nowhere else (docs/log.md). A memory has `memory.SHARE` of
    the whole, and the students the rest.
    """
    students = [one for one in modules if not isinstance(one, Memory)]
    whole = sum(_share(one, score=score) for one in students)
    rest = 1.0 if len(students) == len(modules) else 1 - SHARE
    return [
        (SHARE if students else 1.0) if isinstance(one, Memory) else rest * (_share(one, score=score) / whole)
        for one in modules
    ]


def _share(module: Module, *, score: str) -> float:
    return 1.0 if score == "paper" else len(module.mean) * module.size**0.5


def set_weights(modules: Sequence[AnyModule], *, score: str) -> None:
    """Give each module its label-free weight."""
    for module, weight in zip(modules, label_free_weights(modules, score=score), strict=True):
        module.weight = weight


def module_features(
    teacher: Teacher, modules: Sequence[AnyModule], images: Pyramid
) -> Iterator[tuple[AnyModule, Tensor, Tensor]]:
    """Yield each module, smaller sizes first, with the teacher's and its student's feature, (B, C, h, w) each.

    Of a memory both are the features that it has joined. Each teacher stage is computed once per image size, and only
    as deep as the modules need.
    """
    for side in sorted({module.size for module in modules}):
        here = [module for module in modules if module.size == side]
        students = {module.level: module for module in here if isinstance(module, Module)}
        features = {}
        for level, previous, feature in teacher.features(images[side], {one for each in here for one in each.levels}):
            features[level] = feature
            if level in students:
                yield students[level], feature, students[level].student(previous)
        for memory in (module for module in here if isinstance(module, Memory)):
            joined = memory.joined(features)
            yield memory, joined, joined


def module_maps(teacher: Teacher, modules: Sequence[AnyModule], images: Pyramid, *, score: str) -> list[Tensor]:
    """Return the score map of each module, in the order of `modules`, at its own resolution: (B, h, w) each."""
    maps = {
        module.name: module_score(module, feature, student, score=score)
        for module, feature, student in module_features(teacher, modules, images)
    }
    return [maps[module.name] for module in modules]


def score_maps(teacher: Teacher, modules: Sequence[AnyModule], images: Pyramid, *, size: int, score: str) -> Tensor:
    """Return the combined score maps of a batch of images at the reference size: (B, size, size).

    "paper" gives values in [0, 1], the others any real number, still to be squashed.
    """
    maps = module_maps(teacher, modules, images, score=score)
    return combine(maps, [module.weight for module in modules], size=size)


def one_by_one(teacher: Teacher, images: Pyramid) -> Iterator[Pyramid]:
    """Yield each image of a pyramid as a batch of its own, where the teacher is.

    All that is scored goes through here or comes as one image: libraries compute a batch in other blocks than an image
    alone, so its score would depend on its company in the last bits. On a CPU a batch of eight saves a sixth of the
    time on two threads and none on one (docs/log.md).
    """
    for index in range(len(next(iter(images.values())))):
        yield {size: part[index : index + 1].to(teacher.mean.device) for size, part in images.items()}


def image_maps(
    teacher: Teacher,
    modules: Sequence[AnyModule],
    image: NDArray[np.uint8],
    weightings: Sequence[Sequence[float]],
    *,
    size: int,
    score: str,
    tiles: TilesPart | None = None,
) -> NDArray[np.float32]:
    """Return the combined maps of an image (H, W, 3), one for each of the weightings: (n, size, size).

    weightings: a weight for each module. tiles: how it is cut; its tiles are then scored one by one, as images are.
    """
    sizes, side = sorted({module.size for module in modules}), tiles.map_size if tiles else size

    def of(part: NDArray[np.uint8]) -> NDArray[np.float32]:
        (pyramid,) = one_by_one(teacher, stack([part], sizes))
        maps = module_maps(teacher, modules, pyramid, score=score)
        return np.stack([combine(maps, weights, size=side)[0].cpu().numpy() for weights in weightings])

    with torch.inference_mode():
        return mapped(image, of, tiles=tiles, side=size)


def score_sources(
    teacher: Teacher,
    modules: Sequence[AnyModule],
    given: Sequence[Source],
    *,
    size: int,
    score: str,
    tiles: TilesPart | None = None,
    bits: int = FULL_BITS,
) -> NDArray[np.float32]:
    """Return the combined maps of images that are read and scored one by one: (N, size, size).

    Raises InputError as `load` does.
    """
    weights = [module.weight for module in modules]
    images = (load(source, bits=bits) for source in given)
    return np.concatenate([
        image_maps(teacher, modules, image, [weights], size=size, score=score, tiles=tiles) for image in images
    ])  # fmt: skip


def score_pyramid(
    teacher: Teacher, modules: Sequence[AnyModule], images: Pyramid, *, size: int, score: str
) -> NDArray[np.float32]:
    """Return what `score_maps` does for any number of images, each scored alone: (N, size, size)."""
    with torch.inference_mode():
        maps = [score_maps(teacher, modules, one, size=size, score=score) for one in one_by_one(teacher, images)]
    return torch.cat(maps).cpu().numpy()
