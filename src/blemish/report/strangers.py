"""Strangers among the good: the held-out images that stand far out of the rest, with their pictures where these are."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from blemish.data.datasets import good_images, held_out_images
from blemish.data.layouts.labels import Labels
from blemish.data.sources import known, load
from blemish.errors import InputError, printable
from blemish.model.calibration import learnt_images, stranger_words
from blemish.model.header import Header, ScoredPart
from blemish.model.scorer import Scorer
from blemish.report.pictures import small
from blemish.report.shown import Stranger
from blemish.results.write import draw


def strangers_among(header: Header) -> list[Stranger]:
    """Return the strangers without pictures: who knows the header alone has none."""
    return [_named(header, header.calibration.held_out[index]) for index in header.strangers]


def strangers_in(scorer: Scorer, data: Path, *, labels: Labels) -> list[Stranger]:
    """Return the strangers, with picture and overlay of those that are found among the good images of a data set.

    One that trains has no overlay: the model has learnt it, and its verdict would be no verdict. Only images of a
    stranger's name are read. Raises InputError for a score map that is not finite.
    """
    header, found = scorer.header_, []
    for index in header.strangers:
        part = header.calibration.held_out[index]
        stranger = _named(header, part)
        for path in _called(part.name, data, labels):
            if pictured := _pictured(scorer, path, part, stranger):
                stranger = pictured
                break
        found.append(stranger)
    return found


def _named(header: Header, part: ScoredPart) -> Stranger:
    words = stranger_words(header.calibration, part, learnt=part.sha256 in learnt_images(header))
    return Stranger(name=printable(part.name), text=f"{words}.")


def _called(name: str, data: Path, labels: Labels) -> Iterator[Path]:
    """Yield the good images of a data set whose file has the name of a held-out one."""
    for find in (held_out_images, good_images):
        with suppress(InputError):  # a data set that has test images alone
            yield from (path for path in find(data, labels=labels) if path.name == PurePosixPath(name).name)


def _pictured(scorer: Scorer, path: Path, part: ScoredPart, stranger: Stranger) -> Stranger | None:
    """Return a stranger with its pictures if a file holds it, by its pixels; None if not, or if it cannot be read."""
    header = scorer.header_
    try:
        image = load(path, bits=header.bits, roi=header.roi)
    except InputError:
        return None
    if known(path, image, told_by=header.data.told_by).sha256 != part.sha256:
        return None
    if part.sha256 in learnt_images(header):
        return Stranger(name=stranger.name, text=stranger.text, picture=small(image))
    (prediction,) = scorer.predict([image])
    heat = draw(image, prediction, header)
    return Stranger(name=stranger.name, text=stranger.text, picture=small(image), overlay=small(heat))
