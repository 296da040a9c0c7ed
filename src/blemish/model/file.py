"""The model file: a file of tensors (`storage.tensors`) whose text is the model's header, checked to the last field."""

import os
import stat
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from blemish.errors import InputError, printable, refused
from blemish.model.header import SCHEMA_VERSION, Header
from blemish.storage.fields import first_fault, read_object
from blemish.storage.files import write_atomically
from blemish.storage.tensors import Tensors, check_values, damaged, packed, read_head, unpacked
from blemish.version import __version__


def libraries() -> dict[str, str]:
    """Return the versions of the libraries that a model's numbers depend on."""
    return {library: version(library) for library in ("numpy", "pillow", "safetensors", "timm", "torch")}


def save(
    path: str | os.PathLike[str], header: Header, tensors: Mapping[str, NDArray[np.float32]], *, overwrite: bool = True
) -> None:
    """Write a model file atomically; the same header and tensors always give the same bytes.

    tensors: name -> float32 array of any shape. Raises ModelFileError if the header is not valid or a tensor is not
    float32, not finite or a variance below its least value, StorageError if the file cannot be written, InputError if
    there is one and overwrite is false.
    """
    text = header.model_dump_json()
    _header(text, path)  # model_copy and changed lists escape the checks on creation
    check_values(tensors, path)
    write_atomically(path, packed(text, tensors, path), overwrite=overwrite)


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
            head = read_head(file, path)
            text = _header_text(head[8:], path)  # a foreign file is refused before its gigabytes are read
            data = head + file.read()
    except FileNotFoundError:
        raise InputError(f"{printable(path)}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a path that holds a NUL
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{printable(path)}: cannot be read: {reason.lower()}") from error
    tensors = unpacked(data, path)
    header = _header(text, path)
    check_values(tensors, path)
    return header, tensors


def _header_text(head: bytes, path: str | os.PathLike[str]) -> str:
    entries = _parsed(head, path)
    metadata = entries.get("__metadata__")
    text = metadata.get("blemish") if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise refused(path, "not a blemish model; expected a file that blemish fit has written")
    fields = _parsed(text, path)
    version = fields.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        maker = str(fields.get("blemish"))[:40]
        raise refused(path, f"made by newer version {maker}, this is {__version__}")
    return text


def _header(text: str, path: str | os.PathLike[str]) -> Header:
    try:
        return Header.model_validate_json(text)
    except ValidationError as error:
        raise refused(path, f"header {first_fault(error)}") from None


def _parsed(text: str | bytes, path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        return read_object(text)
    except ValueError as error:
        raise damaged(path, f"header is {error}") from error
