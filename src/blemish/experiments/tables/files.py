"""The files of `blemish tables`: Markdown of all tables that rows are there for, pictures of curves, Figure 3."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image

from blemish.data.inputs import check_outside
from blemish.errors import InputError, printable
from blemish.experiments.grid.rows import read_rows
from blemish.experiments.tables import pictures, tables
from blemish.experiments.tables.examples import examples
from blemish.experiments.tables.markdown import markdown
from blemish.storage.files import make_folder, write_atomically
from blemish.storage.places import check_folder_writable

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
    only: its categories. Files of an earlier report are replaced. Raises InputError where there are no rows for what is
    wanted, StorageError if something cannot be written.
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
        make_folder(out)
        write_atomically(out / "tables.md", text.encode())
        for name, picture in pictures.pictures(found).items():
            write_atomically(out / f"{name}.png", picture)
        if data:
            for score in ("paper", "whitened"):
                shown = examples(data, folder, only=only, score=score)
                write_atomically(out / f"figure-3-{score}.png", _png(shown))
    elif data:
        raise InputError("figure: a picture needs a folder, name one with --out")
    return text


def _png(shown: Sequence[pictures.Example]) -> bytes:
    data = BytesIO()
    Image.fromarray(pictures.figure_3(shown)).save(data, format="PNG")
    return data.getvalue()
