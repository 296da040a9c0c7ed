"""Weights from labelled images: search them, see whether the search collapsed, choose which modules to keep."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from blemish import objectives
from blemish.errors import InputError, printable
from blemish.objectives import Floats, Found, Pixels

OBJECTIVES = ("logistic", "aupro", "paper")  # the default first
REST_PIXELS, REGION_PIXELS = 100_000, 1000  # how many a search sees, of all defect-free ones and of each region
FEWER_PIXELS = (10_000, 250)  # the same while modules are dropped, which takes many searches
ALL_PIXELS = 40_000_000  # defect-free scores in the paper's search, 8 bytes each; of more, every n-th row and column
FEW = 1 / 3  # a search that leaves an effective number of modules below this share may have collapsed
FAR = 0.005  # and has, if other weights have an AUPRO that is higher by more than this


@dataclass(frozen=True, slots=True)
class LabelledMaps:
    """The score maps of labelled images, module by module, and the truth.

    names: the N modules, SIZE/LEVEL. maps: for each of them (I, h, w) float32 at its own resolution. masks: (I, R, R)
    bool at the reference size R, True on defects. labels: of the I images, "good" or the type of defect.
    Raises InputError where these do not fit together, for maps that are not finite, and without a pixel of each kind.
    """

    names: Sequence[str]
    maps: Sequence[NDArray[np.float32]]
    masks: NDArray[np.bool_]
    labels: Sequence[str]

    def __post_init__(self) -> None:
        count = len(self.labels)
        if not self.names or len(self.names) != len(self.maps):
            raise InputError(f"maps: {len(self.maps)} maps vs {len(self.names)} modules, expected one for each")
        if self.masks.dtype != np.bool_ or self.masks.ndim != 3 or self.masks.shape[1] != self.masks.shape[2]:
            shape = "x".join(map(str, self.masks.shape))
            raise InputError(f"masks: {self.masks.dtype} {shape} is not allowed, expected bool, images x R x R")
        if len(self.masks) != count:
            raise InputError(f"masks: {len(self.masks)} masks vs {count} labels, expected one of each for each image")
        for name, values in zip(self.names, self.maps, strict=True):
            if values.dtype != np.float32 or values.ndim != 3 or len(values) != count:
                shape = "x".join(map(str, values.shape))
                raise InputError(f"map of {printable(name)}: {values.dtype} {shape}, expected float32, {count} x h x w")
            if not np.isfinite(values).all():
                raise InputError(f"map of {printable(name)}: holds scores that are not finite")
        for label, mask in zip(self.labels, self.masks, strict=True):
            if label == "good" and mask.any():
                raise InputError("masks: an image labelled good has defect pixels, expected none")
        if not self.masks.any() or self.masks.all():
            kind = "defect-free" if self.masks.size and self.masks.all() else "defect"
            raise InputError(f"masks: no {kind} pixel in {count} images, so there is nothing to weigh by")

    def images(self, indices: Sequence[int]) -> "LabelledMaps":
        """Return the maps of some of the images, in the order of the indices."""
        some = list(indices)
        return LabelledMaps(
            self.names, [one[some] for one in self.maps], self.masks[some], [self.labels[index] for index in some]
        )

    def modules(self, indices: Sequence[int]) -> "LabelledMaps":
        """Return the maps of some of the modules, in the order of the indices."""
        return replace(
            self, names=[self.names[index] for index in indices], maps=[self.maps[index] for index in indices]
        )

    def pixels(self, *, rest: int = REST_PIXELS, region: int = REGION_PIXELS) -> Pixels:
        """Return pixels spread evenly: of the defect-free ones at most about `rest`, `region` of each region."""
        free = self.masks.size - np.count_nonzero(self.masks)
        step = max(1, int(np.ceil((free / rest) ** 0.5)))
        return objectives.gather(self._resampled(), rest_step=step, region=region)

    def _resampled(self) -> Iterator[tuple[NDArray[np.float32], NDArray[np.bool_]]]:
        """Yield each image's maps at the reference size, (N, R, R), and its mask."""
        import torch

        from blemish.imitation import resample

        for index, mask in enumerate(self.masks):
            parts = [resample(torch.from_numpy(one[index : index + 1]), len(mask)) for one in self.maps]
            yield torch.cat(parts).numpy(), mask


@dataclass(frozen=True, slots=True)
class Search:
    """What a search found: weights (N,) float64 that sum to 1, its loss there, its steps and seconds.

    collapsed: nearly all weight is on few modules, and on these very images other weights have a clearly higher AUPRO;
    reason: one line that says so, empty if it did not collapse.
    """

    weights: Floats
    loss: float
    steps: int
    seconds: float
    collapsed: bool
    reason: str


def search(labelled: LabelledMaps, *, objective: str, prior: Sequence[float] | Floats) -> Search:
    """Return the weights that an objective finds for the modules' maps of labelled images.

    objective: one of OBJECTIVES, all in objectives.py. "paper" needs the maps of the score "paper", in [0, 1]; the
    others take maps of either score. prior: (N,) weights that need no labels; what "logistic" and "aupro" are held to.
    The same maps give the same weights. Raises InputError for another objective, for a prior that is not N weights,
    for maps that the objective cannot use.
    """
    started = time.perf_counter()
    held = _prior(labelled, prior)
    found = _find(_pixels(labelled, objective), objective, held)
    reason = _collapse(labelled, found.weights, held)
    return Search(found.weights, found.loss, found.steps, time.perf_counter() - started, bool(reason), reason)


def keep_best(labelled: LabelledMaps, k: int, *, objective: str, prior: Sequence[float] | Floats) -> list[int]:
    """Return the indices, ascending, of the k modules to keep.

    "paper": those of the highest weight; of modules with equal ones (many have 0) those whose weight would cost least.
    The others: modules are dropped one by one, each time that one without which the others, weighed anew, come nearest
    to the map of all modules: what counts is not how much of a module there is, but what nothing else has.
    The kept modules are to be weighed anew: `search(labelled.modules(kept), ...)` with their part of the prior.
    Raises InputError as `search` does and for k outside 1 ... N.
    """
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= len(labelled.names):
        raise InputError(f"k: {k} is not allowed, expected 1 to {len(labelled.names)} modules")
    held = _prior(labelled, prior)
    pixels = _pixels(labelled, objective)
    weights = _find(pixels, objective, held).weights
    if objective == "paper":
        _, slope = objectives.cross_entropy(pixels, weights)
        return sorted(np.lexsort((slope, -weights))[:k].tolist())
    fewer, (rest, region) = list(range(len(held))), FEWER_PIXELS
    sample = labelled.pixels(rest=rest, region=region)

    def loss_without(some: list[int]) -> float:
        anew = np.zeros_like(held)
        anew[some] = _find(sample.modules(some), objective, held[some]).weights
        return objectives.distance(sample, anew, weights)

    while len(fewer) > k:
        fewer = min(([other for other in fewer if other != index] for index in fewer), key=loss_without)
    return fewer


def unlikeness(labelled: LabelledMaps, weights: Floats, sets: Iterable[Sequence[int]]) -> list[float]:
    """Return how unlike the map of all modules the map of each set of modules is, with the same weights: 0 ... 1.

    As in `keep_best` nothing is ranked by the labels themselves: of many sets the best on few images is a lucky one.
    """
    rest, region = FEWER_PIXELS
    sample = labelled.pixels(rest=rest, region=region)
    found = []
    for some in sets:
        part = np.zeros_like(weights)
        part[list(some)] = weights[list(some)]
        found.append(objectives.distance(sample, part, weights))
    return found


def _pixels(labelled: LabelledMaps, objective: str) -> Pixels:
    """Return the pixels that an objective looks at; raises InputError for maps that it cannot use."""
    if objective not in OBJECTIVES:
        raise InputError(f"objective: {printable(objective)} is not known; known: {', '.join(OBJECTIVES)}")
    if objective != "paper":
        return labelled.pixels()
    for name, values in zip(labelled.names, labelled.maps, strict=True):
        low, high = float(values.min()), float(values.max())
        if low < 0 or high > 1:
            reach = f"those of {printable(name)} reach from {low:.3g} to {high:.3g}"
            raise InputError(f'objective paper: needs score maps in [0, 1], of score "paper"; {reach}')
    return labelled.pixels(rest=ALL_PIXELS // len(labelled.names), region=labelled.masks[0].size)


def _find(pixels: Pixels, objective: str, prior: Floats) -> Found:
    if objective == "paper":
        return objectives.paper(pixels)
    held = prior / prior.sum() if prior.any() else np.full(len(prior), 1 / len(prior))
    return (objectives.aupro if objective == "aupro" else objectives.logistic)(pixels, prior=held)


def _prior(labelled: LabelledMaps, prior: Sequence[float] | Floats) -> Floats:
    weights = np.asarray(prior, np.float64)
    if weights.shape != (len(labelled.names),) or not (weights >= 0).all() or not 0 < weights.sum() < np.inf:
        raise InputError(f"prior: expected {len(labelled.names)} weights that are not negative and not all 0")
    return np.asarray(weights / weights.sum())


def _collapse(labelled: LabelledMaps, weights: Floats, prior: Floats) -> str:
    """Return one line that says why the weights are a collapse, or nothing."""
    some = weights[weights > 0]
    if np.exp(-(some * np.log(some)).sum()) >= FEW * len(weights):
        return ""
    pixels = labelled.pixels()

    def accuracy(given: Floats) -> float:
        return objectives.region_overlap(pixels.rest @ given, pixels.defect @ given, pixels.region)

    others = {"equal weights": np.full(len(weights), 1 / len(weights)), "the weights without labels": prior}
    title, best = max(((name, accuracy(given)) for name, given in others.items()), key=lambda pair: pair[1])
    own = accuracy(weights)
    if best <= own + FAR:
        return ""
    top = int(weights.argmax())
    share = f"{weights[top]:.1%} of the weight is on {labelled.names[top]}"
    return f"{share}; AUPRO on the images of the search: {own:.3f}, with {title} {best:.3f}"
