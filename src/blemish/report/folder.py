"""A folder of results as the subject of a page: what predict has left there, checked to the last line."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blemish.data.ahead import ahead
from blemish.data.listing import check_inside, folder_name, listed, read_file, real_path
from blemish.data.sources import load
from blemish.errors import InputError, printable
from blemish.model.header import SCHEMA_VERSION
from blemish.report.pictures import bounded, embedded, small
from blemish.report.places import folder_of, full_link, row_path, written_path
from blemish.report.shown import Pixels, Shown, Subject
from blemish.report.strangers import strangers_among
from blemish.results.folder import LINES, MODEL
from blemish.results.write import Judge
from blemish.runtime.engines import available_threads
from blemish.storage.fields import first_fault, read_object
from blemish.verdict.threshold import Thresholds, Verdict

Report = Callable[[int, int], None]
EXPECTED = "expected a folder that blemish predict has written"


class _Loose(BaseModel):
    """A part of a line: what is not named here may be there as well."""

    model_config = ConfigDict(extra="ignore", frozen=True, strict=True, allow_inf_nan=False)


class _Region(_Loose):
    area: int = Field(ge=1)
    box: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=4, max_length=4)]
    peak: float = Field(ge=0)
    mean: float | None = None
    mm2: float | None = None
    surface: bool | None = None


class _Levels(_Loose):
    review: float
    ng: float | None


class _Line(_Loose):
    path: str = Field(min_length=1)
    score: float = Field(ge=0)
    thresholds: _Levels
    verdict: Verdict
    regions: list[_Region]
    overlay: str


class _Failure(_Loose):
    path: str
    error: str


@dataclass(frozen=True, slots=True)
class Results:
    """What a folder of results holds: what judged the images, a line for each, and those that could not be used."""

    folder: Path
    judge: Judge
    lines: list[_Line]
    failed: list[str]


def read_results(folder: Path) -> Results:
    """Read a folder of results; no picture is looked at yet.

    Raises InputError for a folder that holds no results, or those of an earlier version, for a line or a field that is
    damaged, and where no image could be used.
    """
    name = printable(folder)
    if not (folder / LINES).is_file():
        if not folder.is_dir():
            raise InputError(f"{name}: no such folder; {EXPECTED}")
        raise InputError(f"{name}: holds no {LINES}; {EXPECTED}")
    if not (folder / MODEL).is_file():
        raise InputError(f"{name}: holds no {MODEL}: an earlier version has made it; run blemish predict again")
    judge = _read_judge(folder / MODEL)
    lines: list[_Line] = []
    failed: list[str] = []
    for found in _read_lines(folder / LINES, judge.header.calibration.thresholds):
        if isinstance(found, _Line):
            lines.append(found)
        else:
            failed.append(found.error)
    if not lines:
        why = f"none of its {len(failed)} images could be used" if failed else "holds no images"
        raise InputError(f"{name}: {why}")
    top = real_path(folder)
    for line in lines:
        _check_overlay(folder, line.overlay, top=top)
    return Results(folder, judge, lines, failed)


def check_no_picture(page: Path, results: Results) -> None:
    """Raise InputError for a page that would take the place of an image that was judged."""
    if not page.exists():
        return
    for line in results.lines:
        path = written_path(line.path)
        if path.exists() and page.samefile(path):
            raise InputError(f"{printable(page)}: is an image of the results; choose another place")


def results_subject(results: Results, *, page: Path, embed: bool = False, report: Report | None = None) -> Subject:
    """Return the subject of a page about results.

    page: where it will lie; embed: with the full pictures in it; report: called with the number of images done and of
    all. Raises InputError as `bounded` does.
    """
    folder, header = results.folder, results.judge.header
    paths = [written_path(line.path) for line in results.lines]
    root = folder_of(paths)
    make = partial(_shown, folder=folder, root=root, page=page, bits=header.bits, embed=embed)
    images: list[Shown] = []
    missing: list[str] = []
    with closing(ahead(make, zip(results.lines, paths, strict=True), workers=available_threads())) as found:
        for shown in bounded(found):
            images.append(shown)
            if report:
                report(len(images), len(paths))
            if shown.picture is None:
                missing.append(shown.name)
    notes = [f"{len(missing)} of {len(images)} images are not where they were, or cannot be read: {listed(missing)}. "
             "Make the report in the folder in which predict ran."] if missing else []  # fmt: skip
    return Subject(
        title=folder_name(folder),
        header=header,
        sha256=results.judge.sha256,
        images=images,
        folder=root,
        truth=False,
        failed=results.failed,
        notes=notes,
        facts=[("results", f"{len(images)} images, sha256 {sha256(read_file(folder / LINES)).hexdigest()}")],
        strangers=strangers_among(header),
        costs_said="What a module costs is measured for a model and data: blemish report MODEL DATA.",
    )


def _shown(given: tuple[_Line, Path], *, folder: Path, root: Path, page: Path, bits: int, embed: bool) -> Shown:
    line, path = given
    image, over = _picture(path, bits=bits), _picture(folder / line.overlay, bits=16)
    size = image if image is not None else over
    height, width = size.shape[:2] if size is not None else (0, 0)
    row = row_path(path, folder=root)
    return Shown(
        name=row or printable(path),
        row=row,
        score=line.score,
        label=None,
        area=None,
        width=width,
        height=height,
        regions=[region.model_dump(exclude_none=True) for region in line.regions],
        full=_address(path, image, page=page, embed=embed),
        overlay=_address(folder / line.overlay, over, page=page, embed=embed),
        heat=False,
        picture=None if image is None else small(image),
        layer=None if over is None else small(over),
        truth=None,
        outlines=None,
    )


def _picture(path: Path, *, bits: int) -> Pixels | None:
    """Return a picture, None if it is not there or cannot be read."""
    try:
        return load(path, bits=bits)
    except InputError:
        return None


def _address(path: Path, picture: Pixels | None, *, page: Path, embed: bool) -> str | None:
    if picture is None:
        return None
    return embedded(picture) if embed else full_link(path, page=page)


def _read_judge(file: Path) -> Judge:
    try:
        fields = read_object(read_file(file))
        header = fields.get("header")
        version = header.get("schema_version") if isinstance(header, dict) else None
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise InputError(f"{printable(file)}: made by a newer version of blemish; update, or run predict again")
        return Judge.model_validate_json(json.dumps(fields))
    except ValidationError as error:
        raise InputError(f"{printable(file)}: is damaged: {printable(first_fault(error)[:300])}") from None
    except ValueError as error:
        raise InputError(f"{printable(file)}: is damaged: {printable(str(error)[:300])}") from None


def _read_lines(file: Path, thresholds: Thresholds) -> Iterator[_Line | _Failure]:
    for number, text in enumerate(read_file(file).split(b"\n"), start=1):
        if not text.strip():
            continue
        place = f"{printable(file)}: line {number} is damaged"
        try:
            fields: dict[str, Any] = read_object(text)
            if "error" in fields:
                yield _Failure.model_validate(fields)
                continue
            line = _Line.model_validate(fields)
        except ValidationError as error:
            raise InputError(f"{place}: {printable(first_fault(error)[:300])}") from None
        except ValueError as error:
            raise InputError(f"{place}: {printable(str(error)[:300])}") from None
        if (line.thresholds.review, line.thresholds.ng) != (thresholds.review, thresholds.ng):
            raise InputError(f"{place}: field thresholds: not those of {MODEL}; run blemish predict again")
        yield line


def _check_overlay(folder: Path, overlay: str, *, top: str) -> None:
    """Raise InputError for an overlay that lies elsewhere: a line must not make the page hold other files."""
    place = PurePosixPath(overlay)
    if not overlay or "\0" in overlay or place.is_absolute() or ".." in place.parts or "\\" in overlay:
        raise InputError(f"{printable(folder / LINES)}: overlay {printable(overlay[:200])} lies outside of the results")
    check_inside(folder / overlay, top)
