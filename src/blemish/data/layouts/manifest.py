"""Tables that say what every image is: a CSV manifest, and the split of VisA.

Readers return samples and a line for all that is wrong, as those of trees.py do. A table is UTF-8, with or without a
byte order mark; commas, semicolons or tabs part its cells. A row is called by its number in a spreadsheet: the header
is row 1.
"""

import csv
import io
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PureWindowsPath
from unicodedata import normalize

from blemish.data.layouts.trees import Reading
from blemish.data.listing import check_inside, first_of, folder_name, read_file, real_path, table_root
from blemish.data.samples import SPLITS, Sample, Split, size_problems
from blemish.data.words import meaning
from blemish.errors import InputError, printable

COLUMNS, MORE = ("path", "label", "split"), ("mask", "category", "group")
VISA_SPLIT = Path("split_csv", "1cls.csv")
VISA_LABELS = {"normal": "good", "anomaly": "anomaly"}

Row = dict[str, str]


def read_manifest(file: Path, splits: Collection[Split] = SPLITS) -> Reading:
    """Read a CSV manifest: a header, then one row for each image.

    Columns: path, relative to `table_root`, which is the manifest's folder if nothing else is said, and below it;
    label, a word for good or a type of defect; mask, likewise a path, for defects only, and empty where there is none;
    split: train, validation or test, of which the first two hold good images only; category, if not all are of one;
    group, for images that are held out together. Samples come in the order of the splits, then of the rows.
    Raises InputError for a file that is no such table.
    """
    rows, problems = _table(file, required=COLUMNS, optional=MORE)
    for _, row in rows:
        for column in ("label", "category", "group"):
            row[column] = normalize("NFC", row[column])
        row["label"] = "good" if meaning(row["label"]) == "good" else row["label"]
        row["split"] = row["split"].lower()
    samples, wrong = _samples(rows, table_root(file), splits=splits)
    return samples, problems + wrong


def read_paths(file: Path) -> list[Path]:
    """Return the images of a CSV manifest, of which only the column path counts; they need not be there.

    Raises InputError for a file that is no such table, and for paths that lead out of its folder.
    """
    rows, problems = _table(file, required=COLUMNS[:1], optional=(*COLUMNS[1:], *MORE))
    root = table_root(file)
    top = real_path(root)
    for number, row in rows:
        faults = _misplaced({"path": row["path"], "mask": ""}, root, top=top, needed=False)
        problems += [f"row {number}: {fault}" for fault in faults]
    if problems:
        raise InputError(f"{printable(file)}: {first_of(problems)}")
    return [root / row["path"] for _, row in rows]


def named_files(file: Path) -> list[Path]:
    """Return every image and mask that a manifest names, unchecked; none where it is no manifest."""
    rows: list[tuple[int, Row]] = []
    with suppress(InputError):  # who reads it says so
        rows, _ = _table(file, required=COLUMNS[:1], optional=(*COLUMNS[1:], *MORE))
    return [table_root(file) / row[column] for _, row in rows for column in ("path", "mask") if row[column]]


def visa_split(folder: Path) -> Path:
    """Return where the table of VisA lies for a category's folder."""
    return Path(os.path.abspath(folder)).parent / VISA_SPLIT


def read_visa(folder: Path, splits: Collection[Split] = SPLITS) -> Reading:
    """Read a category of VisA: the rows of ../split_csv/1cls.csv whose object it is; labels are good and anomaly.

    Raises InputError for a table that is missing or is none. Source: Zou et al., ECCV 2022.
    """
    category = folder_name(folder)
    file = visa_split(folder)
    table, problems = _table(file, required=("object", "split", "label", "image"), optional=("mask",))
    rows: list[tuple[int, Row]] = []
    for number, row in table:
        if normalize("NFC", row["object"]) != category:
            continue
        label = VISA_LABELS.get(row["label"])
        paths = [_without(row["object"], row[column]) for column in ("image", "mask")]
        if label is None:
            problems.append(f"row {number}: label {printable(row['label'])} not allowed (allowed: normal, anomaly)")
        elif None in paths:
            problems.append(f"row {number}: image or mask not in {printable(category)}")
        else:
            path, mask = (text or "" for text in paths)
            rows.append((number, {**row, "path": path, "mask": mask, "label": label, "category": ""}))
    samples, wrong = _samples(rows, folder, splits=splits)
    if not rows and not problems:
        wrong = [f"no rows for object {printable(category)}"]
    return samples, [f"{VISA_SPLIT.as_posix()}: {problem}" for problem in problems + wrong]


def _samples(rows: Sequence[tuple[int, Row]], folder: Path, *, splits: Collection[Split]) -> Reading:
    """Return the samples of rows with the columns of a manifest, and what is wrong with rows and masks."""
    top, name = real_path(folder), folder_name(folder)
    samples: list[Sample] = []
    problems = list(_repeated(rows))
    for number, row in rows:
        split = next((split for split in SPLITS if split == row["split"]), None)
        if split is not None and split not in splits:
            continue
        faults = [*_faults(row), *_misplaced(row, folder, top=top)]
        problems += [f"row {number}: {fault}" for fault in faults]
        if split is not None and not faults:
            masks = (folder / row["mask"],) if row["mask"] else ()
            category, group = row["category"] or name, row.get("group", "")
            samples.append(Sample(folder / row["path"], row["label"], masks, split, category, group=group))
    samples.sort(key=lambda sample: SPLITS.index(sample.split))
    return samples, problems + size_problems(samples, root=folder)


def _repeated(rows: Iterable[tuple[int, Row]]) -> Iterator[str]:
    """Yield a line for every image that has a row already, so that none is both learnt and tested."""
    first: dict[str, int] = {}
    for number, row in rows:
        known = first.setdefault(normalize("NFC", os.path.normpath(row["path"])), number)
        if known != number:
            yield f"row {number}: {printable(row['path'])} has row {known} already"


def _faults(row: Row) -> Iterator[str]:
    """Yield what is wrong with the words of a row."""
    split, label = printable(row["split"]), printable(row["label"])
    if row["split"] not in SPLITS:
        yield f"split {split} not allowed (allowed: {', '.join(SPLITS)})"
    for column in ("label", "category"):
        name = row[column]
        if name in {".", ".."} or "/" in name or "\\" in name or printable(name) != name:
            yield f"{column} {printable(name)} not allowed (allowed: no slash and no control character)"
    if meaning(row["label"]) == "unclear":
        yield f"label {label} means good to some and a defect to others (allowed: good, or a type of defect)"
    if row["label"] == "good" and row["mask"]:
        yield "a good image with a mask (allowed: none)"
    if row["label"] != "good" and row["split"] in ("train", "validation"):
        yield f"{split} must hold only good images: found {label}"


def _misplaced(row: Row, folder: Path, *, top: str, needed: bool = True) -> Iterator[str]:
    """Yield what is wrong with the places of a row's files; needed: they must be there."""
    for name in filter(None, (row["path"], row["mask"])):
        place = Path(name)
        if place.anchor or ".." in place.parts or PureWindowsPath(name).drive:
            yield f"{printable(name)} not allowed (allowed: a path below {printable(folder)})"
            continue
        try:
            check_inside(folder / place, top)
        except InputError as error:
            yield str(error)
            continue
        if needed and not os.path.isfile(folder / place):
            yield f"no such file: {printable(name)}"


def _table(file: Path, *, required: Sequence[str], optional: Sequence[str]) -> tuple[list[tuple[int, Row]], list[str]]:
    """Return the numbered rows of a table, each with every column, and what is wrong with its form."""
    records = iter(_records(file))
    number, header = next(records, (1, []))
    header = [name.strip().lower() for name in header]
    allowed = f"(allowed: {', '.join([*required, *optional])}; commas between them, or semicolons, or tabs)"
    problems = [f"row {number}: column {name} missing {allowed}" for name in required if name not in header]
    for index, name in enumerate(header):
        if name not in required and name not in optional:
            problems.append(f"row {number}: column {printable(name) or 'without a name'} not known {allowed}")
        elif name in header[:index]:
            problems.append(f"row {number}: column {name} given twice")
    rows: list[tuple[int, Row]] = []
    if problems:
        return rows, problems
    for number, record in records:
        cells = [cell.strip() for cell in record]
        row = dict.fromkeys(optional, "") | dict(zip(header, cells, strict=False))
        row |= {column: _slashed(row[column], table_root(file)) for column in ("path", "mask") if row.get(column)}
        missing = [f"row {number}: column {name} missing" for name in required if not row.get(name)]
        if len(cells) > len(header):
            problems.append(
                f"row {number}: {len(cells)} cells, expected {len(header)} (a comma in a name needs quotes)"
            )
        elif missing:
            problems += missing
        else:
            rows.append((number, row))
    return rows, problems if rows or problems else [f"row {number}: no rows below the header"]


def _records(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the numbered rows of a table but for empty ones; raises InputError for a file that is none."""
    name = printable(file)
    data = read_file(file)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{name}: line {line} is not UTF-8 but perhaps Windows-1252; save it as UTF-8") from None
    number = 0
    try:
        table = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=_delimiter(text))
        for number, record in enumerate(table, start=1):
            if any(cell.strip() for cell in record):
                yield number, record
    except csv.Error as error:
        raise InputError(f"{name}: row {number + 1}: not CSV ({error})") from None


def _slashed(name: str, folder: Path) -> str:
    """Return a path with / between its parts, however another system has written it, unless a file is called so."""
    return name if "\\" not in name or os.path.lexists(folder / name) else name.replace("\\", "/")


def _delimiter(text: str) -> str:
    """Return what parts the cells: a comma, or what spreadsheets write where a comma is part of numbers."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    return next((mark for mark in ",;\t" if mark in header), ",")


def _without(category: str, path: str) -> str | None:
    """Return a path of the table of VisA, which begins with the category's folder, relative to that folder."""
    if not path:
        return ""
    first, _, rest = path.partition("/")
    return rest if first == category and rest else None
