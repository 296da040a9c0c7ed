"""How large the defects are that are found, and the names of what was judged wrongly; found means not OK."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from blemish.evaluation.plots import plotted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BINS = 5  # ranges of areas in a table, with about as many images in each
SHARE = 0.9  # found: so many that a defect of this area or more may be said to be found
LEAST = 10  # images that it takes to say so
TYPES = 8  # types of defect that a plot tells apart, those with the most images


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a test image; area: of its defects together, in px of the image, None where no mask is known."""

    image: str
    label: str
    score: float
    verdict: str
    area: int | None

    @property
    def found(self) -> bool:
        """Whether the verdict is not OK."""
        return self.verdict != "OK"


def recall(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return recall by area, escapes and alarms of test images, good ones and defective ones; all of it is JSON.

    recall_by_area: `edges`, the least area of each of at most BINS ranges; `overall` and, for each type of defect,
    `types`, each with `bins` ({"images", "found"} of each range), `curve` ([area, images of at least this area, how
    many of them are found] for each area there is) and `nine_in_ten_from` (the least area from which on 9 in 10 of at
    least LEAST images are found, None if there is none). Images without a known area, or with an area of 0, are not in
    it. escapes: the defective images with the verdict OK, lowest score first; alarms: the good images that are REVIEW
    or NG, highest score first; each with image, label, score, verdict and area.
    """
    defects = [one for one in outcomes if one.label != "good"]
    sized = [one for one in defects if one.area]
    edges = _edges([one.area or 0 for one in sized])
    labels = sorted({one.label for one in sized})
    return {
        "recall_by_area": {
            "edges": edges,
            "overall": _by_area(sized, edges),
            "types": {label: _by_area([one for one in sized if one.label == label], edges) for label in labels},
        },
        "escapes": _listed((one for one in defects if not one.found), sign=1),
        "alarms": _listed((one for one in outcomes if one.label == "good" and one.found), sign=-1),
    }


def draw(path: Path, by_area: dict[str, Any], *, overwrite: bool) -> None:
    """Write a PNG of `recall_by_area`: the share found of defects of at least an area; raises as `write_atomically`."""
    with plotted(path, height=4.5, overwrite=overwrite) as figure:
        axes = figure.add_subplot()
        ranked = sorted(by_area["types"].items(), key=lambda item: -_images(item[1]))
        if len(ranked) > 1:
            for label, one in ranked[:TYPES]:
                _plot(axes, one, label, linewidth=1.2)
        _plot(axes, by_area["overall"], "all", linewidth=2.5, color="0.2")
        if (area := by_area["overall"]["nine_in_ten_from"]) is not None:
            axes.axvline(area, color="0.5", linestyle=":")
            axes.annotate(f"9 of 10 from {area} px", (area, 0.02), xytext=(4, 0), textcoords="offset points")
        if by_area["edges"]:
            axes.set_xscale("log")
            axes.legend(loc="lower right", fontsize="small")
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("defect area of at least ... px")
        axes.set_ylabel("share found (REVIEW or NG)")
        axes.grid(color="0.9")


def _plot(axes: "Axes", one: dict[str, Any], label: str, **style: Any) -> None:
    areas, images, found = np.array(one["curve"]).reshape(-1, 3).T
    name = f"{label} ({found[0]} of {images[0]})" if len(areas) else label
    # matplotlib reads a name that begins with _ as one to leave out, and $ as mathematics.
    axes.plot(
        areas, found / images, label="\u200b" + name.replace("$", r"\$"), marker=".", drawstyle="steps-pre", **style
    )


def _images(one: dict[str, Any]) -> int:
    return sum(part["images"] for part in one["bins"])


def _edges(areas: Sequence[int]) -> list[int]:
    """Return the least areas of at most BINS ranges that hold about as many of the areas each; equal ones share one."""
    ordered = sorted(areas)
    return sorted({ordered[len(ordered) * part // BINS] for part in range(BINS)}) if ordered else []


def _by_area(outcomes: Sequence[Outcome], edges: Sequence[int]) -> dict[str, Any]:
    areas = np.array([one.area for one in outcomes], dtype=np.int64)
    found = np.array([one.found for one in outcomes], dtype=np.bool_)
    place = np.searchsorted(edges, areas, side="right") - 1
    curve = [[int(area), int((areas >= area).sum()), int(found[areas >= area].sum())] for area in np.unique(areas)]
    enough = [area for area, images, hits in curve if images >= LEAST and hits >= SHARE * images]
    return {
        "nine_in_ten_from": min(enough, default=None),
        "bins": [
            {"images": int((place == part).sum()), "found": int(found[place == part].sum())}
            for part in range(len(edges))
        ],
        "curve": curve,
    }


def _listed(outcomes: Iterable[Outcome], *, sign: int) -> list[dict[str, Any]]:
    ordered = sorted(outcomes, key=lambda one: (sign * one.score, one.image))
    return [
        {"image": one.image, "label": one.label, "score": one.score, "verdict": one.verdict, "area": one.area}
        for one in ordered
    ]
