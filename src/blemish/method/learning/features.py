"""The teacher's features of the training images: each stage runs once for each size, and what is kept has a bound."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from tempfile import NamedTemporaryFile
from threading import Event, Lock

import torch
from torch import Tensor

from blemish.checks import number
from blemish.errors import InputError, StorageError
from blemish.method.learning.progress import StopError
from blemish.method.learning.training import Recipe, autocasts
from blemish.method.teacher import Teacher

RAM_FOR_FEATURES = 1 << 30  # bytes; larger features are kept in a temporary file
FEATURE_BATCH = 16
GIGABYTE = 10**9


def check_cache(cache_gb: float) -> None:
    """Raise InputError unless cache_gb is a number of gigabytes above 0."""
    number("cache-gb", cache_gb, rule="a number of gigabytes above 0")


def half_sizes(
    teacher: Teacher, sizes: Iterable[int], levels: Sequence[int], *, recipe: Recipe, images: int, cache_gb: float
) -> list[int]:
    """Return the sizes whose features are kept in float16, because in float32 they would need more than cache_gb.

    The two features of a module are kept while it learns, those of others beside it only where there is room. So the
    largest module of a size decides for all of its levels: a level starts from the feature that the one before has
    left. A recipe that uses bfloat16 on the teacher's device keeps features in that anyhow. Raises InputError where 2
    bytes a value are too many as well, before anything is computed.
    """
    bfloat16 = autocasts(recipe, teacher.mean.device.type)
    halved = []
    for size in sorted(sizes):
        level, values = max(_module_values(teacher, size, levels), key=lambda pair: pair[1])
        needed = 2 * images * values / GIGABYTE
        if needed > cache_gb:
            least = math.ceil(needed * 100) / 100
            kind = "bfloat16" if bfloat16 else "float16"
            raise InputError(
                f"cache-gb: module {size}/{level} needs {least:g} GB for the features of {images} images in {kind}, "
                f"{cache_gb:g} are allowed; allow more, or use fewer images or smaller sizes"
            )
        if 2 * needed > cache_gb and not bfloat16:
            halved.append(size)
    return halved


def tiles_carried(
    teacher: Teacher, sizes: Iterable[int], levels: Sequence[int], *, recipe: Recipe, cache_gb: float
) -> int:
    """Return how many tiles cache_gb carries, at least 1: at every size, and the features of the largest module."""
    bfloat16 = autocasts(recipe, teacher.mean.device.type)
    values = max(values for size in sizes for _, values in _module_values(teacher, size, levels))
    each = (2 if bfloat16 else 4) * values + sum(3 * size * size for size in sizes)
    return max(1, int(cache_gb * GIGABYTE / each))


class Features:
    """The features that modules learn from, made when they are asked for, by any number of threads.

    names: the modules, (size, level). What one has left serves a deeper one of its size, which starts there. stop: once
    it is set, whoever makes features ends with StopError. Other errors are those of `cached_features`.
    """

    def __init__(
        self,
        teacher: Teacher,
        pyramid: Mapping[int, Tensor],
        names: Collection[tuple[int, int]],
        *,
        recipe: Recipe,
        half: Collection[int],
        cache_gb: float,
        stop: Event,
    ) -> None:
        self.teacher, self.pyramid, self.half, self.room = teacher, pyramid, half, cache_gb * GIGABYTE
        self.bfloat16 = autocasts(recipe, teacher.mean.device.type)
        self.waiting, self.left = set(names), dict[int, tuple[int, Tensor]]()
        self.lock, self.stop = Lock(), stop
        self._bytes: dict[tuple[int, int], int] = {}

    def fit(self, name: tuple[int, int], others: Collection[tuple[int, int]]) -> bool:
        """Return whether cache_gb carries the features of a module beside those of others at work."""
        with self.lock:
            left = sum(feature.nbytes for _, feature in self.left.values())
        return left + sum(map(self._needs, (name, *others))) <= self.room

    def take(self, size: int, level: int) -> tuple[Tensor, Tensor]:
        """Return f^{l-1} and f^l of all images, as `cached_features` does."""
        with self.lock:
            self.waiting.discard((size, level))
            known = self.left.get(size)
            self._forget(size)
        known = known if known and known[0] < level else None
        return cached_features(
            self.teacher, self.pyramid[size], level, bfloat16=self.bfloat16, half=size in self.half, known=known,
            stop=self.stop,
        )  # fmt: skip

    def leave(self, size: int, level: int, feature: Tensor) -> None:
        """Keep f^l for the modules that have not begun, if it serves one of them."""
        with self.lock:
            if size not in self.left or self.left[size][0] < level:
                self.left[size] = level, feature
            self._forget(size)

    def _needs(self, name: tuple[int, int]) -> int:
        """Return how many bytes the two features of a module take."""
        if name not in self._bytes:
            size, level = name
            ((_, values),) = _module_values(self.teacher, size, [level])
            each = 2 if self.bfloat16 or size in self.half else 4
            self._bytes[name] = len(self.pyramid[size]) * values * each
        return self._bytes[name]

    def _forget(self, size: int) -> None:
        """Let go of what no module waits for."""
        if size in self.left and not any(side == size and level > self.left[size][0] for side, level in self.waiting):
            del self.left[size]


def cached_features(
    teacher: Teacher,
    images: Tensor,
    level: int,
    *,
    bfloat16: bool,
    half: bool = False,
    known: tuple[int, Tensor] | None = None,
    stop: Event | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the teacher's features f^{l-1} and f^l of all images: the teacher is frozen, and nothing is augmented.

    bfloat16, half: both are kept in bfloat16 or float16 instead of float32, and so is every feature on the way to them:
    the result does not depend on where the computation starts. known: (k, f^k) of the same images, k < level, as an
    earlier call has returned it; no stage up to k is then run. Each of the two is channels_last, and held in memory, or
    in a temporary file where it needs more than RAM_FOR_FEATURES. Raises StorageError if there is no room for that,
    InputError for features beyond the range of float16.
    """
    kind = torch.bfloat16 if bfloat16 else torch.float16 if half else torch.float32
    device = teacher.mean.device
    first, source = known or (0, images)
    cache = {first: source} if first == level - 1 else {}
    for start in range(0, len(images), FEATURE_BATCH):
        if stop is not None and stop.is_set():
            raise StopError
        batch = slice(start, start + FEATURE_BATCH)
        feature = source[batch].to(device, memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            if known is None:
                feature = teacher.normalise(feature)
            for reached in range(first + 1, level + 1):
                feature = teacher.stages[reached - 1](feature.float() if half else feature).to(kind)
                if half and not bool(feature.isfinite().all()):
                    raise InputError(f"features of level {reached} exceed the range of float16; allow more --cache-gb")
                if reached >= level - 1:
                    if reached not in cache:
                        cache[reached] = _allocate((len(images), *feature.shape[1:]), kind)
                    cache[reached][batch] = feature.to("cpu")
    return cache[level - 1], cache[level]


def _module_values(teacher: Teacher, size: int, levels: Sequence[int]) -> list[tuple[int, int]]:
    """Return the level of each module with how many values its two features have for one image, found by trying."""
    blank = torch.zeros((1, 3, size, size), device=teacher.mean.device)
    with torch.inference_mode():
        return [(level, x.numel() + y.numel()) for level, x, y in teacher.features(blank, levels)]


def _allocate(shape: tuple[int, ...], kind: torch.dtype) -> Tensor:
    """Return an uninitialised tensor of that shape (N, C, h, w), channels_last, in memory or in a temporary file."""
    size = torch.Size(shape).numel()
    needed = size * kind.itemsize
    count, channels, height, width = shape
    if needed <= RAM_FOR_FEATURES:
        return torch.empty((count, height, width, channels), dtype=kind).permute(0, 3, 1, 2)
    try:
        # The file has no name any more once it is mapped: whatever happens to this process, it takes its room along.
        with NamedTemporaryFile(prefix="blemish-features-") as file:
            # Written, not only reserved: on a full disk a write to a mapped page would kill the process.
            zeros = bytes(1 << 24)
            for start in range(0, needed, len(zeros)):
                file.write(zeros[: needed - start])
            file.flush()
            mapped = torch.from_file(file.name, shared=True, size=size, dtype=kind)
    except OSError as error:
        raise StorageError(f"features need {needed} bytes of temporary files: {error.strerror}") from error
    return mapped.reshape(count, height, width, channels).permute(0, 3, 1, 2)
