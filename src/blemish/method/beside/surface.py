"""One look at the whole surface: how far the features of an image, taken together, lie from those of good images.

Not the paper's. What is uneven, pale or blurred all over has no place where it stands out, so no map finds it.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from blemish.method.teacher import Teacher, move_to
from blemish.verdict.scale import FAR, deviation, scale_of

LEVELS = (3, 4)  # alone neither is as good (docs/log.md)
WIDEST = 800  # channels of both: wider teachers would take megabytes, and were not measured
FEWEST, MOST = 10, 300  # images that can tell, and that are looked at
FOLDS = 10  # parts of them that are held out in turn
NOTICED = 5.0  # deviations of good images at which the surface alone brings an image to the limit of the scale
BATCH = 8
LEAST = 0.05  # of the mean deviation of all channels: one that never varied would rule the distance
TINY = 1e-6


class Surface(nn.Module):
    """How far the mean and the deviation of each channel over an image lie from those of good images.

    mean (2C,) and root (2C, 2C), C the channels of all its levels, turn these values of good images into noise of zero
    mean and unit covariance; centre and spread are the mean and deviation of their distance, for good images that have
    set neither; limit and span (scalars) put it where combined maps lie (`anchor`).
    """

    mean: Tensor
    root: Tensor
    centre: Tensor
    spread: Tensor
    limit: Tensor
    span: Tensor

    def __init__(self, *, size: int, levels: Sequence[int], channels: int) -> None:
        super().__init__()
        self.size, self.levels, self.level = size, tuple(levels), max(levels)
        self.register_buffer("mean", torch.zeros(2 * channels))
        self.register_buffer("root", torch.eye(2 * channels))
        for name, value in (("centre", 0.0), ("spread", 1.0), ("limit", 0.0), ("span", 1.0)):
            self.register_buffer(name, torch.tensor(value))

    @property
    def name(self) -> str:
        """What its tensors are called in a model file."""
        return "surface"

    def joined(self, features: Mapping[int, Tensor]) -> Tensor:
        """Return mean and deviation over all positions of each channel: {level: (B, C_l, h_l, w_l)} -> (B, 2C)."""
        found = []
        for level in self.levels:
            feature = features[level].float()
            mean = feature.mean(dim=(2, 3), keepdim=True)
            found += [mean.flatten(1), (feature - mean).square().mean(dim=(2, 3)).sqrt()]
        return torch.cat(found, dim=1)

    def distance(self, joined: Tensor) -> Tensor:
        """Return the Mahalanobis distance to good images, over the root of 2C: (B, 2C) -> (B,); about 1 on these."""
        return ((joined - self.mean) @ self.root.T).square().mean(dim=1).sqrt()

    def forward(self, joined: Tensor) -> Tensor:
        """Return the score of the whole surface where combined maps lie, not yet on the scale: (B, 2C) -> (B,).

        At NOTICED deviations above good images it is the limit, as a map is whose maximum lies FAR deviations above
        those of good images; for each FAR deviations less or more it falls or rises by the span.
        """
        deviations = (self.distance(joined) - self.centre) / self.spread
        return self.limit + (deviations - NOTICED) / FAR * self.span


def fit_surface(teacher: Teacher, images: Tensor, *, levels: Sequence[int]) -> Surface | None:
    """Return what good images, (N, 3, size, size) uint8, look like as a whole; not anchored yet.

    levels: those of the students. None where they lack one of LEVELS, for a teacher of more than WIDEST channels there,
    for fewer than FEWEST images, and for images that are all alike.
    """
    channels = sum(teacher.architecture.channels[level - 2] for level in LEVELS)
    if not {*LEVELS} <= {*levels} or channels > WIDEST or len(images) < FEWEST:
        return None
    surface = Surface(size=images.shape[-1], levels=LEVELS, channels=channels)
    move_to(surface, teacher.mean.device)
    every = -(-len(images) // MOST)
    rows = surface_rows(teacher, surface, images[::every])
    distances = torch.cat([_beyond(surface, rows, fold) for fold in torch.arange(len(rows)).tensor_split(FOLDS)])
    spread, centre = torch.std_mean(distances.double())
    if spread < TINY:
        return None
    surface.centre.copy_(centre)
    surface.spread.copy_(spread)
    learn(surface, rows)
    return surface


def surface_rows(teacher: Teacher, surface: Surface, images: Tensor) -> Tensor:
    """Return what `Surface.joined` does for images (N, 3, size, size) uint8: (N, 2C)."""
    found = []
    for part in torch.split(images, BATCH):
        given = part.to(teacher.mean.device, memory_format=torch.channels_last)
        with torch.inference_mode():
            features = {level: feature for level, _, feature in teacher.features(given, {*surface.levels})}
            found.append(surface.joined(features).clone())
    return torch.cat(found)


def _beyond(surface: Surface, rows: Tensor, fold: Tensor) -> Tensor:
    """Return the distances of the rows of a fold to all others; tiles of an image are neighbours, mostly in a fold."""
    others = torch.ones(len(rows), dtype=torch.bool)
    others[fold] = False
    learn(surface, rows[others])
    return surface.distance(rows[fold])


def learn(surface: Surface, rows: Tensor) -> None:
    """Set mean and root by the rows (N, 2C) of good images."""
    values = rows.double()
    deviation, mean = torch.std_mean(values, dim=0)
    deviation = deviation.clamp(min=LEAST * deviation.mean() + TINY)
    unit = torch.eye(len(mean), dtype=torch.float64, device=mean.device)
    lower = torch.linalg.cholesky(shrunk((values - mean) / deviation) + TINY * unit)
    surface.mean.copy_(mean)
    surface.root.copy_(torch.linalg.solve_triangular(lower, unit, upper=False) / deviation)


def shrunk(rows: Tensor) -> Tensor:
    """Return the covariance of centred rows (N, D), shrunk to a multiple of the unit matrix: (D, D), float64.

    By how much is what Ledoit and Wolf (2004, https://doi.org/10.1016/S0047-259X(03)00096-4) found to be best for so
    few rows of so many values.
    """
    count, width = rows.shape
    covariance = rows.T @ rows / count
    target = covariance.trace() / width * torch.eye(width, dtype=rows.dtype, device=rows.device)
    off = (covariance - target).square().sum()
    noise = (rows.square().sum(dim=1).square().sum() / count - covariance.square().sum()) / count
    share = (noise / off.clamp(min=TINY)).clamp(max=1.0) if off > 0 else torch.ones((), dtype=rows.dtype)
    return torch.lerp(covariance, target, share.to(covariance))


def widen(surface: Surface, levels: NDArray[np.float64]) -> None:
    """Let held-out good images count, if they lie farther away or vary more than cross-validation says.

    They may be of another day or place than those that train; what changes between these is no fault. Medians, so that
    no single image decides. levels: what a surface that is not anchored yet says of each of them, (N,).
    """
    centre, spread = float(surface.centre), float(surface.spread)
    distances = centre + spread * (NOTICED + FAR * levels)
    surface.centre.fill_(max(centre, float(np.median(distances))))
    surface.spread.fill_(max(spread, deviation(distances)))


def anchor(surface: Surface, maps: NDArray[np.float32]) -> None:
    """Put what a surface says where the combined maps lie, by those of held-out good images, (N, R, R)."""
    scale = scale_of(maps, score="whitened")
    surface.limit.fill_(scale.limit)
    surface.span.fill_(scale.limit - scale.good)
