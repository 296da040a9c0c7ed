"""How labels are taken, and what they say of an image: that it is good, its type of defect, its outlines, nothing."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unicodedata import normalize

from blemish.checks import shown
from blemish.data.layouts.shapes import Drawings, Shape
from blemish.data.listing import listed
from blemish.data.outlines import Outlines
from blemish.data.words import meaning
from blemish.errors import InputError, printable
from blemish.images.read import image_shape

Say = Callable[[str], None]  # a line for the user


def silent(_: str) -> None:
    """Say nothing."""


@dataclass(frozen=True, slots=True)
class Labels:
    """How the labels of labelling tools are taken; data sets without such labels do not ask.

    unlabelled: "good" if an image without a label is good, "" if it is refused. defects: the classes that are defects,
    the others are ignored; all if empty. say: called with each line that a user should read.
    """

    unlabelled: str = ""
    defects: tuple[str, ...] = ()
    say: Say = field(default=silent, compare=False)

    def __post_init__(self) -> None:
        if self.unlabelled not in ("", "good"):
            raise InputError(f"unlabelled: {shown(self.unlabelled)} is not allowed, expected good")
        if not isinstance(self.defects, tuple | list) or not all(isinstance(name, str) for name in self.defects):
            raise InputError(
                f'defects: {shown(self.defects)} is not allowed, expected names such as ("scratch", "dent")'
            )
        for name in self.defects:
            if not name.strip():
                raise InputError("defects: a name is missing, expected names such as scratch,dent")
            if meaning(name) == "good":
                raise InputError(f"defects: {printable(name)} means good, expected names of defects")

    @staticmethod
    def checked(labels: object) -> "Labels":
        """Return labels that are such; InputError for anything else."""
        if not isinstance(labels, Labels):
            raise InputError(f"labels: {type(labels).__name__} is not allowed, expected Labels(...)")
        return labels

    def check_known(self, classes: Iterable[str]) -> None:
        """Raise ValueError, in words for a user, for a defect that is none of the classes."""
        known = sorted(classes)
        if strange := [name for name in map(_normal, self.defects) if name not in known]:
            raise ValueError(f"defects: no class {listed(strange)} (there are: {listed(known) or 'none'})")

    def defective(self, kind: str) -> bool:
        """Tell whether a class is one of defects."""
        return kind in map(_normal, self.defects) if self.defects else meaning(kind) != "good"

    def drawn(self, shapes: Sequence[Shape]) -> tuple[str, list[Shape]]:
        """Return what shapes say of their image: its label, "" for nothing, and those of defects.

        The label is "good", or the classes of its defects in the order of the alphabet with + between them.
        """
        defects = [shape for shape in shapes if self.defective(shape.kind)]
        if defects:
            return "+".join(sorted({shape.kind for shape in defects})), defects
        return ("good" if any(meaning(shape.kind) == "good" for shape in shapes) else ""), []


def outlines(image: Path, shapes: Sequence[Shape], drawings: Drawings) -> Outlines | None:
    """Return the outlines of an image's defects, None if they do not tell all its defective pixels.

    Raises InputError for an image that cannot be read, where a label file does not say its size.
    """
    if not shapes or not all(shape.has_outline for shape in shapes):
        return None
    height, width = drawings.sizes[image] or image_shape(image)[:2]
    polygons = tuple(corners for shape in shapes for corners in shape.polygons)
    return Outlines(height, width, polygons, tuple(runs for shape in shapes for runs in shape.runs))


def unknown_pixels(drawn: Iterable[Sequence[Shape]]) -> list[str]:
    """Return what to say of defects that not all outlines are known of, given the shapes of each defective image."""
    none = only = beside = 0
    for shapes in drawn:
        having = [shape.has_outline for shape in shapes]
        none += not having
        only += bool(having) and not any(having)
        beside += any(having) and not all(having)
    what, unknown = "boxes, points, lines or tags", "which of their pixels are defective is not known"
    parts = (none, "no label"), (only, f"{what} only"), (beside, f"{what} beside outlines")
    return [f"{many(count, 'defect')} {_have(count)} {how}: {unknown}" for count, how in parts if count]


def taken_as_good(count: int, others: Sequence[str] = ()) -> str:
    """Return what to say of images that are good because the user says so; others: classes on them, of no defect."""
    drawn = f" (on them, and no defect: {listed(others)})" if others else ""
    return f"{many(count, 'unlabelled image')} {'is' if count == 1 else 'are'} taken as good{drawn}"


def many(count: int, what: str = "image") -> str:
    """Return a count and what is counted."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def _have(count: int) -> str:
    return "has" if count == 1 else "have"


def _normal(name: str) -> str:
    return normalize("NFC", name.strip())
