"""What tells an image again, and which images a model has met; a part of every model's header."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from blemish.storage.fields import Part, Sha256

Thumbnail = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{512}$")]  # 16 x 16 grey bytes, see copies.py


# What the sha256 of an image is of: the bytes of its file, as in models of 0.1, or its shape and pixels, so that a file
# and the array read from it are one image.
Rule = Literal["bytes", "pixels"]


class ImagePart(Part):
    """What tells an image again: the sha256 of its content, and the thumbnail that near copies share."""

    sha256: Sha256
    thumbnail: Thumbnail


class DataPart(Part):
    """Every image that the model has met.

    The good ones of the fit, `train` and `held_out` (of training; they set the thresholds); the labelled ones that
    `weighed` the modules, and those that `judged` thresholds; and those that it was `tested` on, as far as older
    versions have noted them: now a list beside the model (model/tested.py) says it. One rule tells all, `told_by`.
    """

    train: list[ImagePart]
    held_out: list[ImagePart]
    weighed: list[ImagePart] = Field(default_factory=list)
    judged: list[ImagePart] = Field(default_factory=list)
    tested: list[ImagePart] = Field(default_factory=list)
    told_by: Rule = "bytes"
