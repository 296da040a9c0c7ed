"""The model file: one safetensors file with the tensors and a readable, checked header; nothing is ever unpickled.

The metadata of the file hold two strings: `sha256`, the digest of the whole file taken with these 64 digits as zeros,
and `blemish`, the header as JSON.
"""

import json
import os
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import version
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from blemish.errors import InputError, ModelFileError, StorageError, printable
from blemish.files import write_atomically
from blemish.header import SCHEMA_VERSION, Header, ImagePart

_LARGEST_HEADER = 100_000_000  # bytes; what the safetensors library accepts
_DIGEST_FIRST = b'{"__metadata__":{"sha256":"'  # so that the digest has a fixed place in the file
_DIGEST = slice(8 + len(_DIGEST_FIRST), 8 + len(_DIGEST_FIRST) + 64)
_POSITIVE = ("spread", "variance")  # what a score is divided by; of a tensor's name the last part
_PICKLES = (b"PK", *(bytes([0x80, protocol]) for protocol in range(2, 6)))  # zip (.pt, .npz) and bare pickles

Tensors = dict[str, NDArray[np.float32]]


def libraries() -> dict[str, str]:
    """Return the versions of the libraries that a model's numbers depend on."""
    return {library: version(library) for library in ("numpy", "pillow", "safetensors", "timm", "torch")}


def save(path: str | os.PathLike[str], header: Header, tensors: Mapping[str, NDArray[np.float32]]) -> None:
    """Write a model file atomically; the same header and tensors always give the same bytes.

    tensors: name -> float32 array of any shape. Raises ModelFileError if the header is not valid or a tensor is not
    float32, not finite or a variance below its least value, StorageError if the file cannot be written.
    """
    text = header.model_dump_json()
    _header(text, path)  # model_copy and changed lists escape the checks on creation
    _check_values(tensors, path)
    write_atomically(path, packed(text, tensors, path))


def load(path: str | os.PathLike[str]) -> tuple[Header, Tensors]:
    """Read a model file and check all of it.

    Returns the header and name -> float32 array. Raises InputError if there is no such file or it cannot be read,
    ModelFileError if it is a pickle, foreign, made by a newer version, damaged, or holds values that are not finite or
    variances below their least value.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise InputError(f"{printable(path)}: not a file; expected a model file (a folder may be a bundle)")
        with open(path, "rb") as file:
            head = _read_head(file, path)
            text = _header_text(head[8:], path)  # a foreign file is refused before its gigabytes are read
            data = head + file.read()
    except FileNotFoundError:
        raise InputError(f"{printable(path)}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a path that holds a NUL
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{printable(path)}: cannot be read: {reason.lower()}") from error
    tensors = unpacked(data, path)
    header = _header(text, path)
    _check_values(tensors, path)
    return header, tensors


def record_tested(path: str | os.PathLike[str], header: Header, images: Sequence[ImagePart]) -> None:
    """Add test images to those that a model file, read with this header, knows; nothing else in it changes.

    A file that knows them all is left as it is. Raises StorageError if the file cannot be written, ModelFileError if
    another model has taken its place, and what `load` raises.
    """
    target = os.path.realpath(path)  # a link must go on pointing to the file
    there, tensors = load(target)
    tested = {image.sha256: image for image in [*there.data.tested, *images]}
    if _but_tested(there) != _but_tested(header):
        raise _refused(path, "another model has taken its place")
    if len(tested) == len(there.data.tested):
        return
    mode = stat.S_IMODE(os.stat(target).st_mode)
    if not os.access(target, os.W_OK):
        raise StorageError(f"{printable(path)}: cannot be written: permission denied")
    data = there.data.model_copy(update={"tested": [tested[digest] for digest in sorted(tested)]})
    save(target, there.model_copy(update={"data": data}), tensors)
    with suppress(OSError):
        os.chmod(target, mode)


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


def _but_tested(header: Header) -> Header:
    return header.model_copy(update={"data": header.data.model_copy(update={"tested": []})})


def packed(text: str, tensors: Mapping[str, NDArray[np.float32]], path: str | os.PathLike[str]) -> bytearray:
    """Return the bytes of a file of float32 tensors and a text, with their digest; path is for messages only."""
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


def unpacked(data: bytes, path: str | os.PathLike[str]) -> Tensors:
    """Return the tensors of bytes that `packed` has made; raises ModelFileError if a single bit of them is another."""
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
        kind = name.replace(".", "/").rpartition("/")[2]
        if kind in _POSITIVE and (tensor <= 0).any():
            raise _refused(path, f"tensor {name} holds values that are not above 0")
        if kind == "running_var" and (tensor < 0).any():
            raise _refused(path, f"tensor {name} holds values below 0")


def _damaged(path: str | os.PathLike[str], reason: str) -> ModelFileError:
    return _refused(path, f"model file is damaged: {reason}")


def _refused(path: str | os.PathLike[str], reason: str) -> ModelFileError:
    # Cut first: a damaged file can hold names of any length.
    return ModelFileError(f"{printable(path)}: {printable(reason[:300])}")
