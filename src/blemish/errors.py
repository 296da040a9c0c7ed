"""What blemish says when something is wrong: one line that names the file or field, the fault and what is allowed."""

import os
import unicodedata


class BlemishError(Exception):
    """Base of every error that blemish raises on purpose; its text is one line fit for a user."""

    exit_code = 2


class InputError(BlemishError):
    """A bad image, data set, option or argument; command-line exit code 2."""


class ModelFileError(BlemishError):
    """A model file that is damaged, foreign or newer, or that does not fit the teacher; exit code 3."""

    exit_code = 3


class ExportError(BlemishError):
    """A model that does not score the same once it is exported; exit code 3."""

    exit_code = 3


class StorageError(BlemishError):
    """A file that cannot be written: disk full, read-only, not permitted; exit code 4."""

    exit_code = 4


class StoppedError(BlemishError):
    """The user has stopped some work; the text says where the same command will go on; exit code 130."""

    exit_code = 130


def refused(path: str | os.PathLike[str], reason: str) -> ModelFileError:
    """Return the error that a model file or a bundle cannot be used."""
    # Cut first: a damaged file can hold names of any length.
    return ModelFileError(f"{printable(path)}: {printable(reason[:300])}")


def printable(name: object) -> str:
    """Return a name on one line, with control, bidirectional and undecodable characters escaped."""
    hidden = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    return "".join(
        character.encode("unicode_escape", "surrogatepass").decode("ascii")
        if unicodedata.category(character) in hidden
        else character
        for character in (os.fsdecode(name) if isinstance(name, bytes | os.PathLike) else str(name))
    )
