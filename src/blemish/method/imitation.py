"""The method of arXiv 2212.05786 in plain tensor functions: distance, loss, score map, combination.

`residual` is the one comparison of a student with its teacher; the training loss and every score are made from it,
so training and scoring cannot drift apart. Equation numbers are the paper's.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def residual(teacher: Tensor, student: Tensor) -> Tensor:
    """Return the difference of the two unit feature vectors at every position, equations (2) and (6).

    Both features are (B, C, h, w); so is the result, in float32. A zero vector stays zero.
    """
    return F.normalize(teacher.float(), dim=1) - F.normalize(student.float(), dim=1)


def squared_distance(teacher: Tensor, student: Tensor) -> Tensor:
    """Return the squared L2 distance of the unit feature vectors at every position: (B, h, w), in [0, 4]."""
    return residual(teacher, student).square().sum(dim=1)


def imitation_loss(teacher: Tensor, student: Tensor, *, valid: Tensor | None = None) -> Tensor:
    """Return the loss of one module, equation (1): the mean squared distance over positions and images; a scalar.

    valid: (B or 1, h, w), 1 where a position counts and 0 where not; default: all count.
    """
    distance = squared_distance(teacher, student)
    if valid is None:
        return distance.mean()
    return (distance * valid).sum() / valid.expand_as(distance).sum()


def module_map(teacher: Tensor, student: Tensor) -> Tensor:
    """Return the paper's score map of one module, equation (5), scaled by 0.25: (B, h, w), in [0, 1]."""
    return 0.25 * squared_distance(teacher, student)


def scaled_residual(teacher: Tensor, student: Tensor) -> Tensor:
    """Return the residual at the length of the teacher's feature: (B, C, h, w), float32.

    Not the paper's. A unit vector forgets how strong the feature was: where it is weak, its direction is mostly noise.
    """
    length: Tensor = torch.linalg.vector_norm(teacher.float(), dim=1, keepdim=True)
    return length * residual(teacher, student)


def resample(score_map: Tensor, size: int) -> Tensor:
    """Resample (B, h, w) score maps to (B, size, size), bilinear."""
    return F.interpolate(score_map[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]


def resampling_matrix(side: int, size: int) -> Tensor:
    """Return the bilinear weights that `resample` gives `side` values at `size` places: (size, side); rows sum to 1."""
    unit = torch.eye(side)[None, None]
    matrix: Tensor = F.interpolate(unit, size=(size, side), mode="bilinear", align_corners=False)[0, 0]
    return matrix.contiguous()


def combine(module_maps: Sequence[Tensor], weights: Sequence[float], *, size: int) -> Tensor:
    """Return the weighted sum of the modules' maps at the reference size, equations (4) and (7): (B, size, size).

    The weights sum to 1; equal weights give the plain mean over all sizes and levels. The maps are added one after the
    other, so that leaving out a module of weight 0 changes no bit of the result.
    """
    total = torch.zeros(())
    for score_map, weight in zip(module_maps, weights, strict=True):
        total = total + weight * resample(score_map, size)
    return total
