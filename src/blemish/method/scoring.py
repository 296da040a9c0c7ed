"""From images to score maps: the pyramid, the modules with their statistics, the combination."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blemish.data.sources import Source, load
from blemish.images.read import FULL_BITS
from blemish.images.tiles import TilesPart, cut, mapped
from blemish.method.beside.memory import SHARE, Memory
from blemish.method.beside.surface import Surface
from blemish.method.imitation import combine, module_map, scaled_residual
from blemish.method.modules import Module, log_distance
from blemish.method.pyramid import Pyramid, stack
from blemish.method.teacher import Teacher
from blemish.verdict.scale import surface_of

AnyModule = Module | Memory


def module_score(module: AnyModule | Surface, teacher: Tensor, student: Tensor, *, score: str) -> Tensor:
    """Return one module's score map (B, h, w) from the teacher's and the student's feature, (B, C, h, w) each.

    Of what has no student, a memory or a surface, both are what it has joined, and the latter's map is (B,). score:
    "paper" is equation (5), in [0, 1]; the others are the logarithm of `Module.distance` in deviations from its mean on
    the good images that trained the module: any real number, 0 on average on those images, above 0 on unseen good ones
    (see `Module`). Of logarithms the mean over modules is a geometric one, so that the noise of one module cannot rule
    the map.
    """
    if not isinstance(module, Module):
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
    teacher: Teacher, modules: Sequence[AnyModule | Surface], images: Pyramid
) -> Iterator[tuple[AnyModule | Surface, Tensor, Tensor]]:
    """Yield each module, smaller sizes first, with the teacher's and its student's feature, (B, C, h, w) each.

    Of a memory or a surface both are what it has joined. Each teacher stage is computed once per image size, and only
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
        for beside in (module for module in here if not isinstance(module, Module)):
            joined = beside.joined(features)
            yield beside, joined, joined


def module_maps(
    teacher: Teacher, modules: Sequence[AnyModule | Surface], images: Pyramid, *, score: str
) -> list[Tensor]:
    """Return the score map of each module, in the order of `modules`, at its own resolution: (B, h, w) each.

    That of a surface is what it says of each image, (B,).
    """
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
    surface: Surface | None = None,
) -> tuple[NDArray[np.float32], float]:
    """Return the combined maps of an image (H, W, 3), one for each of the weightings, and what its surface says.

    The maps are (n, size, size). weightings: a weight for each module. tiles: how it is cut; its tiles are then scored
    one by one, as images are. surface: what looks at the whole, of tiles on average; without it that says NOTHING.
    """
    every = [*modules, surface] if surface else modules
    sizes, side, count = sorted({one.size for one in every}), tiles.map_size if tiles else size, len(modules)
    whole: list[float] = []

    def of(part: NDArray[np.uint8]) -> NDArray[np.float32]:
        (pyramid,) = one_by_one(teacher, stack([part], sizes))
        maps = module_maps(teacher, every, pyramid, score=score)
        whole.extend(float(one) for one in maps[count:])
        return np.stack([combine(maps[:count], weights, size=side)[0].cpu().numpy() for weights in weightings])

    with torch.inference_mode():
        maps = mapped(image, of, tiles=tiles, side=size)
    return maps, surface_of(whole)


def surface_rows_of(
    teacher: Teacher,
    surface: Surface,
    given: Sequence[Source],
    *,
    tiles: TilesPart | None = None,
    bits: int = FULL_BITS,
) -> list[list[Tensor]]:
    """Return what a surface has joined of each image, of the whole or of each tile, as `image_maps` does: (1, 2C) each.

    Raises InputError as `load` does.
    """
    found = []
    for image in (load(source, bits=bits) for source in given):
        parts = [image] if tiles is None else cut(image, tiles)
        pyramids = (one for part in parts for one in one_by_one(teacher, stack([part], [surface.size])))
        with torch.inference_mode():
            found.append([joined for one in pyramids for _, joined, _ in module_features(teacher, [surface], one)])
    return found


def surface_levels(surface: Surface, rows: Sequence[Sequence[Tensor]]) -> NDArray[np.float64]:
    """Return what a surface says of the images of which it has joined these rows: (N,)."""
    with torch.inference_mode():
        return np.array([surface_of([float(surface(row)) for row in image]) for image in rows])


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
        image_maps(teacher, modules, image, [weights], size=size, score=score, tiles=tiles)[0] for image in images
    ])  # fmt: skip


def score_pyramid(
    teacher: Teacher, modules: Sequence[AnyModule], images: Pyramid, *, size: int, score: str
) -> NDArray[np.float32]:
    """Return what `score_maps` does for any number of images, each scored alone: (N, size, size)."""
    with torch.inference_mode():
        maps = [score_maps(teacher, modules, one, size=size, score=score) for one in one_by_one(teacher, images)]
    return torch.cat(maps).cpu().numpy()
