"""What a watch shows: a line for each image on stdout, what hinders it on stderr, and what it has judged in the end."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime

from blemish.errors import StorageError, printable
from blemish.printing.bars import say
from blemish.printing.numbers import many
from blemish.results.lines import Record
from blemish.verdict.threshold import VERDICTS, Verdict


def print_watched(record: Record, ms: float, *, quiet: bool) -> None:
    """Print the line of an image: time, verdict, score, ms from its file to its verdict, path; quiet: only faults.

    A stdout that nobody reads any more stops no watch; the exit code tells of it.
    """
    with suppress(StorageError):
        if "error" in record:
            say([f"error: {record['error']}"])
        elif not quiet:
            now, path = datetime.now().strftime("%Y-%m-%d %H:%M:%S"), printable(record["path"])
            print(f"{now}  {record['verdict']:<6}  {record['score']:.4f}  {ms:5.0f} ms  {path}", flush=True)


def warn(line: str) -> None:
    """Print a line to stderr, if that can still be written."""
    with suppress(StorageError):
        say([line])


def print_watch_end(verdicts: Mapping[Verdict, int], failed: int) -> None:
    """Print how many images have each verdict."""
    given = sum(verdicts.values()) + failed
    counts = ", ".join(f"{verdicts.get(word, 0)} {word}" for word in VERDICTS)
    print(f"{many(given, 'image')}: {counts}" + (f", {failed} could not be used" if failed else ""))
