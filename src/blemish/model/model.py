"""A fitted model as one plain value, and the maps that it makes of images."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from blemish.data.sources import Source, load
from blemish.method.beside.surface import Surface
from blemish.method.scoring import AnyModule, image_maps, label_free_weights
from blemish.method.teacher import Teacher
from blemish.model.header import Header
from blemish.verdict.scale import Reference

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Model:
    """All that scores an image: the frozen teacher, the trained modules, and what the model says of itself.

    surface: what looks at the whole, if anything does.
    """

    teacher: Teacher
    modules: list[AnyModule]
    header: Header
    surface: Surface | None = None

    @property
    def sizes(self) -> list[int]:
        """The sizes that its modules need, ascending: fewer than the header's, once modules have been dropped."""
        return sorted({module.size for module in self.modules})

    def references(self, given: Sequence[Source]) -> Iterator[tuple[Source, Pixels, Reference]]:
        """Yield (path or array, image, what its verdict is taken from) for each image, in bounded memory.

        Raises InputError for an image that cannot be used.
        """
        weights = [module.weight for module in self.modules]
        for source, image, (one,) in self._maps(given, [weights]):
            yield source, image, one

    def reference_pairs(self, given: Sequence[Source]) -> Iterator[tuple[Source, Pixels, list[Reference]]]:
        """Yield what `references` does with a second one beside it: by the weights that need no labels."""
        weights = [module.weight for module in self.modules]
        yield from self._maps(given, [weights, label_free_weights(self.modules, score=self.header.score)])

    def _maps(
        self, given: Sequence[Source], weightings: Sequence[Sequence[float]]
    ) -> Iterator[tuple[Source, Pixels, list[Reference]]]:
        """Yield what the weightings make of each image, which have a weight for each module."""
        header = self.header
        surface = self.surface if header.roi is None else None
        for source in given:
            image = load(source, bits=header.bits, roi=header.roi)
            maps, whole = image_maps(
                self.teacher, self.modules, image, weightings, size=header.reference_size, score=header.score,
                tiles=header.tiles, surface=surface,
            )  # fmt: skip
            yield source, image, [header.reference(one, whole) for one in maps]
