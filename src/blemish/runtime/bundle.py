"""The bundle: a folder with a graph, all that is known of its model, and golden images with their expected scores."""

import os
import re
import stat
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from blemish.data.holdout import fingerprints
from blemish.errors import InputError, printable, refused
from blemish.model.header import Header
from blemish.runtime.operations import fault_of
from blemish.storage.fields import Part, Sha256, UtcTime, first_fault, read_object
from blemish.storage.files import Own

BUNDLE_VERSION = 1
FILE = "bundle.json"
OWN = Own(FILE, b'"bundle_version"', r"graph\.(onnx|xml|bin)|golden/([0-9]{1,3}\.(png|jpg|bmp|tif))?")
UNSEALED = "0" * 64  # in place of the checksum, where the checksum is made
LARGEST = 1 << 31  # bytes of one file

Target = Literal["onnx", "openvino"]
Precision = Literal["float32", "bfloat16", "int8"]
GRAPHS: dict[Target, tuple[str, ...]] = {"onnx": ("graph.onnx",), "openvino": ("graph.xml", "graph.bin")}
Name = Annotated[str, StringConstraints(pattern=r"^golden/[0-9]{1,3}\.(png|jpg|bmp|tif)$")]


class GoldenPart(Part):
    """A golden image, and the score and mean of its score map that the graph gave when it was exported."""

    file: Name
    sha256: Sha256
    score: float = Field(ge=0)
    mean: float = Field(ge=0)


class Bundle(Part):
    """What `bundle.json` holds; each field is checked on creation (pydantic's ValidationError).

    tolerance: how far a score may be from a golden image's on another machine. model: the header of the model file;
    only its calibration may differ, where another precision needed one of its own, and its region of interest. sha256:
    of all of this, written as JSON with zeros in its place.
    """

    bundle_version: int = Field(default=BUNDLE_VERSION, ge=BUNDLE_VERSION, le=BUNDLE_VERSION)
    blemish: str
    exported: UtcTime
    target: Target
    precision: Precision
    graph: dict[str, Sha256]
    golden: list[GoldenPart] = Field(min_length=1)
    tolerance: float = Field(gt=0, lt=1)
    libraries: dict[str, str]
    model: Header
    sha256: Sha256


def is_bundle(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a folder, as a bundle is; a model file is none.

    Raises InputError for a file inside a bundle, whose folder is meant.
    """
    folder, name = os.path.split(os.path.abspath(path))
    if (
        name in (FILE, *(file for files in GRAPHS.values() for file in files))
        and os.path.isfile(path)
        and os.path.isfile(os.path.join(folder, FILE))
    ):
        place = printable(os.path.dirname(path) or ".")
        raise InputError(f"{printable(path)}: a file of a bundle; give its folder: {place}")
    return os.path.isdir(path)


def identity(path: Path) -> str:
    """Return the sha256 of what tells a model again: its file, or the `bundle.json` of a bundle, which names the rest.

    Raises InputError for a file that cannot be read.
    """
    return fingerprints([path / FILE if is_bundle(path) else path])[0]


def sealed(**fields: Any) -> bytes:
    """Return the content of the `bundle.json` of a bundle with these fields: its JSON with its checksum."""
    text = Bundle(**fields, sha256=UNSEALED).model_dump_json(indent=1)
    return (text.removesuffix(f'"{UNSEALED}"\n}}') + f'"{digest(text)}"\n}}\n').encode()


def digest(text: str) -> str:
    """Return the sha256 of the text of a `bundle.json`, with zeros for its own checksum and no space between words.

    Of the text itself, since what later versions make of it may say more.
    """
    compact = re.sub(r'("(?:[^"\\]|\\.)*")|\s+', r"\1", text)
    return sha256(re.sub(r'"[0-9a-f]{64}"}$', f'"{UNSEALED}"}}', compact).encode()).hexdigest()


def read_bundle(folder: Path) -> Bundle:
    """Read `bundle.json` and check every file that it names.

    Raises InputError if there is no such folder or a file cannot be read, ModelFileError if the folder is no bundle,
    was made by a newer version, or is damaged: JSON, a field, a missing file, or a checksum.
    """
    text = read_file(folder, FILE)
    try:
        fields = read_object(text)
    except ValueError as error:
        raise refused(folder, f"{FILE} is damaged: {error}") from error
    if isinstance(version := fields.get("bundle_version"), int) and version > BUNDLE_VERSION:
        raise refused(folder, f"made by newer version {fields.get('blemish')}; export the model again, or update")
    try:
        bundle = Bundle.model_validate_json(text)
    except ValidationError as error:
        raise refused(folder, f"{FILE}: {first_fault(error)}") from error
    if bundle.sha256 != digest(text.decode()):
        raise refused(folder, f"{FILE} is damaged: checksum mismatch")
    if set(bundle.graph) != set(GRAPHS[bundle.target]):
        raise refused(folder, f"{FILE}: field graph: expected {' and '.join(GRAPHS[bundle.target])}")
    for name, expected in [*bundle.graph.items(), *((one.file, one.sha256) for one in bundle.golden)]:
        data = read_file(folder, name)
        if sha256(data).hexdigest() != expected:
            raise refused(folder, f"{name} is damaged: checksum mismatch")
        if name in bundle.graph and (fault := fault_of(name, data)):
            raise refused(folder, f"{name}: {fault}")
    return bundle


def read_file(folder: Path, name: str) -> bytes:
    """Return the bytes of a file of a bundle; a link in its place is refused. Raises as `read_bundle` does."""
    path = folder / name
    try:
        found = os.lstat(path)
        if not stat.S_ISREG(found.st_mode):
            raise refused(folder, f"{name} is not a plain file")
        if found.st_size > LARGEST:
            raise refused(folder, f"{name} has {found.st_size} bytes, at most {LARGEST} are allowed")
        return path.read_bytes()
    except NotADirectoryError:
        raise InputError(f"{printable(folder)}: a file; expected a bundle, the folder of blemish export") from None
    except FileNotFoundError:
        if not folder.exists():
            raise InputError(f"{printable(folder)}: no such folder") from None
        what = "not a bundle: it has no" if name == FILE else "is damaged: it lacks"
        raise refused(folder, f"{what} {name}; expected a folder that blemish export has written") from None
    except (OSError, ValueError) as error:  # ValueError: a path that holds a NUL
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{printable(path)}: cannot be read: {reason.lower()}") from error
