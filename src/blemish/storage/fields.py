"""JSON that is checked to the last field, with one wording for what is wrong, whatever file it comes from."""

import json
from collections import Counter
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    StringConstraints,
    ValidationError,
    model_serializer,
)

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
UtcTime = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]+)?(Z|\+00:00)$")]


class Part(BaseModel):
    """A part of a header: unknown fields, other types and numbers that are not finite are refused; nothing changes.

    SAID_IF_ANY: the fields that are written only where they say something, so that versions from before them read all
    other models.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    SAID_IF_ANY: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value or name not in self.SAID_IF_ANY}


def read_object(text: str | bytes) -> dict[str, Any]:
    """Return the object that a JSON text is, bytes being UTF-8; raises ValueError that says why it is none."""
    try:
        value = json.loads(text if isinstance(text, str) else text.decode(), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from error
    except ValueError as error:
        raise ValueError(f"not valid JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def first_fault(error: ValidationError) -> str:
    """Return what is wrong with the first faulty field: "field NAME: why, got VALUE"."""
    first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))[:80]
    found = f", got {first['input']!r}" if isinstance(first["input"], int | float | str) else ""
    return f"field {field}: {first['msg'].removeprefix('Value error, ')}{found}"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"duplicate key {name}")
    return value
