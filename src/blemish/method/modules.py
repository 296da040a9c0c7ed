"""One module: the student of a size and a level, and how far its residuals are from those of good images."""

import torch
from torch import Tensor, nn

from blemish.method.teacher import Architecture, student_stage

TINY = 1e-6  # added before a logarithm: a perfect imitation has distance 0
CELL = 16  # px of the image, and two positions at least; smaller ones take more room and time (docs/log.md)
MOST_VALUES = 2_500_000  # of all covariances of a module, 10 MB


class Module(nn.Module):
    """One trained module: the student of (size, level), its weight, and what its residuals are like on good images.

    Positions lie in square cells of `cell` x `cell`. mean (C,) and roots (h / cell, w / cell, C, C), one for each cell,
    turn the scaled residuals of good images into noise of zero mean and unit covariance. Where cell is 0 (wide levels,
    models of earlier versions) there is one root, the whitener (C, C), and variance (C, h, w), what then remains at
    each position. centre and spread (scalars) are the mean and deviation of the logarithm of `distance`. These good
    images are those that trained the module. On unseen good images the values are larger, the more so the deeper the
    level and the fewer the images; `scale.squash` hides the offset.
    """

    mean: Tensor
    roots: Tensor
    whitener: Tensor
    variance: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(
        self, student: nn.Module, *, size: int, level: int, channels: int, weight: float, cell: int = 0
    ) -> None:
        super().__init__()
        self.student = student.requires_grad_(False).eval()
        self.size, self.level, self.weight, self.cell = size, level, weight, cell
        side = size >> level
        self.register_buffer("mean", torch.zeros(channels))
        if cell:
            self.register_buffer("roots", torch.eye(channels).repeat(side // cell, side // cell, 1, 1))
        else:
            self.register_buffer("whitener", torch.eye(channels))
            self.register_buffer("variance", torch.ones(channels, side, side))
        self.register_buffer("centre", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))

    @property
    def name(self) -> str:
        """The module's name, SIZE/LEVEL."""
        return f"{self.size}/{self.level}"

    @property
    def levels(self) -> tuple[int]:
        """The levels whose features it looks at."""
        return (self.level,)

    def distance(self, residuals: Tensor) -> Tensor:
        """Return how far scaled residuals are from those of good images: (B, C, h, w) -> (B, h, w), >= 0.

        It is a squared Mahalanobis distance, divided by C: about 1 on average on the good images that trained the
        module (more on unseen ones), whatever the level, where the plain distance is ruled by the few channels that are
        hardest to imitate.
        """
        if self.cell:
            return rooted_map(residuals - self.mean[:, None, None], self.roots)
        return whitened_map(whiten(residuals, self.mean, self.whitener), self.variance)


def cell_of(channels: int, *, size: int, level: int) -> int:
    """Return the side of the cells that share a covariance of so many channels, 0 where all take too much room.

    Twice as large ones do where there are still 8 x 8 of them.
    """
    side, least = size >> level, max(2, CELL >> level)
    allowed = (least, 2 * least) if side >= 16 * least else (least,)
    fitting = (cell for cell in allowed if (side // cell * channels) ** 2 <= MOST_VALUES)
    return next((cell for cell in fitting if side % cell == 0), 0)


def new_module(
    architecture: Architecture, *, size: int, level: int, weight: float, seed: int, cell: int | None = None
) -> Module:
    """Return a module whose student is freshly initialised from the seed, with statistics still to be set.

    cell: as of `Module`; default: as `cell_of` says.
    """
    student, channels = student_stage(architecture.name, level, seed=seed), architecture.channels[level - 2]
    cell = cell_of(channels, size=size, level=level) if cell is None else cell
    return Module(student, size=size, level=level, channels=channels, weight=weight, cell=cell)


def rooted_map(centred: Tensor, roots: Tensor) -> Tensor:
    """Return the mean square of residuals, less their mean, times the root of their cell: (B, C, h, w) -> (B, h, w).

    roots: (h / cell, w / cell, C, C). One product of matrices for each cell, so that its root is read once.
    """
    batch, _, height, width = centred.shape
    down, across = roots.shape[:2]
    cell = height // down
    rooted = in_cells(centred, cell) @ roots.flatten(0, 1).mT
    squares = rooted.square().mean(dim=2).reshape(down, across, batch, cell, cell)
    return squares.permute(2, 0, 3, 1, 4).reshape(batch, height, width)


def in_cells(values: Tensor, cell: int) -> Tensor:
    """Return the values at the positions of each cell, of all images: (B, C, h, w) -> (n, B cell^2, C), n cells."""
    batch, channels, height, width = values.shape
    last = values.permute(0, 2, 3, 1)  # as features lie in memory: runtimes need not sort them twice
    split = last.reshape(batch, height // cell, cell, width // cell, cell, channels).permute(1, 3, 0, 2, 4, 5)
    return split.reshape(-1, batch * cell * cell, channels)


def whiten(residuals: Tensor, mean: Tensor, whitener: Tensor) -> Tensor:
    """Return the whitened residuals at every position: (B, C, h, w) -> (B, C, h, w)."""
    return torch.einsum("dc,bchw->bdhw", whitener, residuals - mean[:, None, None])


def whitened_map(whitened: Tensor, variance: Tensor) -> Tensor:
    """Return the mean square of whitened residuals against the variance of their position: (B, h, w), >= 0."""
    return (whitened.square() / variance).mean(dim=1)


def log_distance(module: Module, residuals: Tensor) -> Tensor:
    """Return the logarithm of a module's `distance` for its scaled residuals: (B, C, h, w) -> (B, h, w)."""
    return torch.log(module.distance(residuals) + TINY)
