"""New held-out scores and thresholds for a model or a bundle, whose modules and scale stay as they are; no torch."""

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import PurePath
from typing import TypeVar

import numpy as np

from blemish.data.copies import Kind, Use, describe, used_images
from blemish.data.holdout import count_units
from blemish.data.layouts.labels import Say, silent
from blemish.data.records import ImagePart
from blemish.data.sources import Source, check_no_masks, identify, known, names_of
from blemish.data.together.twins import find_twins, look
from blemish.data.together.units import units
from blemish.errors import InputError, printable
from blemish.images.roi import Interest, read_roi
from blemish.model.calibration import Wanted, asked_before, check_area, choose, were_scores, with_thresholds
from blemish.model.header import Header, ScoredPart
from blemish.model.scorer import Scorer

AnyScorer = TypeVar("AnyScorer", bound=Scorer)
Report = Callable[[int, int], None]  # images scored, of how many
TRAINED: tuple[Kind, ...] = ("train",)
HASH = 8  # characters of a sha256 that name an image
NEAR = 3  # held-out names that the error about an unknown one lists
LEAST = 2  # held-out images: of one nobody can say what the second highest is


def looking_at(
    scorer: AnyScorer, interest: Interest, *, good: Sequence[Source], add: bool, say: Say = silent
) -> tuple[AnyScorer, list[Source]]:
    """Return a scorer with another region of interest, and the good images that `recalibrated` is to score by it.

    The same scorer and images if none is given; one that looks at all pixels for a border of 0 alone. Of the images of
    the fit those that trained are passed over, where any that it held out are among them; say: called with a line on
    that. Raises InputError for a region of interest that cannot be used, and without good images that are to be scored
    by it alone.
    """
    if not interest.given:
        return scorer, list(good)
    if not good:
        raise InputError("region of interest: another one needs good images, which are scored by it: give GOOD")
    if add:
        raise InputError("add: scores by another region of interest cannot join those from before; leave it away")
    check_no_masks(good, interest.files)
    header = scorer.header_
    roi = read_roi(interest, side=header.reference_size)
    return scorer.with_header(header.changed(roi=roi)), _untrained(header, good, say=say)


def _untrained(header: Header, good: Sequence[Source], *, say: Say) -> list[Source]:
    """Return good images but those that trained, if any that the model holds out is there; else all of them."""
    parts = identify(good, told_by=header.data.told_by, bits=header.bits)
    held = _held_out(header) & {part.sha256 for part in parts}
    if not held:
        return list(good)
    trained = {use.index for use in _trained(parts, header)}
    left = [index for index in range(len(good)) if index not in trained]
    own = sum(parts[index].sha256 in held for index in left)
    new = f" and {len(left) - own} new" if len(left) > own else ""
    if trained:
        say(f"good: {own} held-out{new} images used, {len(trained)} passed over as they trained")
    if header.calibration.crossed:
        say("the scores that other students gave to images that train are gone: the promise now rests on these alone")
    return [good[index] for index in left]


def _held_out(header: Header) -> set[str]:
    return {part.sha256 for part in header.data.held_out}


def _trained(parts: Sequence[ImagePart], header: Header) -> list[Use]:
    """Return which images trained, or are near copies of one that did; of those that the model holds out none."""
    held = _held_out(header)
    uses = used_images(parts, header.data, kinds=TRAINED)
    return [use for use in uses if use.same_picture or parts[use.index].sha256 not in held]


def recalibrated(
    scorer: Scorer,
    good: Sequence[Source] = (),
    *,
    add: bool = False,
    without: Sequence[str] = (),
    wanted: Wanted = None,
    min_area: float | None = None,
    groups: Sequence[str] | None = None,
    say: Say = silent,
    report: Report | None = None,
) -> Header:
    """Return the header of a model with other held-out scores and thresholds on its scale.

    good: images of good parts that set the thresholds from now on, in place of those held out before, or with `add`
    beside them; none: the scores stay. without: names of held-out images that are no good parts after all. wanted:
    rates or scores; by default what was asked for before. min_area: the share of the image that a defect covers at
    least from now on, for which all held-out images must be given; by default that of before. groups: of `good`, one
    for each; the promise is then about a new group. say: called with a line on twins; report: called as
    images are scored. Raises InputError for images
    that trained the model, for names that are not among the held-out ones, and where fewer than LEAST are left.
    """
    header = scorer.header_
    if min_area is not None and (add or not good):
        raise InputError("min-area: needs good images, and no --add: all held-out scores are taken anew")
    if not good and not without:
        if wanted is None:
            raise InputError("calibrate: nothing to do; give good images, --without, --false-alarms or --threshold")
        return with_thresholds(header, wanted)
    before = header.calibration
    least = before.min_area if min_area is None else min_area
    check_area(header.roi, least)
    held, parts = before.held_out, {part.sha256: part for part in header.data.held_out}
    if good:
        new, images = _scored(scorer, good, min_area=least, groups=groups, say=say, report=report)
        parts |= {part.sha256: part for part in images}
        held = [*(_kept(held, new) if add else []), *new]
    scores = _left(held, without)
    if (units := count_units([image.group for image in scores])) < LEAST:
        what = "groups" if any(image.group for image in scores) else "images of different content"
        raise InputError(f"good: need >= {LEAST} held-out {what}, {units} would be left")
    crossed = before.crossed if add or not good else 0
    update = {"held_out": scores, "earlier": None, "crossed": crossed, "min_area": least}
    same = before.thresholds if were_scores(before) else asked_before(before)
    calibration = choose(before.model_copy(update=update), wanted or same)
    data = header.data.model_copy(update={"held_out": [parts[one.sha256] for one in scores if one.sha256 in parts]})
    return header.changed(calibration=calibration, data=data)


def _kept(held: Sequence[ScoredPart], new: Sequence[ScoredPart]) -> list[ScoredPart]:
    """Return the held-out images that stay beside new ones; InputError where only some are in groups."""
    fresh = {image.sha256 for image in new}
    kept = [image for image in held if image.sha256 not in fresh]
    if kept and any(image.group for image in kept) != any(image.group for image in new):
        raise InputError("add: the images from before are in groups or the new ones are, but not both; see --group-by")
    return kept


def _scored(
    scorer: Scorer,
    good: Sequence[Source],
    *,
    min_area: float,
    groups: Sequence[str] | None,
    say: Say,
    report: Report | None,
) -> tuple[list[ScoredPart], list[ImagePart]]:
    """Return the scores of good images and what tells them again; each is decoded once.

    Of equal images, and of twins that are in no group, the first counts alone.
    """
    header, looks, scores, parts = scorer.header_, [], [], []
    for index, (source, image, reference) in enumerate(scorer.references(good), start=1):
        parts.append(known(source, image, told_by=header.data.told_by))
        looks.append(look(image))
        scores.append(reference.score(min_area=min_area))
        if report:
            report(index, len(good))
    names, hashes = names_of(good, parts), [part.sha256 for part in parts]
    if uses := _trained(parts, header):
        raise InputError(
            f"good: the model was trained on {len(uses)} of these {len(parts)} images: {describe(uses, names)}"
        )
    twins = find_twins(parts, np.stack(looks))
    keys, called = units(hashes, twins=twins, groups=groups)
    first: dict[tuple[str, str], int] = {}
    for index, key in enumerate(keys):
        first.setdefault((key, hashes[index] if called[index] else ""), index)
    if twins:
        one, other = (printable(names[index]) for index in twins[0])
        say(f"one photograph saved twice counts once: {len(twins)} pairs, such as {one} and {other}")
    chosen = sorted(first.values())
    scored = [ScoredPart(name=names[one], sha256=hashes[one], score=scores[one], group=called[one]) for one in chosen]
    return scored, [parts[one] for one in chosen]


def _left(held: Sequence[ScoredPart], without: Sequence[str]) -> list[ScoredPart]:
    """Return the held-out images but those named: by name, as it is or as it is printed, by a path, or by hash.

    A path means the image whose name it ends with, or else has as its last part.
    """
    out: set[str] = set()
    for name in without:
        meant = [image for image in held if name in (image.name, printable(image.name))]
        meant = meant or [image for image in held if len(name) >= HASH and image.sha256.startswith(name)]
        meant = meant or [
            image for image in held if f"/{name}".endswith((f"/{image.name}", f"/{printable(image.name)}"))
        ]
        meant = meant or [image for image in held if PurePath(image.name).name == PurePath(name).name]
        if not meant:
            near = get_close_matches(name, [image.name for image in held], n=NEAR, cutoff=0.0)
            such = f", such as {', '.join(map(printable, near))}" if near else ""
            raise InputError(f"without: {printable(name)} is none of the {len(held)} held-out images{such}")
        if len(meant) > 1:
            hashes = " or ".join(image.sha256[:HASH] for image in meant)
            many = f"{len(meant)} held-out images; name one by its hash: {hashes}"
            raise InputError(f"without: {printable(name)} is the name of {many}")
        out.add(meant[0].sha256)
    return [image for image in held if image.sha256 not in out]
