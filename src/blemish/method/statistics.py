"""What the residuals of a trained module are like on the good images that trained it."""

from collections.abc import Iterable, Iterator
from itertools import repeat

import torch
import torch.nn.functional as F
from torch import Tensor

from blemish.method.imitation import scaled_residual
from blemish.method.modules import TINY, Module, in_cells, log_distance, whiten

RIDGE = 1e-3  # share of the mean variance added to each, so that a channel that never varies cannot rule the score
LEAST_VARIANCE = 0.1
PLACE, HALF = 0.6, 20  # how far a cell's own covariance counts among many images; with so many, half as far
POSITION = 0.5  # how far the variance at a position counts against the variance at all positions
RAM_FOR_RESIDUALS = 1 << 29  # bytes; where residuals need more, the student runs again for each of three passes
BATCH = 8

Residuals = Iterable[tuple[Tensor, Tensor | None]]  # of a batch, and at which of its positions they count


def fit_statistics(module: Module, inputs: Tensor, targets: Tensor, *, inside: Tensor | None = None) -> None:
    """Set what a trained module's residuals are like on the good images that trained it; closed form, three passes.

    inputs: (N, C', h', w') features f^{l-1}; targets: (N, C, h, w) features f^l. inside: which positions count, one at
    least: bool (h, w), or (N, h, w) for each image; default: all. What lies at the others changes nothing. The
    covariance of a cell is partly its own, the less the fewer the images, else that of all: borders and edges that all
    parts share stop standing out, yet a place that good parts find hard is not made blind. Where the module has no
    cells the same is done with the variances of each position, smoothed over 3 x 3. On unseen good images the distances
    are larger, the more so the deeper the level and the fewer the images: the student and a covariance of many channels
    fit those that they were made from too well. `scale.squash` hides the offset, since held-out images set its scale.
    """
    kept = list(_residuals(module, inputs, targets)) if 4 * targets.numel() <= RAM_FOR_RESIDUALS else None

    def passes() -> Residuals:
        shares = repeat(inside) if inside is None or inside.dim() == 2 else torch.split(inside, BATCH)
        return zip(kept or _residuals(module, inputs, targets), shares, strict=False)

    count, total, product = 0, torch.zeros(()), torch.zeros(())
    for residuals, some in passes():
        rows = _counted(residuals.movedim(1, -1), some).double()
        count, total, product = count + len(rows), total + rows.sum(dim=0).cpu(), product + (rows.T @ rows).cpu()
    mean = total / count
    module.mean.copy_(mean)
    white = whitener(product / count - torch.outer(mean, mean)).to(module.mean.device)
    whitened = ((whiten(residuals, module.mean, white.float()), some) for residuals, some in passes())
    if module.cell:
        share = PLACE * len(inputs) / (len(inputs) + HALF)
        roots = _roots(whitened, white, cell=module.cell, share=share)
        module.roots.copy_(roots.reshape(module.roots.shape))
    else:
        module.whitener.copy_(white)
        images, ever = _often(len(inputs), inside)
        module.variance.copy_(_variance(whitened, images, ever))
    logs = [_counted(log_distance(module, residuals), some) for residuals, some in passes()]
    spread, centre = torch.std_mean(torch.cat(logs).double())
    module.centre.copy_(centre)
    module.spread.copy_(spread.clamp(min=TINY))


def _roots(whitened: Residuals, whitener: Tensor, *, cell: int, share: float) -> Tensor:
    """Return W of each of n cells with W S W^T = I, (n, C, C), in float64.

    S is the covariance of residuals before they were whitened: by `share` of those in the cell, else of all.
    """
    product = counts = torch.zeros((), device=whitener.device)
    for values, some in whitened:
        mask = torch.ones_like(values[:, :1])
        if some is not None:
            mask = mask * some.reshape(-1, 1, *some.shape[-2:])
        rows = in_cells(values * mask, cell)
        product = product + rows.mT @ rows
        counts = counts + in_cells(mask, cell).sum(dim=1)[..., None]
    unit = torch.eye(len(whitener), dtype=torch.float64, device=whitener.device)
    covariance = torch.where(counts > 0, product.double() / counts.clamp(min=1), unit)
    lower = torch.linalg.cholesky(torch.lerp(unit.expand_as(covariance), covariance, share))
    roots: Tensor = torch.linalg.solve_triangular(lower, whitener.expand_as(lower), upper=False)
    return roots


def _variance(whitened: Residuals, images: int | Tensor, ever: Tensor | None) -> Tensor:
    """Return the variance of whitened residuals at each position, half its own and half that of all: (C, h, w)."""
    squares: Tensor = torch.zeros(())
    for values, some in whitened:
        square = values.square()
        some_squares = square if some is None or some.dim() == 2 else square * some[:, None]
        squares = squares.to(square.device) + some_squares.sum(dim=0)
    # A channel that hardly varies has been whitened to less than 1 by the ridge; dividing must not undo that.
    there = _smoothed(squares / images, ever).clamp(min=LEAST_VARIANCE)
    mean_there = there.mean(dim=(1, 2), keepdim=True) if ever is None else there[:, ever].mean(dim=1)[:, None, None]
    return torch.lerp(mean_there.expand_as(there), there, POSITION)


def _counted(values: Tensor, inside: Tensor | None) -> Tensor:
    """Return the values at the positions that count, of all images: (B, h, w, ...) -> (n, ...)."""
    if inside is None:
        return values.flatten(0, 2)
    return values[:, inside].flatten(0, 1) if inside.dim() == 2 else values[inside]


def _often(images: int, inside: Tensor | None) -> tuple[int | Tensor, Tensor | None]:
    """Return in how many images a position counts, at least 1, and in which positions it does in any: bool (h, w)."""
    if inside is None or inside.dim() == 2:
        return images, inside
    return inside.sum(dim=0).clamp(min=1), inside.any(dim=0)


def _smoothed(values: Tensor, inside: Tensor | None) -> Tensor:
    """Return the mean of (C, h, w) over the 3 x 3 positions around each, of those that count; 1 where none does."""
    if inside is None:
        return _around(values)
    share = _around(inside.to(values)[None])
    return torch.where(share > 0, _around(torch.where(inside, values, 0)) / share.clamp(min=TINY), 1)


def _around(values: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(values[None], (1, 1, 1, 1), mode="replicate"), kernel_size=3, stride=1)[0]


def whitener(covariance: Tensor) -> Tensor:
    """Return W with W (S + r I) W^T = I for a covariance S (C, C), in float64; r is RIDGE times the mean variance.

    Its rows are the principal axes, each divided by its deviation.
    """
    ridge = RIDGE * covariance.diagonal().mean().clamp(min=TINY)
    variances, axes = torch.linalg.eigh(covariance)
    result: Tensor = (axes / (variances.clamp(min=0) + ridge).sqrt()).T
    return result


def _residuals(module: Module, inputs: Tensor, targets: Tensor) -> Iterator[Tensor]:
    device = module.mean.device
    for x, y in zip(torch.split(inputs, BATCH), torch.split(targets, BATCH), strict=True):
        with torch.inference_mode():
            given = x.to(device, torch.float32).contiguous(memory_format=torch.channels_last)
            yield scaled_residual(y.to(device), module.student(given))
