"""What a model says of its input: from an image to what the teacher sees."""

from typing import Annotated, Literal

from pydantic import Field

from blemish.images.read import FULL_BITS
from blemish.storage.fields import Part


class PreprocessingPart(Part):
    """What becomes of an image before the teacher: RGB resized to the square, then (value / 255 - mean) / std.

    bits: of the values of 16-bit images that are used; they are divided by (2^bits - 1) / 255.
    """

    resize: Literal["pillow bilinear"] = "pillow bilinear"
    mean: list[float] = Field(min_length=3, max_length=3)
    std: list[Annotated[float, Field(gt=0)]] = Field(min_length=3, max_length=3)
    bits: int = Field(default=FULL_BITS, gt=8, le=FULL_BITS)
