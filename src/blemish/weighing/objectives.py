"""What a search for weights makes small, on the scores of pixels: three objectives, numbers in, weights out.

All look for the weights w of N modules, w_i >= 0 and sum w = 1, of the combined map phi = sum w_i phi_i, equation (7).
Which of them is best on images that the search did not see, and by how much, is in docs/weighing.md.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

DEFECT_SHARE = 0.02  # of the weight of all pixels in the logistic loss, about what defects cover
PRIOR_IMAGES = 0.13  # how strongly a prior holds the weights, against one image with a defect
FPR_LIMIT = 0.3  # where the area of AUPRO ends
LEAST = 1e-12  # bounds a probability away from 0 and 1


@dataclass(frozen=True, slots=True)
class Pixels:
    """The scores of pixels by module, and what the pixels are.

    rest: (P, N) float64, scores of defect-free pixels. defect: (D, N), of defect pixels. share: (D,), each defect
    pixel's part of all defects; sums to 1: every image counts the same, in it every region, in that every pixel.
    region: (D,) whole numbers from 0, which region a pixel belongs to. counts: how many pixels, defect-free and
    defective, these stand for. images: how many images have a defect.
    """

    rest: Floats
    defect: Floats
    share: Floats
    region: NDArray[np.intp]
    counts: tuple[int, int]
    images: int

    def modules(self, indices: Sequence[int]) -> "Pixels":
        """Return the scores of some of the modules, in the order of the indices."""
        some = list(indices)
        return replace(self, rest=self.rest[:, some], defect=self.defect[:, some])


@dataclass(frozen=True, slots=True)
class Found:
    """The weights (N,) that an objective finds, what it is there, and the steps that it took."""

    weights: Floats
    loss: float
    steps: int


def gather(
    images: Iterable[tuple[NDArray[np.float32], NDArray[np.bool_]]],
    *,
    rest_step: int,
    region: int,
    inside: NDArray[np.bool_] | None = None,
) -> Pixels:
    """Return the pixels of images, each given as its modules' maps (N, R, R) and its mask (R, R), one after the other.

    rest_step: of the defect-free pixels those in every rest_step-th row and column are taken. region: of each
    8-connected region at most so many pixels are taken, spread evenly. inside: (R, R), which pixels count, default
    all; masks are False where they do not.
    """
    from scipy import ndimage

    rest, defect, shares, numbers = [], [], [], []
    free = defective = regions = 0
    for maps, mask in images:
        thin = np.zeros_like(mask)
        thin[rest_step // 2 :: rest_step, rest_step // 2 :: rest_step] = True
        clear = ~mask if inside is None else inside & ~mask
        some = thin & clear
        rest.append(
            maps[:, some if inside is None or some.any() else clear].T
        )  # a grid may miss all of a narrow region of interest
        free, defective = free + int(clear.sum()), defective + int(mask.sum())
        labels, count = ndimage.label(mask, structure=np.ones((3, 3)))
        for number in range(1, count + 1):
            rows, columns = np.nonzero(labels == number)
            some = np.linspace(0, len(rows) - 1, min(region, len(rows))).round().astype(np.intp)
            defect.append(maps[:, rows[some], columns[some]].T)
            shares.append(np.full(len(some), 1 / (count * len(some))))
            numbers.append(np.full(len(some), regions, np.intp))
            regions += 1
    share = np.concatenate(shares)
    whole = round(float(share.sum()))  # every image with a defect adds 1
    return Pixels(
        rest=np.concatenate(rest).astype(np.float64),
        defect=np.concatenate(defect).astype(np.float64),
        share=share / whole,
        region=np.concatenate(numbers),
        counts=(free, defective),
        images=whole,
    )


def paper(pixels: Pixels, *, start: Floats | None = None) -> Found:
    """Return the weights of the least mean pixel cross-entropy between phi, taken as a probability, and the mask.

    Equations (8) to (10) to the letter, but for the way down: the loss is convex in w (strictly, unless the maps are
    linearly dependent), so sequential quadratic programming on the simplex ends where gradient descent on the
    logits does, in some twenty steps and from any start. Scores must lie in [0, 1]. start: (N,); default: all equal.
    """
    from scipy import optimize

    modules = pixels.rest.shape[1]
    first = np.full(modules, 1 / modules) if start is None else start
    result = optimize.minimize(
        lambda weights: cross_entropy(pixels, weights),
        first,
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * modules,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1, "jac": np.ones_like},
        options={"maxiter": 500, "ftol": 1e-12},
    )
    weights = np.clip(result.x, 0, None)
    weights = np.where(weights < 1e-9, 0, weights)  # rounding of the solver at the bounds
    weights /= weights.sum()
    return Found(weights, cross_entropy(pixels, weights)[0], int(result.nit))


def cross_entropy(pixels: Pixels, weights: Floats) -> tuple[float, Floats]:
    """Return the paper's loss (9), the mean over all pixels, and its gradient (N,) with respect to the weights."""
    total = sum(pixels.counts)
    rest_each = pixels.counts[0] / len(pixels.rest) / total
    defect_each = pixels.counts[1] / len(pixels.defect) / total
    miss = np.maximum(1 - pixels.rest @ weights, LEAST)
    hit = np.maximum(pixels.defect @ weights, LEAST)
    loss = -rest_each * np.log(miss).sum() - defect_each * np.log(hit).sum()
    return float(loss), rest_each * (1 / miss) @ pixels.rest - defect_each * (1 / hit) @ pixels.defect


def logistic(pixels: Pixels, *, prior: Floats) -> Found:
    """Return non-negative logistic weights, held to the prior's direction.

    The probability of a defect is sigmoid(sum a_i phi_i + bias), a_i >= 0, and w = a / sum a. A bias is what the
    paper's search lacks: where phi = 0.5 lies has not to be right for the order of the pixels to be. The loss is the
    cross-entropy in which all defect pixels together weigh DEFECT_SHARE, divided as `Pixels.share` says, plus
    PRIOR_IMAGES / images times the squared length of that part of a which is at right angles to the prior. Convex.
    Scores may be on any scale: the unit is the deviation of the prior's map over defect-free pixels.
    """
    from scipy import optimize

    rest, defect = pixels.rest @ prior, pixels.defect @ prior
    unit = max(float(rest.std()), 1e-3 * float(np.ptp(np.concatenate([rest, defect])))) or 1.0
    rest, defect = pixels.rest / unit, pixels.defect / unit
    rest_each = (1 - DEFECT_SHARE) / len(rest)
    defect_each = DEFECT_SHARE * pixels.share
    direction = prior / np.linalg.norm(prior)
    strength = PRIOR_IMAGES / pixels.images

    def loss(point: Floats) -> tuple[float, Floats]:
        scale, bias = point[:-1], point[-1]
        false, true = rest @ scale + bias, defect @ scale + bias
        aside = scale - (scale @ direction) * direction
        value = rest_each * np.logaddexp(0, false).sum() + defect_each @ np.logaddexp(0, -true)
        up, down = rest_each * _sigmoid(false), defect_each * _sigmoid(-true)
        slope = up @ rest - down @ defect + 2 * strength * aside
        return float(value + strength * aside @ aside), np.append(slope, up.sum() - down.sum())

    result = optimize.minimize(
        loss,
        np.append(prior, -4.0),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * len(prior) + [(None, None)],
        options={"maxiter": 500, "ftol": 1e-12, "gtol": 1e-7},
    )
    scale = result.x[:-1]
    weights = scale / scale.sum() if scale.sum() > LEAST else prior
    return Found(np.asarray(weights, np.float64), float(result.fun), int(result.nit))


def aupro(pixels: Pixels, *, prior: Floats) -> Found:
    """Return the weights of the highest AUPRO on the pixels less a penalty, found one weight at a time.

    The penalty, PRIOR_IMAGES / images times sum w_i log(w_i / prior_i), holds the weights to the prior. From the prior,
    one weight at a time is multiplied by a factor or divided by it, as long as that helps; then by a smaller factor.
    Weights of 0 stay 0.
    """
    strength = PRIOR_IMAGES / pixels.images
    rest, defect = pixels.rest.astype(np.float32), pixels.defect.astype(np.float32)

    def loss(weights: Floats) -> float:
        some = weights > 0
        entropy = float((weights[some] * np.log(weights[some] / prior[some])).sum())
        row = weights.astype(np.float32)
        return strength * entropy - region_overlap(rest @ row, defect @ row, pixels.region)

    return _coordinate_search(loss, prior)


def _coordinate_search(loss: Callable[[Floats], float], start: Floats) -> Found:
    weights, best, steps, factor = start, loss(start), 0, np.e
    while factor > 1.05:
        before = best
        for index in np.flatnonzero(start):
            for change in (factor, 1 / factor):
                trial = weights.copy()
                trial[index] *= change
                trial /= trial.sum()
                value = loss(trial)
                steps += 1
                if value < best - 1e-6:
                    weights, best = trial, value
        if best == before:
            factor = factor**0.5
    return Found(weights, best, steps)


def region_overlap(rest: NDArray[np.floating], defect: NDArray[np.floating], region: NDArray[np.intp]) -> float:
    """Return AUPRO from the scores of defect-free pixels (P,) and of defect pixels (D,) with their regions (D,).

    As `metrics.pixel_metrics` has it, but for ties, of which the lower end counts.
    """
    above = 1 - np.searchsorted(np.sort(rest), defect, side="right") / len(rest)
    areas = np.bincount(region, weights=np.maximum(1 - above / FPR_LIMIT, 0))
    return float((areas / np.bincount(region)).mean())


def distance(pixels: Pixels, weights: Floats, other: Floats) -> float:
    """Return how unlike the combined maps of two sets of weights are: 1 less their squared correlation, in [0, 1].

    Scale and offset do not matter: they move with the threshold. Defects and the rest count half each.
    """
    maps = np.concatenate([pixels.rest, pixels.defect]) @ np.stack([weights, other], axis=1)
    share = np.concatenate([np.full(len(pixels.rest), 0.5 / len(pixels.rest)), 0.5 * pixels.share])
    centred = maps - share @ maps
    (one, both), (_, two) = (centred * share[:, None]).T @ centred
    return float(1 - both**2 / (one * two)) if one * two > 0 else 1.0


def _sigmoid(values: Floats) -> Floats:
    from scipy.special import expit

    return np.asarray(expit(values))
