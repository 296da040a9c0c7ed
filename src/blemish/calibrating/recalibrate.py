"""New held-out scores and thresholds for a model or a bundle, whose modules and scale stay as they are; no torch."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import TypeVar

from blemish.data.copies import Kind, describe, used_images
from blemish.data.records import ImagePart
from blemish.data.sources import Source, check_no_masks, known, names_of
from blemish.errors import InputError, printable
from blemish.images.roi import Interest, read_roi
from blemish.model.calibration import Wanted, asked_before, choose
from blemish.model.header import Header, ScoredPart
from blemish.model.scorer import Scorer
from blemish.verdict.scale import image_score

AnyScorer = TypeVar("AnyScorer", bound=Scorer)
Report = Callable[[int, int], None]  # images scored, of how many
TRAINED: tuple[Kind, ...] = ("train",)
LEAST = 2  # held-out images: of one nobody can say what the second highest is


def looking_at(scorer: AnyScorer, interest: Interest, *, good: Sequence[Source], add: bool) -> AnyScorer:
    """Return a scorer with another region of interest, for `recalibrated` with the same good images.

    The same scorer if none is given; one that looks at all pixels for a border of 0 alone. Raises InputError for a
    region of interest that cannot be used, and without good images that are to be scored by it alone.
    """
    if not interest.given:
        return scorer
    if not good:
        raise InputError("region of interest: another one needs good images, which are scored by it: give GOOD")
    if add:
        raise InputError("add: scores by another region of interest cannot join those from before; leave it away")
    check_no_masks(good, interest.files)
    header = scorer.header_
    roi = read_roi(interest, side=header.reference_size)
    return scorer.with_header(Header.model_validate(header.model_copy(update={"roi": roi}).model_dump()))


def recalibrated(
    scorer: Scorer,
    good: Sequence[Source] = (),
    *,
    add: bool = False,
    without: Sequence[str] = (),
    wanted: Wanted = None,
    min_area: float | None = None,
    groups: Sequence[str] | None = None,
    report: Report | None = None,
) -> Header:
    """Return the header of a model with other held-out scores and thresholds on its scale.

    good: images of good parts that set the thresholds from now on, in place of those held out before, or with `add`
    beside them; none: the scores stay. without: names of held-out images that are no good parts after all. wanted:
    rates or scores; by default what was asked for before. min_area: the share of the image that a defect covers at
    least from now on, for which all held-out images must be given; by default that of before. groups: of `good`, one
    for each; the promise is then about a new group. report: called as images are scored. Raises InputError for images
    that trained the model, for names that are not among the held-out ones, and where fewer than LEAST are left.
    """
    header = scorer.header_
    if min_area is not None and (add or not good):
        raise InputError("min-area: needs good images, and no --add: all held-out scores are taken anew")
    least = header.calibration.min_area if min_area is None else min_area
    held = [(image, None) for image in header.calibration.held_out]
    parts = {part.sha256: part for part in header.data.held_out}
    if good:
        new, images = _scored(scorer, good, min_area=least, groups=groups, report=report)
        parts |= {part.sha256: part for part in images}
        fresh = {image.sha256 for image in new}
        held = [(image, None) for image in [*(one for one, _ in held if add and one.sha256 not in fresh), *new]]
    scores = _left([image for image, _ in held], without)
    if (good or without) and len(scores) < LEAST:
        raise InputError(f"good: need >= {LEAST} held-out images of different content, {len(scores)} would be left")
    calibration = header.calibration
    if good or without:
        calibration = calibration.model_copy(
            update={
                "held_out": scores,
                "earlier": None,
                "crossed": calibration.crossed if add or not good else 0,
                "min_area": least,
            }
        )
        wanted = wanted or asked_before(calibration)
    elif wanted is None:
        raise InputError("calibrate: nothing to do; give good images, --without, --false-alarms or --threshold")
    data = header.data.model_copy(update={"held_out": [parts[one.sha256] for one in scores if one.sha256 in parts]})
    update = {"calibration": choose(calibration, wanted), "data": data if good or without else header.data}
    return Header.model_validate(header.model_copy(update=update).model_dump())


def _scored(
    scorer: Scorer, good: Sequence[Source], *, min_area: float, groups: Sequence[str] | None, report: Report | None
) -> tuple[list[ScoredPart], list[ImagePart]]:
    """Return the scores of good images, of equal ones the first, and what tells them again; each is decoded once."""
    header = scorer.header_
    found: dict[str, tuple[ScoredPart, ImagePart]] = {}
    for index, (source, image, reference) in enumerate(scorer.reference_maps(good)):
        part = known(source, image, told_by=header.data.told_by)
        group = groups[index] if groups else ""
        score = image_score(reference, min_area=min_area)
        scored = ScoredPart(name=str(index), sha256=part.sha256, score=score, group=group)
        found.setdefault(part.sha256, (scored, part))
        if report:
            report(index + 1, len(good))
    parts = [part for _, part in found.values()]
    kept = [int(one.name) for one, _ in found.values()]
    names = names_of([good[index] for index in kept], parts)
    scored_parts = [one.model_copy(update={"name": name}) for (one, _), name in zip(found.values(), names, strict=True)]
    if uses := used_images(parts, header.data, kinds=TRAINED):
        summary = describe(uses, [one.name for one in scored_parts])
        raise InputError(f"good: the model was trained on {len(uses)} of these {len(parts)} images: {summary}")
    return scored_parts, parts


def _left(held: Sequence[ScoredPart], without: Sequence[str]) -> list[ScoredPart]:
    names = [image.name for image in held]
    for name in without:
        if name not in names:
            near = get_close_matches(name, names, n=1, cutoff=0.0)
            such = f", such as {printable(near[0])}" if near else ""
            raise InputError(f"without: {printable(name)} is none of the {len(names)} held-out images{such}")
        if names.count(name) > 1:
            raise InputError(f"without: {printable(name)} is the name of {names.count(name)} held-out images")
    return [image for image in held if image.name not in without]
