"""From images to score maps at the reference size, in bounded memory; every module runs once, however it is weighed."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from blemish.imitation import combine
from blemish.pyramid import Source, load, stack
from blemish.scale import on_scale
from blemish.scoring import BATCH, Module, module_maps
from blemish.teacher import Teacher

if TYPE_CHECKING:
    from blemish.header import Header

Floats = NDArray[np.float32]


def reference_maps(
    teacher: Teacher,
    modules: Sequence[Module],
    header: "Header",
    given: Sequence[Source],
    *,
    weightings: Sequence[Sequence[float]],
) -> Iterator[tuple[Source, NDArray[np.uint8], list[Floats]]]:
    """Yield (path or array, image, its maps at the reference size R), one map for each of the weightings.

    A weighting has a weight for each module; a map is (R, R) float32, squashed as the header says. Raises InputError
    for an image that cannot be used.
    """
    sizes = sorted({module.size for module in modules})  # fewer than the header's, once modules have been dropped
    for start in range(0, len(given), BATCH):
        batch = given[start : start + BATCH]
        images = [load(source) for source in batch]
        with torch.inference_mode():
            pyramid = {size: part.to(teacher.mean.device) for size, part in stack(images, sizes).items()}
            parts = module_maps(teacher, modules, pyramid, score=header.score)
            maps = [combine(parts, weights, size=header.reference_size).cpu().numpy() for weights in weightings]
        maps = [on_scale(one, header) for one in maps]
        for index, (source, image) in enumerate(zip(batch, images, strict=True)):
            yield source, image, [one[index] for one in maps]
