"""From held-out good images to the scale of a model, set once, and to its thresholds, which can be chosen anew."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from blemish.data.holdout import count_units
from blemish.errors import InputError, printable
from blemish.images.roi import RoiPart
from blemish.model.header import CalibrationPart, Header, ScoredPart
from blemish.verdict.connected import parts
from blemish.verdict.crossing import crossed
from blemish.verdict.scale import Scale, image_score, scale_of
from blemish.verdict.threshold import Budget, Thresholds, percent, promised, thresholds

Wanted = Budget | Thresholds | None  # rates, or scores, or neither: what the model has been asked for before
NO_SCORES = (
    "the model was made by an earlier version and keeps no held-out scores; blemish calibrate MODEL GOOD sets them"
)
AS_LONG = "as long as parts, light and camera stay as they were"


def calibrate(
    maps: NDArray[np.float32],
    images: Sequence[ScoredPart],
    *,
    score: str,
    wanted: Wanted = None,
    min_area: float = 0.0,
    others: Sequence[tuple[Sequence[ScoredPart], Sequence[float]]] = (),
    roi: RoiPart | None = None,
    surfaces: NDArray[np.float64] | None = None,
) -> CalibrationPart:
    """Return scale and thresholds from the maps (N, R, R) of held-out good images, before they are squashed.

    images: what they are called, with any score; min_area: of `image_score`; others: where few are held out, images
    that train and the scores, not yet squashed, that other students gave them. roi: where pixels count, default
    everywhere. surfaces: what the surface says of each of the held-out images, (N,), not yet squashed.
    Raises InputError for rates that so few images cannot carry.
    """
    scale = scale_of(maps if roi is None else maps[:, roi.inside], score=score)
    if roi is not None:
        maps = np.where(roi.inside, maps, maps.min())  # what does not count is nowhere the highest
    own = np.array([image_score(one, min_area=min_area) for one in maps])
    if surfaces is not None:
        own = np.maximum(own, surfaces)
    scored = _scored(images, own, scale)
    if others:
        there = [(_even(np.array(values), score), _units(called)) for called, values in others]
        moved = crossed((_even(own, score), _units(images)), there)
        for (called, _), values in zip(others, moved, strict=True):
            scored += _scored(called, np.minimum(np.exp(values), 1) if score == "paper" else values, scale)
    first = CalibrationPart(good=scale.good, limit=scale.limit, held_out=scored, review=1.0, min_area=min_area)
    first = first.model_copy(update={"crossed": len(others) + 1 if others else 0})
    return choose(first, wanted)


def _scored(images: Sequence[ScoredPart], values: NDArray[np.float64], scale: Scale) -> list[ScoredPart]:
    scores = scale.of(values.astype(np.float32)).tolist()
    return [image.model_copy(update={"score": score}) for image, score in zip(images, scores, strict=True)]


def _even(values: NDArray[np.float64], score: str) -> NDArray[np.float64]:
    """Return image scores where they are roughly symmetric: whitened ones are, those of the paper as logarithms."""
    return np.log(np.maximum(values, 1e-12)) if score == "paper" else values


def _units(images: Sequence[ScoredPart]) -> list[str]:
    return [f"group {image.group}" if image.group else f"image {index}" for index, image in enumerate(images)]


def calibrate_again(
    header: Header,
    maps: NDArray[np.float32],
    names: Sequence[str],
    *,
    score: str,
    wanted: Wanted = None,
    surfaces: NDArray[np.float64] | None = None,
) -> CalibrationPart:
    """Return what `calibrate` does for the images that a model holds out already, whose maps have changed.

    maps, surfaces: in the order of header.data.held_out; names: of images that the model keeps no name of. wanted: by
    default the rates that were asked for before, or the default's.
    """
    known = {image.sha256: image for image in header.calibration.held_out}
    images = [
        known.get(part.sha256, ScoredPart(name=name, sha256=part.sha256, score=0.0))
        for part, name in zip(header.data.held_out, names, strict=True)
    ]
    before = header.calibration
    return calibrate(
        maps, images, score=score, wanted=wanted or asked_before(before), min_area=before.min_area, roi=header.roi,
        surfaces=surfaces,
    )  # fmt: skip


def check_again(header: Header, wanted: Budget | None) -> None:
    """Raise InputError, before any work, for rates that the held-out images cannot carry once they are scored anew.

    The scores that other students gave to images that train are left behind then: these students are gone.
    """
    groups = {image.sha256: image.group for image in header.calibration.held_out}
    count = count_units([groups.get(part.sha256, "") for part in header.data.held_out])
    try:
        thresholds(range(count), wanted or asked_before(header.calibration))
    except InputError as error:
        if not header.calibration.crossed:
            raise
        way = "the model's other scores are by students that are gone; ask for another rate with --false-alarms"
        raise InputError(f"{error} ({way})") from None


def check_area(roi: RoiPart | None, least: float) -> None:
    """Raise InputError for a least area that no part of the region of interest has: nothing could be found."""
    if roi is None or not least:
        return
    largest = int(parts(roi.inside).areas().max()) / roi.inside.size
    if largest < least:
        raise InputError(
            f"min-area: {100 * least:.3g} % of the image is more than the largest part of the region of interest, "
            f"{100 * largest:.3g} %"
        )


def choose(calibration: CalibrationPart, wanted: Wanted) -> CalibrationPart:
    """Return the same scale and scores with other thresholds; raises InputError for rates that cannot be carried."""
    if isinstance(wanted, Thresholds):
        found, asked = wanted, []
    else:
        if not calibration.held_out:
            raise InputError(f"false alarms: {NO_SCORES}")
        found = thresholds(calibration.scores, wanted)
        asked = [rate for rate in (wanted.review, wanted.ng) if rate is not None] if wanted else []
    earlier = calibration.earlier if found == calibration.thresholds else None  # what it promised is of its threshold
    update = {"review": found.review, "ng": found.ng, "asked": asked, "earlier": earlier}
    return calibration.model_copy(update=update)


def with_thresholds(header: Header, wanted: Wanted) -> Header:
    """Return a header with the thresholds that are wanted, its own for None; raises InputError as `choose` does."""
    if wanted is None:
        return header
    return header.changed(calibration=choose(header.calibration, wanted))


def asked_before(calibration: CalibrationPart) -> Budget | None:
    """Return the rates that set a model's thresholds: what to set them by again once its scores have changed."""
    return Budget(*calibration.asked) if calibration.asked else None


def were_scores(calibration: CalibrationPart) -> bool:
    """Return whether the thresholds were given as scores: on another scale they would mean nothing."""
    if calibration.asked or not calibration.held_out:
        return False
    return calibration.thresholds != thresholds(calibration.scores)


def learnt_images(header: Header) -> set[str]:
    """Return the sha256 of the images that train and whose scores set the thresholds: other students scored them."""
    trained = {part.sha256 for part in header.data.train}
    return {image.sha256 for image in header.calibration.held_out if image.sha256 in trained}


def stranger_words(calibration: CalibrationPart, image: ScoredPart, *, learnt: bool = False) -> str:
    """Say of a held-out image that it stands far out of the rest, and whether it alone sets a threshold.

    learnt: whether it trains, so that only other students have seen what is strange about it.
    """
    alone = ", and alone sets a threshold" if image.score in (calibration.review, calibration.ng) else ""
    by = "; other students scored it: this model has learnt it, so its own map shows nothing" if learnt else ""
    return f"{printable(image.name)} scores {image.score:.4f}, far above the other held-out images{alone}{by}"


def promises(calibration: CalibrationPart) -> list[tuple[str, float, float | None]]:
    """Return (word, threshold, share) for each threshold, REVIEW's first.

    The share of new good images that score above it is expected to be at most so large; None where nothing is known.
    """
    named = calibration.thresholds.named
    if calibration.held_out:
        return [(word, level, promised(calibration.scores, level)) for word, level in named]
    known = calibration.earlier.false_alarm_rate if calibration.earlier else None  # of the only threshold there was
    return [(word, level, None if index else known) for index, (word, level) in enumerate(named)]


def promise_lines(header: Header) -> list[str]:
    """Return what the thresholds of a model promise of new good parts: sentences."""
    calibration = header.calibration
    if not calibration.held_out:
        known = calibration.earlier
        told = f"{known.held_out} held-out good images promised {percent(known.false_alarm_rate)}" if known else ""
        return [f"{told}, on average and {AS_LONG}."] * bool(told) + [f"{NO_SCORES[0].upper()}{NO_SCORES[1:]}."]
    scores = calibration.scores
    either = "NG" if calibration.ng is None else "REVIEW or NG"
    odds = _odds(scores, calibration.review)
    line = f"{held_out_words(header)}: a new good part is called {either} with a probability of {odds}"
    if calibration.ng is not None:
        line += f", and NG with {_odds(scores, calibration.ng)}"
    lines = [f"{line}, on average and {AS_LONG}."]
    if len(scores) < len(calibration.held_out):
        lines.append("The promise is about parts of a new group: of each group the highest score counts.")
    if others := len(learnt_images(header)):
        own = len(calibration.held_out) - others
        lines.append(f"Few images could be held out: {own} were scored by this model's students, {others} by others.")
    return [*lines, "Nothing is promised about defects: what is found of them takes labelled ones."]


def held_out_words(header: Header) -> str:
    """Say how many good images, or groups of them, a promise rests on."""
    images, units = len(header.calibration.held_out), len(header.calibration.scores)
    said = f"{images} held-out good images"
    if learnt_images(header):
        said = f"{images} good images scored by students that had not learnt them"
    return said if units == images else f"{units} groups of {said}"


def _odds(scores: Sequence[float], threshold: float) -> str:
    rank = 1 + sum(score > threshold for score in scores)
    if rank > len(scores):
        return "100 % at most: it lies below every held-out score"
    return f"at most {percent(promised(scores, threshold))} ({rank} in {len(scores) + 1})"
