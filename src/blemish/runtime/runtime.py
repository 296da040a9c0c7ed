"""Scores images with a bundle, as a `Detector` does with a model file, on a CPU and without torch."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from blemish.checks import given_path, whole
from blemish.data.ahead import ahead
from blemish.data.sources import Images, Source, load, sources
from blemish.errors import ModelFileError, refused
from blemish.images.resize import resize
from blemish.images.tiles import mapped
from blemish.model.calibration import Wanted, with_thresholds
from blemish.model.header import Header
from blemish.model.scorer import said
from blemish.runtime.bundle import Bundle, read_bundle
from blemish.runtime.engines import Engine, available_threads, open_engine
from blemish.verdict.judge import Prediction
from blemish.verdict.scale import Reference, surface_of
from blemish.verdict.threshold import Thresholds

Scored = tuple[Source, NDArray[np.uint8], Reference]


def raw_reference(
    engine: Engine, image: NDArray[np.uint8], header: Header, *, each: Callable[..., Iterable[Any]] = map
) -> tuple[NDArray[np.float32], float]:
    """Return the combined map of an image (H, W, 3), (R, R), and what its surface says, not yet on the scale.

    Of tiles the surface says so on average; where nothing looks at it that is NOTHING. header: of the model whose graph
    the engine runs: once for the image, or for each of its tiles. each: what resizes to the sizes, `map` or one that
    does it in threads.
    """
    sizes, whole = sorted({module.size for module in header.modules}), list[float]()

    def of(part: NDArray[np.uint8]) -> NDArray[np.float32]:
        found, *surface = engine.run(dict(zip(sizes, each(partial(resize, part), sizes), strict=True)))
        whole.extend(float(one) for one in surface)
        return found

    found = mapped(image, of, tiles=header.tiles, side=header.reference_size)
    if bool(whole) != bool(header.surface):
        raise ModelFileError(f"the graph says {'' if whole else 'no'}thing of the surface, and its model otherwise")
    return found, surface_of(whole)


class Runtime:
    """A bundle, ready to score; made by `Runtime.load`. Any number of threads may use it at the same time.

    bundle: what the bundle says of itself; header_: what its model does; streams: images scored at the same time.
    """

    def __init__(self, bundle: Bundle, engine: Engine, *, streams: int = 1, threads: int = 1) -> None:
        self.bundle = bundle
        self.header_: Header = bundle.model
        self.streams = streams
        self._engine = engine
        sizes = {module.size for module in bundle.model.modules}
        # Of a large image, resizing takes as long as the network: the sizes at the same time, where threads are free.
        several = threads > streams and len(sizes) > 1
        self._map = ThreadPoolExecutor(len(sizes)).map if several else map

    @classmethod
    def load(
        cls, folder: str | os.PathLike[str], *, threads: int | None = None, streams: int = 1, self_test: bool = True
    ) -> Self:
        """Read a bundle and score its golden images.

        threads: at most so many are used, by default one for each core that this process may use. streams: so many
        images are scored at the same time, each with its share of the threads: 1 for the shortest wait for one image,
        as many as threads, and no more, for the most images a second. self_test: without it, a machine that computes
        something else is not noticed. Raises InputError for arguments, a folder that is not there or a library that is
        missing; ModelFileError for a bundle that is damaged, made by a newer version, or scores a golden image wrongly.
        """
        threads = available_threads() if threads is None else whole("threads", threads, allowed=range(1, 1025))
        streams = min(whole("streams", streams, allowed=range(1, 1025)), threads)
        place = given_path(folder, "folder")
        bundle = read_bundle(place)
        engine = open_engine(place, bundle.target, bundle.precision, threads=threads, streams=streams)
        runtime = cls(bundle, engine, streams=streams, threads=threads)
        if self_test:
            runtime.self_test(place)
        return runtime

    @property
    def thresholds_(self) -> Thresholds:
        """The image scores above which the verdict is REVIEW, and NG."""
        return self.header_.calibration.thresholds

    def with_header(self, header: Header) -> Self:
        """Return the same runtime with another header, as `Detector.with_header` does."""
        other = copy(self)
        other.header_ = header
        return other

    def set_thresholds(self, wanted: Wanted) -> Self:
        """Set other thresholds on the same scale, as `Detector.set_thresholds` does."""
        self.header_ = with_thresholds(self.header_, wanted)
        return self

    def predict(self, images: Images) -> list[Prediction]:
        """Return score, verdict, regions and score map of each image: arrays, paths of images, or folders.

        An array is uint8, or uint16 that fills its 16 bits: (H, W), (H, W, 3) in the order RGB (OpenCV's is BGR: turn
        it), or (H, W, 4) RGBA. Raises InputError for an image that cannot be used.
        """
        given = sources(images)
        if len(given) == 1:
            return [self._judge(given[0])]
        return list(ahead(self._judge, given, workers=self.streams))

    def score_maps(self, images: Images) -> list[NDArray[np.float32]]:
        """Return the score map of each image at its own resolution: (H, W) float32 in [0, 1], higher = more anomalous.

        Raises InputError for an image that cannot be used.
        """
        return [prediction.score_map for prediction in self.predict(images)]

    def references(self, images: Images) -> Iterator[Scored]:
        """Yield (path or array, image, what its verdict is taken from) for each image, in bounded memory.

        As `Detector.references` does, with decoding, resizing and scoring of `streams` images at the same time.
        """
        yield from ahead(self._score, sources(images), workers=self.streams)

    def raw_map(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the combined map of an image (H, W, 3), (R, R), before it is put on the scale."""
        return self._raw(image)[0]

    def golden_reference(self, source: Source) -> Reference:
        """Return what the verdict on a golden image is taken from, whatever its aspect."""
        return self._reference(load(source, bits=self.header_.bits))

    def self_test(self, folder: Path) -> None:
        """Score the golden images in the bundle's folder; raises ModelFileError for the first that scores otherwise."""
        for golden in self.bundle.golden:
            found = self.golden_reference(folder / golden.file)
            score, mean = found.score(), float(found.map.mean())
            if not max(abs(score - golden.score), abs(mean - golden.mean)) <= self.bundle.tolerance:  # NaN as well
                raise refused(
                    folder,
                    f"self-test failed: {golden.file} scores {score:.4f} (mean {mean:.4f}) on this machine, expected "
                    f"{golden.score:.4f} ({golden.mean:.4f}) within {self.bundle.tolerance:g}",
                )

    def _score(self, source: Source) -> Scored:
        image = load(source, bits=self.header_.bits, roi=self.header_.roi)
        return source, image, self._reference(image)

    def _raw(self, image: NDArray[np.uint8]) -> tuple[NDArray[np.float32], float]:
        return raw_reference(self._engine, image, self.header_, each=self._map)

    def _reference(self, image: NDArray[np.uint8]) -> Reference:
        return self.header_.reference(*self._raw(image))

    def _judge(self, source: Source) -> Prediction:
        return said(self.header_, *self._score(source))
