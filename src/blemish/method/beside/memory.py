"""A memory of good features beside the students: how far each position lies from the nearest that is remembered.

Not the paper's: the idea is PatchCore's (arXiv 2106.08265). Student and memory fail on different things (docs/log.md).
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from blemish.images.roi import RoiPart, TilesRoi
from blemish.method.imitation import resampling_matrix
from blemish.method.teacher import Teacher, move_to

VECTORS = 1000  # remembered; with fewer good places stand out, more take longer and find little more
SAMPLE = 50_000  # positions that these are chosen from
SHARE = 0.25  # of the combined map: on good images a third of what the students' maps spread
JOINED = (3, 4)  # the levels laid side by side: deep enough to know what a place is, fine enough to say where
BATCH = 8
FLOOR = 1e-3  # added to squared distances: of what it remembers rounding alone would speak, differently everywhere
TINY = 1e-6


class Memory(nn.Module):
    """A module that remembers features of good images: of one size, of several levels laid side by side.

    vectors: (M, C), C the channels of all its levels. centre and spread (scalars) turn the logarithm of the distance
    into what `balance` has set. levels: ascending; level: the deepest of them.
    """

    vectors: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(self, *, size: int, levels: Sequence[int], channels: int, vectors: int, weight: float) -> None:
        super().__init__()
        self.size, self.levels, self.level, self.weight = size, tuple(levels), max(levels), weight
        self.register_buffer("vectors", torch.zeros(vectors, channels))
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))
        side = size >> min(levels)
        for level in levels:
            whole = resampling_matrix(size >> level, side) @ mean_of_three(size >> level)
            self.register_buffer(f"matrix{level}", whole.contiguous(), persistent=False)

    @property
    def name(self) -> str:
        """The module's name, such as 256/m3+4."""
        return f"{self.size}/m{'+'.join(map(str, self.levels))}"

    def joined(self, features: Mapping[int, Tensor]) -> Tensor:
        """Return the features of its levels side by side: {level: (B, C_l, h_l, w_l)} -> (B, C, h, w).

        Each is averaged over 3 x 3 positions, brought to the resolution of the finest and made a unit vector, so that
        every level has the same say, however strong its features are.
        """
        parts = []
        for level in self.levels:
            matrix = getattr(self, f"matrix{level}")
            parts.append(F.normalize(matrix @ features[level].float() @ matrix.T, dim=1))
        return torch.cat(parts, dim=1)

    def forward(self, joined: Tensor) -> Tensor:
        """Return the logarithm of the distance to the nearest vector, less centre, over spread: (B, h, w)."""
        batch, channels, height, width = joined.shape
        rows = joined.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        nearest = (self.vectors.square().sum(dim=1) - 2 * rows @ self.vectors.T).amin(dim=2)
        squared = (nearest + rows.square().sum(dim=2)).clamp(min=0).reshape(batch, height, width)
        return (0.5 * torch.log(squared + FLOOR) - self.centre) / self.spread


def mean_of_three(side: int) -> Tensor:
    """Return the matrix that averages each of `side` values with its neighbours, borders repeated: (side, side)."""
    index = torch.arange(side)
    matrix = torch.zeros(side, side)
    for step in (-1, 0, 1):
        matrix[index, (index + step).clamp(0, side - 1)] += 1 / 3
    return matrix


def fit_memory(
    teacher: Teacher, images: Tensor, *, levels: Sequence[int], seed: int, roi: RoiPart | TilesRoi | None = None
) -> Memory:
    """Return a memory of good images, (N, 3, size, size) uint8, its vectors as far from each other as can be.

    levels: those of the students; of these JOINED are taken, or the deepest. roi: which positions are remembered. What
    it says is not balanced yet.
    """
    chosen = [level for level in JOINED if level in levels] or [max(levels)]
    channels = sum(teacher.architecture.channels[level - 2] for level in chosen)
    memory = Memory(size=images.shape[-1], levels=chosen, channels=channels, vectors=0, weight=SHARE)
    move_to(memory, teacher.mean.device)
    rows = _rows(teacher, memory, images, seed=seed, roi=roi)
    memory.vectors = farthest(rows, VECTORS).to(teacher.mean.device)
    return memory


def _rows(teacher: Teacher, memory: Memory, images: Tensor, *, seed: int, roi: RoiPart | TilesRoi | None) -> Tensor:
    """Return positions of all images, as many of each, at most SAMPLE: (n, C)."""
    side = memory.size >> min(memory.levels)
    inside = torch.ones(len(images), side, side, dtype=torch.bool)
    if roi is not None:
        inside &= torch.from_numpy(roi.positions(side))
    each, random, found = max(1, SAMPLE // len(images)), torch.Generator().manual_seed(seed), []
    for start in range(0, len(images), BATCH):
        part = images[start : start + BATCH].to(teacher.mean.device, memory_format=torch.channels_last)
        with torch.inference_mode():
            features = {level: feature for level, _, feature in teacher.features(part, memory.levels)}
            joined = memory.joined(features).permute(0, 2, 3, 1).cpu()
        for values, some in zip(joined, inside[start : start + BATCH], strict=True):
            rows = values[some]
            found.append(rows[torch.randperm(len(rows), generator=random)[:each]].clone())
    return torch.cat(found)


def farthest(rows: Tensor, count: int) -> Tensor:
    """Return `count` of the rows (n, C), or all: first that nearest to the mean, then always the farthest from them."""
    if len(rows) <= count:
        return rows
    squares = rows.square().sum(dim=1)
    chosen = [int((rows - rows.mean(dim=0)).square().sum(dim=1).argmin())]
    distances = torch.full_like(squares, torch.inf)
    while len(chosen) < count:
        last = chosen[-1]
        distances = torch.minimum(distances, squares + squares[last] - 2 * (rows @ rows[last]))
        chosen.append(int(distances.argmax()))
    return rows[chosen]


def balance(
    modules: Sequence[nn.Module],
    maps_of: Callable[[Sequence[nn.Module]], NDArray[np.float32]],
    *,
    inside: NDArray[np.bool_] | None = None,
) -> None:
    """Set centre and spread of the memory among modules, if there is one, by good images that trained nothing.

    maps_of: returns the combined maps (N, R, R) of some modules on these images; inside: which pixels count, bool
    (R, R). Afterwards the memory's part of the combined map has zero mean there, and SHARE to 1 - SHARE of the
    deviation that the students' part has: its own vectors cannot tell, as they lie at no distance.
    """
    students = [one for one in modules if not isinstance(one, Memory)]
    for memory in (one for one in modules if isinstance(one, Memory)):
        memory.centre.zero_()
        memory.spread.fill_(1)
        pair = [maps_of(some).astype(np.float64) for some in (students, [memory])]
        others, own = (maps if inside is None else maps[:, inside] for maps in pair)
        wanted = others.std() * memory.weight / (1 - memory.weight)
        memory.centre.fill_(own.mean() / memory.weight)
        memory.spread.fill_(max(own.std(), TINY) / max(wanted, TINY))
