"""From images to score maps at the reference size, in bounded memory; every module runs once, however it is weighed."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from blemish.imitation import combine
from blemish.pyramid import Source, load, stack
from blemish.scale import on_scale
from blemish.scoring import Module, module_maps, one_by_one
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
    for source in given:
        image = load(source)
        with torch.inference_mode():
            (pyramid,) = one_by_one(teacher, stack([image], sizes))
            parts = module_maps(teacher, modules, pyramid, score=header.score)
            maps = [combine(parts, weights, size=header.reference_size)[0].cpu().numpy() for weights in weightings]
        yield source, image, [on_scale(one, header) for one in maps]
