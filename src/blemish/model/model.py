"""A fitted model as one plain value, and the maps that it makes of images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blemish.data.sources import Source, load
from blemish.method.scoring import AnyModule, image_maps, label_free_weights
from blemish.method.teacher import Teacher
from blemish.model.header import Header

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Model:
    """All that scores an image: the frozen teacher, the trained modules, and what the model says of itself."""

    teacher: Teacher
    modules: list[AnyModule]
    header: Header

    @property
    def sizes(self) -> list[int]:
        """The sizes that its modules need, ascending: fewer than the header's, once modules have been dropped."""
        return sorted({module.size for module in self.modules})

    def reference_maps(self, given: Sequence[Source]) -> Iterator[tuple[Source, Pixels, Floats]]:
        """Yield (path or array, image, score map at the reference size R) for each image, in bounded memory.

        The map is (R, R) float32 in [0, 1]. Raises InputError for an image that cannot be used.
        """
        weights = [module.weight for module in self.modules]
        for source, image, (one,) in self._maps(given, [weights]):
            yield source, image, one

    def reference_pairs(self, given: Sequence[Source]) -> Iterator[tuple[Source, Pixels, list[Floats]]]:
        """Yield what `reference_maps` does with a second map beside it: by the weights that need no labels."""
        weights = [module.weight for module in self.modules]
        yield from self._maps(given, [weights, label_free_weights(self.modules, score=self.header.score)])

    def _maps(
        self, given: Sequence[Source], weightings: Sequence[Sequence[float]]
    ) -> Iterator[tuple[Source, Pixels, list[Floats]]]:
        """Yield the maps of each image, one for each of the weightings, which have a weight for each module."""
        header = self.header
        for source in given:
            image = load(source, bits=header.bits, roi=header.roi)
            maps = image_maps(
                self.teacher, self.modules, image, weightings, size=header.reference_size, score=header.score,
                tiles=header.tiles,
            )  # fmt: skip
            yield source, image, [header.scored(one) for one in maps]
