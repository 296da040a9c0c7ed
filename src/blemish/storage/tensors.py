"""A file of float32 tensors and a text, in the format of safetensors; nothing is ever unpickled.

The metadata of the file hold two strings: `sha256`, the digest of the whole file taken with these 64 digits as zeros,
and `blemish`, the text.
"""

import json
import os
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from blemish.errors import ModelFileError, refused

_LARGEST_HEADER = 100_000_000  # bytes; what the safetensors library accepts
_DIGEST_FIRST = b'{"__metadata__":{"sha256":"'  # so that the digest has a fixed place in the file
_DIGEST = slice(8 + len(_DIGEST_FIRST), 8 + len(_DIGEST_FIRST) + 64)
_POSITIVE = ("spread", "variance", "span")  # what a score is divided by; of a tensor's name the last part
_PICKLES = (b"PK", *(bytes([0x80, protocol]) for protocol in range(2, 6)))  # zip (.pt, .npz) and bare pickles
_PICTURES = b"\x89PNG", b"\xff\xd8\xff", b"BM", b"II*\0", b"MM\0*", b"GIF8", b"RIFF"
_TEXT = {*range(32, 127), *b"\t\r\n"}

Tensors = dict[str, NDArray[np.float32]]


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
        raise refused(path, f"header of {len(head)} bytes, at most {_LARGEST_HEADER} are allowed")
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
        raise damaged(path, str(error).removeprefix("Error while deserializing: ")) from error
    except KeyError as error:  # a type that numpy does not have
        raise damaged(path, f"tensors must be F32, found {error.args[0]}") from error
    if _digest(data) != data[_DIGEST]:
        raise damaged(path, "checksum mismatch")
    return tensors


def read_head(file: BinaryIO, path: str | os.PathLike[str]) -> bytes:
    """Return the first 8 bytes of a file and its JSON head; raises ModelFileError for a pickle or a wrong length."""
    size = os.fstat(file.fileno()).st_size
    start = file.read(9)
    length = int.from_bytes(start[:8], "little")
    fits = size >= 8 and length <= min(size - 8, _LARGEST_HEADER)
    # The length of a sound header may begin with the bytes of a pickle, but then a brace follows it.
    if start.startswith(_PICKLES) and not (fits and start[8:] == b"{"):
        raise refused(path, "pickle files are never loaded; expected a blemish model (safetensors)")
    if not fits and (kind := _foreign(start)):
        raise refused(path, f"{kind}, not a model; expected a file that blemish fit has written")
    if not fits:
        limit = f"header of {length} bytes in a file of {size}, at most {_LARGEST_HEADER} are allowed"
        raise damaged(path, limit if size >= 8 else "shorter than 8 bytes" if size else "empty file")
    return start + file.read(max(length - 1, 0))


def _foreign(start: bytes) -> str:
    """Return what a file is that begins so, where it is clear; else an empty text."""
    if start.startswith(_PICTURES):
        return "a picture"
    return "a text file" if len(start) == 9 and set(start) <= _TEXT else ""


def check_tensors(
    tensors: Mapping[str, NDArray[np.float32]],
    expected: Mapping[str, tuple[int, ...]],
    path: str | os.PathLike[str],
) -> None:
    """Raise ModelFileError naming the first tensor that is missing, unexpected or of another shape than expected."""
    for name, shape in expected.items():
        if name not in tensors:
            raise refused(path, f"tensor {name} is missing")
        if tensors[name].shape != shape:
            raise refused(path, f"tensor {name} has shape {tensors[name].shape}, expected {shape}")
    for name in tensors:
        if name not in expected:
            raise refused(path, f"tensor {name} does not belong to this model")


def check_values(tensors: Mapping[str, NDArray[np.float32]], path: str | os.PathLike[str]) -> None:
    """Raise ModelFileError naming the first tensor that is not float32, not finite, or a variance below its least."""
    for name, tensor in tensors.items():
        if tensor.dtype != np.float32:
            raise refused(path, f"tensor {name} is {tensor.dtype}, expected float32")
        bad = tensor.size - int(np.isfinite(tensor).sum())
        if bad:
            raise refused(path, f"tensor {name} holds {bad} non-finite values")
        kind = name.replace(".", "/").rpartition("/")[2]
        if kind in _POSITIVE and (tensor <= 0).any():
            raise refused(path, f"tensor {name} holds values that are not above 0")
        if kind == "running_var" and (tensor < 0).any():
            raise refused(path, f"tensor {name} holds values below 0")


def _digest(data: bytes | bytearray) -> bytes:
    view = memoryview(data)
    digest = sha256(view[: _DIGEST.start])
    digest.update(b"0" * 64)
    digest.update(view[_DIGEST.stop :])
    return digest.hexdigest().encode()


def damaged(path: str | os.PathLike[str], reason: str) -> ModelFileError:
    """Return the error that a model file is damaged."""
    return refused(path, f"model file is damaged: {reason}")
