"""From a subject to the bytes of its page: one file that asks nothing of anyone."""

import hashlib
import json
import shlex
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from blemish.data.listing import path_text
from blemish.errors import printable
from blemish.model.calibration import held_out_words, promise_lines
from blemish.report.fingerprints import fingerprints
from blemish.report.pictures import opacity, outline_path
from blemish.report.shown import Shown, Subject
from blemish.results.overlays import HEAT
from blemish.version import __version__

CHUNK = 48  # images whose small pictures are read together
SCRIPTS = "state.js", "marks.js", "scores.js", "gallery.js", "viewer.js", "tables.js", "start.js"
NUMBERS = {"mean": "mean", "mm2": "mm²"}  # what regions may say beside area, box and peak, and its title
UNSAFE = str.maketrans({sign: f"\\u{ord(sign):04x}" for sign in "<>&"})


def render(subject: Subject, *, made: str) -> bytes:
    """Return the page: UTF-8, complete in itself; made: the time, to be shown."""
    style, script = _part("report.css"), f"(() => {{\n{''.join(map(_part, SCRIPTS))}}})();\n"
    environment = Environment(
        loader=PackageLoader("blemish.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    page = environment.get_template("report.html").render(
        _words(subject),
        made=made,
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        data=_json(page_data(subject)),
        chunks=[_json(chunk) for chunk in _chunks(subject.images)],
    )
    return page.encode()


def page_data(subject: Subject) -> dict[str, Any]:
    """Return what the scripts of the page are given: plain values, but for the small pictures."""
    calibration, roi = subject.header.calibration, subject.header.roi
    strange = set(subject.header.strangers)
    shown: dict[str, Any] = {
        "model": subject.sha256,
        "truth": subject.truth,
        "thresholds": {"review": calibration.review, "ng": calibration.ng},
        "held": [
            {
                "name": printable(one.name),
                "score": one.score,
                "group": printable(one.group),
                "stranger": index in strange,
            }
            for index, one in enumerate(calibration.held_out)
        ],
        "images": [_image(image) for image in subject.images],
        "command": _command(subject.model),
        "folder": path_text(subject.folder),
        "extra": _extra(subject.images),
        "chunk": CHUNK,
        "roi": None if roi is None else {"side": len(roi.inside), "path": outline_path(roi.inside)},
    }
    told = json.dumps([shown["model"], [(one["name"], one["score"]) for one in shown["images"]]])
    return {**shown, "id": hashlib.sha256(told.encode()).hexdigest()[:16]}


def _words(subject: Subject) -> dict[str, Any]:
    """Return what the template is given: all that does not move."""
    header, stops = subject.header, len(HEAT) * 4
    low, top = header.scale.colours
    facts = [*fingerprints(header, sha256=subject.sha256), *subject.facts]
    return {
        "title": printable(subject.title),
        "blemish": __version__,
        "notes": [printable(line) for line in subject.notes],
        "truth": subject.truth,
        "roi": header.roi.words if header.roi is not None else "",
        "outlined": any(image.truth for image in subject.images),
        "types": [printable(label) for label in sorted({image.label for image in subject.images if image.label})],
        "model_path": subject.model is not None,
        "sha256": subject.sha256,
        "held": bool(header.calibration.held_out),
        "units": held_out_words(header),
        "heat": [_stop(low, top, part / stops) for part in range(stops + 1)],
        "scale": f"0 to {top:.3g}{' and above' if top < 1 else ''}",
        "folder": printable(subject.folder),
        "extra": [NUMBERS[name] for name in _extra(subject.images)],
        "promises": promise_lines(header),
        "strangers": subject.strangers,
        "without": _without(subject),
        "facts": [(name, printable(value)) for name, value in facts],
        "modules": _modules(subject),
        "costs": bool(subject.costs),
        "costs_said": subject.costs_said,
        "failed": [printable(line) for line in subject.failed],
    }


def _image(image: Shown) -> dict[str, Any]:
    return {
        "name": printable(image.name), "path": image.row, "score": image.score, "area": image.area,
        "label": None if image.label is None else printable(image.label), "width": image.width, "height": image.height,
        "regions": image.regions, "full": image.full, "overlay": image.overlay, "heat": image.heat,
    }  # fmt: skip


def _extra(images: Sequence[Shown]) -> list[str]:
    """Return which of NUMBERS any region says."""
    said = {name for image in images for region in image.regions for name in region}
    return [name for name in NUMBERS if name in said]


def _chunks(images: Sequence[Shown]) -> list[list[list[str | None]]]:
    pictures = [[image.picture, image.layer, image.truth, image.outlines] for image in images]
    return [pictures[start : start + CHUNK] for start in range(0, len(pictures), CHUNK)]


def _modules(subject: Subject) -> list[dict[str, Any]]:
    """Return what each module weighs, also as per cent of the heaviest, and costs."""
    modules, costs = subject.header.modules, subject.costs
    most = max(module.weight for module in modules)
    return [
        {"name": one.name, "weight": one.weight, "share": 100 * one.weight / most, "cost": costs.get(one.name)}
        for one in modules
    ]


def _stop(low: float, top: float, position: float) -> dict[str, str]:
    """Return a colour of the scale that runs from 0 to `top`, and is seen from `low` on."""
    place = max(0.0, (position * top - low) / (top - low))
    step = place * (len(HEAT) - 1)
    lower = min(int(step), len(HEAT) - 2)
    red, green, blue = (HEAT[lower] + (step - lower) * (HEAT[lower + 1] - HEAT[lower])).round().astype(int)
    covered = float(opacity(np.array(place)))
    return {"at": f"{position:.3f}", "colour": f"#{red:02x}{green:02x}{blue:02x}", "opacity": f"{covered:.3f}"}


def _command(model: Path | None) -> dict[str, str]:
    """Return the words of the command that sets thresholds, fit for a shell: a model, and where the new one goes."""
    if model is None:
        return {"model": "MODEL", "out": "MODEL2"}
    new = model.with_name(f"{model.stem}-set{model.suffix}")
    return {"model": shlex.quote(path_text(model)), "out": shlex.quote(path_text(new))}


def _without(subject: Subject) -> str:
    """Return the command that sets thresholds without the strangers."""
    command = _command(subject.model)
    names = " ".join(f"--without {shlex.quote(one.name)}" for one in subject.strangers)
    return f"blemish calibrate {command['model']} {names} --out {command['out']}"


@cache
def _part(name: str) -> str:
    return files("blemish.report").joinpath("page", name).read_text(encoding="utf-8")


def _json(value: object) -> Markup:
    """Return plain values as JSON that cannot end the element it stands in."""
    return Markup(json.dumps(value, allow_nan=False, separators=(",", ":")).translate(UNSAFE))


def _policy(style: str, script: str) -> str:
    """Return what the browser shall allow: this very script and style, pictures of this machine, and no connection."""
    hashes = [b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)]
    return (
        f"default-src 'none'; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "img-src 'self' file: data: blob:; base-uri 'none'; form-action 'none'"
    )
