"""What good images are like: the statistics of each module's residuals, and the threshold for image scores."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from blemish.imitation import residual
from blemish.scoring import TINY, Module, whitened_map

RIDGE = 1e-3  # share of the mean variance added to each, so that a channel that never varies cannot rule the score
FALSE_ALARM_RATE = 0.01  # what is aimed at; few good images support only a higher rate
BATCH = 8


def fit_statistics(module: Module, inputs: Tensor, targets: Tensor) -> None:
    """Set a trained module's mean, whitener, centre and spread from the features of good images.

    inputs: (N, C', h', w') features f^{l-1}; targets: (N, C, h, w) features f^l. Two passes in closed form: the mean
    and covariance of the residual over all positions and images, then the mean and deviation of the logarithm of the
    whitened distance.
    """
    count, total, product = 0, torch.zeros(()), torch.zeros(())
    for residuals in _residuals(module, inputs, targets):
        rows = residuals.movedim(1, -1).flatten(0, 2).double()
        count, total, product = count + len(rows), total + rows.sum(dim=0), product + rows.T @ rows
    mean = total / count
    module.mean.copy_(mean)
    module.whitener.copy_(whitener(product / count - torch.outer(mean, mean)))
    logs = [
        torch.log(whitened_map(residuals, module.mean, module.whitener) + TINY)
        for residuals in _residuals(module, inputs, targets)
    ]
    spread, centre = torch.std_mean(torch.cat(logs).double())
    module.centre.copy_(centre)
    module.spread.copy_(spread.clamp(min=TINY))


def whitener(covariance: Tensor) -> Tensor:
    """Return W with W (S + r I) W^T = I for a covariance S (C, C); r is RIDGE times the mean variance."""
    ridge = RIDGE * covariance.diagonal().mean().clamp(min=TINY)
    lower = torch.linalg.cholesky(covariance + ridge * torch.eye(len(covariance), dtype=covariance.dtype))
    result: Tensor = torch.linalg.solve_triangular(lower, torch.eye(len(lower), dtype=lower.dtype), upper=False)
    return result


def threshold(scores: Sequence[float]) -> tuple[float, float]:
    """Return a threshold from the image scores of n held-out good images, and the false-alarm rate it can promise.

    The k-th smallest of n scores: a new good image, drawn as they were, scores above it with a probability of at most
    (n + 1 - k) / (n + 1), whatever the distribution (split conformal prediction). k is the smallest that keeps this
    at FALSE_ALARM_RATE; where n is too small for that, k = n and the rate is 1 / (n + 1), the least that n can support.
    """
    n = len(scores)
    k = min(math.ceil((n + 1) * (1 - FALSE_ALARM_RATE)), n)
    return sorted(scores)[k - 1], (n + 1 - k) / (n + 1)


def _residuals(module: Module, inputs: Tensor, targets: Tensor) -> Iterator[Tensor]:
    device = module.mean.device
    for x, y in zip(torch.split(inputs, BATCH), torch.split(targets, BATCH), strict=True):
        with torch.inference_mode():
            given = x.to(device, torch.float32).contiguous(memory_format=torch.channels_last)
            yield residual(y.to(device), module.student(given))
