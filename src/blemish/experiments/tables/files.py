"""The files of `blemish tables`: Markdown of all tables that rows are there for, pictures of curves, Figure 3."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image

from blemish.data.inputs import check_outside
from blemish.errors import InputError, StorageError, printable
from blemish.experiments.grid.rows import Score, read_rows
from blemish.experiments.tables import pictures, tables
from blemish.experiments.tables.examples import examples
from blemish.experiments.tables.markdown import Table, markdown
from blemish.storage.files import alone_in, make_folder, write_atomically
from blemish.storage.places import check_folder_writable

MARK = "made-by-blemish-tables"  # in it, the names of the files that reports have written beside it
TABLES, FIGURE = "tables.md", "figure-3-{}.png"
SCORES: tuple[Score, ...] = ("paper", "whitened")
EVERY_TABLE = (
    tables.table_1,
    tables.table_2,
    tables.table_3,
    tables.table_4,
    tables.table_5,
    tables.curve,
    tables.methods,
)


def report(folder: Path, *, number: int | None, out: Path | None, data: Sequence[Path], only: Sequence[str]) -> str:
    """Return the tables of a benchmark's folder as Markdown, and write them, with their pictures, if `out` is given.

    number: of the paper's table, None: all that there are rows for. data: what Figure 3 is drawn from, if anything;
    only: its categories. Files of an earlier report are replaced, and no others. Raises InputError where there are no
    rows for what is wanted, for a file in the way and for an `out` in which another command is at work, StorageError if
    something cannot be written.
    """
    if out is not None:
        check_folder_writable(out)
        for one in data:
            check_outside(out, one)
    path = folder / "rows.jsonl"
    rows = read_rows(path)
    if not rows:
        raise InputError(f"{printable(path)}: no rows; blemish benchmark writes them")
    found = [table for kind in EVERY_TABLE for table in kind(rows)] if number is None else tables.numbered(number, rows)
    text = markdown(found)
    if out is not None:
        _write(out, found, text, benchmark=folder, data=data, only=only)
    elif data:
        raise InputError("figure: a picture needs a folder, name one with --out")
    return text


def _write(
    out: Path, found: Sequence[Table], text: str, *, benchmark: Path, data: Sequence[Path], only: Sequence[str]
) -> None:
    names = [TABLES, *(f"{table.name}.png" for table in found if pictures.has_picture(table))]
    names += [FIGURE.format(score) for score in SCORES if data]
    with _replacing(out, names):
        write_atomically(out / TABLES, text.encode())
        for name, picture in pictures.pictures(found).items():
            write_atomically(out / f"{name}.png", picture)
        for score in SCORES if data else ():
            shown = examples(data, benchmark, only=only, score=score)
            write_atomically(out / FIGURE.format(score), _png(shown))


@contextmanager
def _replacing(out: Path, names: Sequence[str]) -> Iterator[None]:
    """Make the folder of a report if it is not there, and hold it while files of these names are written.

    Its mark names all that reports have written into it. Raises InputError, and changes nothing, if another command is
    at work in it or one of the names is that of a file which the mark does not name.
    """
    make_folder(out)
    mark = out / MARK
    with alone_in(out):
        try:
            known = set(mark.read_text(encoding="utf-8", errors="replace").splitlines()[1:])
        except FileNotFoundError:
            known = set()
        except OSError as error:
            raise StorageError(
                f"{printable(mark)}: cannot be read: {(error.strerror or str(error)).lower()}"
            ) from error
        for name in names:
            if name not in known and os.path.lexists(out / name):
                why = "exists, and is not known to be of an earlier report; move it away, or choose another --out"
                raise InputError(f"{printable(out / name)}: {why}")
        text = "\n".join(["blemish tables may replace these files of its reports:", *sorted(known.union(names)), ""])
        write_atomically(mark, text.encode())
        yield


def _png(shown: Sequence[pictures.Example]) -> bytes:
    data = BytesIO()
    Image.fromarray(pictures.figure_3(shown)).save(data, format="PNG")
    return data.getvalue()
