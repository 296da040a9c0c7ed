"""Weights from labelled images: search them, see whether the search collapsed, choose which modules to keep."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from blemish.errors import InputError, printable
from blemish.weighing import objectives
from blemish.weighing.labelled import LabelledMaps
from blemish.weighing.objectives import Floats, Found, Pixels

OBJECTIVES = ("logistic", "aupro", "paper")  # the default first
FEWER_PIXELS = (10_000, 250)  # the same while modules are dropped, which takes many searches
ALL_PIXELS = 40_000_000  # defect-free scores in the paper's search, 8 bytes each; of more, every n-th row and column
FEW = 1 / 3  # a search that leaves an effective number of modules below this share may have collapsed
FAR = 0.005  # and has, if other weights have an AUPRO that is higher by more than this


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
