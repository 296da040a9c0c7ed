"""What is printed of thresholds: what they promise, what else the held-out images could promise, who stands out."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from blemish.errors import printable
from blemish.model.calibration import NO_SCORES, learnt_images, promises, stranger_words, were_scores
from blemish.model.header import Header
from blemish.printing.numbers import many
from blemish.verdict.threshold import menu, percent

STEPS = 6  # of the menu that are printed


def threshold_facts(header: Header) -> list[tuple[str, str]]:
    """Return lines on the thresholds of a model: each with its promise, and the menu of all others."""
    calibration = header.calibration
    facts = [(f"{word} above", f"{level:.4f}{_promise(rate)}") for word, level, rate in promises(calibration)]
    if calibration.held_out:
        steps = menu(calibration.scores)
        shown = [f"{percent(one.promise)}: {one.threshold:.4f}" for one in steps[:STEPS]]
        shown[0] += " (one image decides)"
        facts.append(("could be", ", ".join(shown) + (", ..." if len(steps) > STEPS else "")))
        facts.append(("held out", evidence(header)))
    else:
        facts.append(("held out", NO_SCORES))
    return facts


def worst_lines(folder: Path, worst: Sequence[tuple[str, float]]) -> list[str]:
    """Return lines on the images that fit worst among those that trained, and where to look at them."""
    names = ", ".join(f"{printable(name)} {score:.4f}" for name, score in worst)
    return [
        f"of those that trained these fit worst: {names}",
        f"look at {printable(folder)}; leave out what is no good part, and fit again",
    ]


def roi_facts(header: Header) -> list[tuple[str, str]]:
    """Return a line on the region of interest of a model; none where all pixels count."""
    return [] if header.roi is None else [("counts", header.roi.words)]


def tiles_facts(header: Header) -> list[tuple[str, str]]:
    """Return a line on how a model cuts images; none where it does not."""
    return [] if header.tiles is None else [("tiles", header.tiles.words.removeprefix("tiles "))]


def moved_lines(before: Header, after: Header) -> list[str]:
    """Say that thresholds given as scores were lost with their scale, where that is so."""
    if before.scale == after.scale or not were_scores(before.calibration):
        return []
    return ["the thresholds were given as scores on the old scale; new ones are set by rates (blemish calibrate)"]


def evidence(header: Header) -> str:
    """Say what the thresholds come from: so many held-out good images, or groups of them."""
    images = header.calibration.held_out
    groups = len(header.calibration.scores)
    text = many(len(images), "good image")
    if others := len(learnt_images(header)):
        text += (
            f" scored by students that had not learnt them: {len(images) - others} by this model's, {others} by others"
        )
    if groups < len(images):
        text += f"; in {many(groups, 'group')}, and the promise is about a new group"
    return text


def stranger_lines(header: Header, *, model: Path, pictures: Path | None) -> list[str]:
    """Return a line for each held-out image that stands far out of the rest.

    model: what the command that leaves it out is to name; pictures: the folder with their overlays, or the plain
    pictures of those that train, if there is one.
    """
    calibration, trained = header.calibration, learnt_images(header)
    found = [calibration.held_out[index] for index in header.strangers]
    lines = [stranger_words(calibration, image, learnt=image.sha256 in trained) for image in found]
    if found:
        kind = "pictures" if any(image.sha256 in trained for image in found) else "overlays"
        place = f" ({kind} in {printable(pictures)})" if pictures else ""
        names = " ".join(f"--without {shlex.quote(printable(image.name))}" for image in found)
        lines.append(f"look at {'it' if len(found) == 1 else 'them'}{place}; if one is no good part:")
        lines.append(f"  blemish calibrate {shlex.quote(printable(model))} {names} --out MODEL2")
    return lines


def _promise(rate: float | None) -> str:
    return "" if rate is None else f"; of good parts like those held out at most {percent(rate)}"
