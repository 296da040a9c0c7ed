"""The model file: one safetensors file with the tensors and a readable, checked header; nothing is ever unpickled.

The metadata of the file hold two strings: `sha256`, the digest of the whole file taken with these 64 digits as zeros,
and `blemish`, the header as JSON.
"""

import json
import math
import os
import stat
from collections import Counter
from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import version
from typing import Annotated, Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, ValidationInfo, field_validator

from blemish.errors import InputError, ModelFileError, printable
from blemish.files import write_atomically

SCHEMA_VERSION = 1

_LARGEST_HEADER = 100_000_000  # bytes; what the safetensors library accepts
_DIGEST_FIRST = b'{"__metadata__":{"sha256":"'  # so that the digest has a fixed place in the file
_DIGEST = slice(8 + len(_DIGEST_FIRST), 8 + len(_DIGEST_FIRST) + 64)
_PICKLES = (b"PK", *(bytes([0x80, protocol]) for protocol in range(2, 6)))  # zip (.pt, .npz) and bare pickles

Tensors = dict[str, NDArray[np.float32]]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
UtcTime = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]+)?(Z|\+00:00)$")]
Side = Annotated[int, Field(ge=64, le=1024, multiple_of=32)]
Setting = bool | int | float | str | None | list[bool | int | float | str | None]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class TeacherPart(_Part):
    """Which teacher the modules imitate; sha256 is that of its weights, embedded says whether the file holds them."""

    name: str
    sha256: Sha256
    embedded: bool


class PreprocessingPart(_Part):
    """What becomes of an image before the teacher: RGB resized to the square, then (value / 255 - mean) / std."""

    resize: Literal["pillow bilinear"] = "pillow bilinear"
    mean: list[float] = Field(min_length=3, max_length=3)
    std: list[Annotated[float, Field(gt=0)]] = Field(min_length=3, max_length=3)


class ModulePart(_Part):
    """One kept module and its share of the combined score map."""

    size: Side
    level: int = Field(ge=2, le=5)
    weight: float = Field(ge=0)


class CalibrationPart(_Part):
    """The threshold taken from held_out good images, and the share of good images it may call defective.

    good and limit are the median of good pixels and the threshold before whitened scores are squashed.
    """

    held_out: int = Field(ge=0)
    threshold: float = Field(gt=0)
    false_alarm_rate: float = Field(gt=0, le=1)
    good: float = 0.0
    limit: float = 1.0


class DataPart(_Part):
    """The good images of the fit by the sha256 of their content: those that trained, and those that did not."""

    train: list[Sha256]
    held_out: list[Sha256]


class Header(_Part):
    """Everything about a model but its tensors; each field is checked on creation (pydantic's ValidationError)."""

    schema_version: int = Field(default=SCHEMA_VERSION, ge=SCHEMA_VERSION, le=SCHEMA_VERSION)
    blemish: str
    created: UtcTime
    teacher: TeacherPart
    preprocessing: PreprocessingPart
    sizes: list[Side] = Field(min_length=1)
    reference_size: Side
    modules: list[ModulePart] = Field(min_length=1)
    recipe: dict[str, Setting]
    seed: int
    score: Literal["paper", "whitened"]
    calibration: CalibrationPart
    data: DataPart
    libraries: dict[str, str]

    @field_validator("modules")
    @classmethod
    def _modules_agree(cls, modules: list[ModulePart], info: ValidationInfo) -> list[ModulePart]:
        names = [f"{module.size}/{module.level}" for module in modules]
        total = math.fsum(module.weight for module in modules)
        if len(set(names)) < len(names):
            raise ValueError(f"names must be unique, got {', '.join(names)}")
        if not {module.size for module in modules} <= set(info.data.get("sizes", [])):
            raise ValueError(f"every size must be one of sizes, got {', '.join(names)}")
        if abs(total - 1) > 1e-6:
            raise ValueError(f"weights must sum to 1, got {total:.9g}")
        return modules


def libraries() -> dict[str, str]:
    """Return the versions of the libraries that a model's numbers depend on."""
    return {library: version(library) for library in ("numpy", "pillow", "safetensors", "timm", "torch")}


def save(path: str | os.PathLike[str], header: Header, tensors: Mapping[str, NDArray[np.float32]]) -> None:
    """Write a model file atomically; the same header and tensors always give the same bytes.

    tensors: name -> float32 array of any shape. Raises ModelFileError if the header is not valid or a tensor is
    not float32 or not finite, StorageError if the file cannot be written.
    """
    text = header.model_dump_json()
    _header(text, path)  # model_copy and changed lists escape the checks on creation
    _check_values(tensors, path)
    write_atomically(path, _packed(text, tensors, path))


def load(path: str | os.PathLike[str]) -> tuple[Header, Tensors]:
    """Read a model file and check all of it.

    Returns the header and name -> float32 array. Raises InputError if there is no such file or it cannot be read,
    ModelFileError if it is a pickle, foreign, made by a newer version, damaged, or holds non-finite values.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError(f"{printable(path)}: not a file; expected a model file")
        with open(path, "rb") as file:
            head = _read_head(file, path)
            text = _header_text(head[8:], path)  # a foreign file is refused before its gigabytes are read
            data = head + file.read()
    except FileNotFoundError:
        raise InputError(f"{printable(path)}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a path that holds a NUL
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{printable(path)}: cannot be read: {reason.lower()}") from error
    tensors = _unpacked(data, path)
    header = _header(text, path)
    _check_values(tensors, path)
    return header, tensors


def check_tensors(
    tensors: Mapping[str, NDArray[np.float32]],
    expected: Mapping[str, tuple[int, ...]],
    path: str | os.PathLike[str],
) -> None:
    """Raise ModelFileError naming the first tensor that is missing, unexpected or of another shape than expected."""
    for name, shape in expected.items():
        if name not in tensors:
            raise _refused(path, f"tensor {name} is missing")
        if tensors[name].shape != shape:
            raise _refused(path, f"tensor {name} has shape {tensors[name].shape}, expected {shape}")
    for name in tensors:
        if name not in expected:
            raise _refused(path, f"tensor {name} does not belong to this model")


def _packed(text: str, tensors: Mapping[str, NDArray[np.float32]], path: str | os.PathLike[str]) -> bytearray:
    # Written here and not by the safetensors library, which puts the metadata in an order that changes by chance.
    entries: dict[str, Any] = {"__metadata__": {"sha256": "0" * 64, "blemish": text}}
    end = 0
    for name in sorted(tensors):
        start, end = end, end + tensors[name].nbytes
        entries[name] = {"dtype": "F32", "shape": tensors[name].shape, "data_offsets": [start, end]}
    head = json.dumps(entries, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    if len(head) > _LARGEST_HEADER:
        raise _refused(path, f"header of {len(head)} bytes, at most {_LARGEST_HEADER} are allowed")
    data = bytearray(len(head).to_bytes(8, "little") + head)
    for name in sorted(tensors):
        data += tensors[name].astype("<f4").tobytes()
    data[_DIGEST] = _digest(data)
    return data


def _unpacked(data: bytes, path: str | os.PathLike[str]) -> Tensors:
    from safetensors import SafetensorError
    from safetensors.numpy import load as load_tensors

    try:
        tensors = load_tensors(data)
    except SafetensorError as error:
        raise _damaged(path, str(error).removeprefix("Error while deserializing: ")) from error
    except KeyError as error:  # a type that numpy does not have
        raise _damaged(path, f"tensors must be F32, found {error.args[0]}") from error
    if _digest(data) != data[_DIGEST]:
        raise _damaged(path, "checksum mismatch")
    return tensors


def _digest(data: bytes | bytearray) -> bytes:
    view = memoryview(data)
    digest = sha256(view[: _DIGEST.start])
    digest.update(b"0" * 64)
    digest.update(view[_DIGEST.stop :])
    return digest.hexdigest().encode()


def _read_head(file: BinaryIO, path: str | os.PathLike[str]) -> bytes:
    size = os.fstat(file.fileno()).st_size
    start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    fits = size >= 8 and length <= min(size - 8, _LARGEST_HEADER)
    # The length of a sound header may begin with the bytes of a pickle, but then a brace follows it.
    if start.startswith(_PICKLES) and not (fits and start[8:] == b"{"):
        raise _refused(path, "pickle files are never loaded; expected a blemish model (safetensors)")
    if not fits:
        limit = f"header of {length} bytes in a file of {size}, at most {_LARGEST_HEADER} are allowed"
        raise _damaged(path, limit if size >= 8 else "shorter than 8 bytes" if size else "empty file")
    return start + file.read(max(length - 1, 0))


def _header_text(head: bytes, path: str | os.PathLike[str]) -> str:
    entries = _parsed(head, path)
    metadata = entries.get("__metadata__")
    text = metadata.get("blemish") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise _refused(path, "not a blemish model; expected a file that blemish fit has written")
    fields = _parsed(text, path)
    version = fields.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        from blemish import __version__

        maker = str(fields.get("blemish"))[:40]
        raise _refused(path, f"made by newer version {maker}, this is {__version__}")
    return text


def _parsed(text: str | bytes, path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        value = json.loads(text if isinstance(text, str) else text.decode(), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise _damaged(path, f"header is not UTF-8 at byte {error.start}") from error
    except ValueError as error:
        raise _damaged(path, f"header is not valid JSON: {error}") from error
    except RecursionError as error:
        raise _damaged(path, "header is nested too deeply") from error
    if not isinstance(value, dict):
        raise _damaged(path, "header is not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        ((name, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"duplicate key {name}")
    return value


def _header(text: str, path: str | os.PathLike[str]) -> Header:
    try:
        return Header.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
    field = ".".join(map(str, first["loc"]))[:80]
    found = f", got {first['input']!r}" if isinstance(first["input"], int | float | str) else ""
    raise _refused(path, f"header field {field}: {first['msg'].removeprefix('Value error, ')}{found}")


def _check_values(tensors: Mapping[str, NDArray[np.float32]], path: str | os.PathLike[str]) -> None:
    for name, tensor in tensors.items():
        if tensor.dtype != np.float32:
            raise _refused(path, f"tensor {name} is {tensor.dtype}, expected float32")
        bad = tensor.size - int(np.isfinite(tensor).sum())
        if bad:
            raise _refused(path, f"tensor {name} holds {bad} non-finite values")


def _damaged(path: str | os.PathLike[str], reason: str) -> ModelFileError:
    return _refused(path, f"model file is damaged: {reason}")


def _refused(path: str | os.PathLike[str], reason: str) -> ModelFileError:
    # Cut first: a damaged file can hold names of any length.
    return ModelFileError(f"{printable(path)}: {printable(reason[:300])}")
