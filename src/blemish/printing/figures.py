"""What is printed of predictions and of evaluations."""

from pathlib import Path
from typing import Any

from blemish.errors import printable
from blemish.model.header import Header
from blemish.printing.layout import empty_table, output_console, print_facts
from blemish.printing.numbers import labels, many
from blemish.printing.promises import threshold_facts
from blemish.results.lines import Summary
from blemish.verdict.threshold import VERDICTS, percent

FIGURES = {
    "pixel_auroc": "pixel AUROC",
    "aupro": "AUPRO",
    "image_auroc": "image AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1_max": "pixel F1",
}

NAMED = 5  # escapes, and false alarms, that are printed; the JSON has all

DOUBTS = {
    "empty": "masks that mark nothing, so that all pixels count as good",
    "nearly all": "masks that mark more than three quarters of the image (inverted?)",
    "left out": "masks of which over 1 % counts as no defect: values that are neither 0 nor above half of the largest",
    "void": "masks in which 255 beside labels counts as no defect, as the border that Pascal VOC draws",
}


def print_predictions(summary: Summary, header: Header, *, out: Path) -> None:
    """Print how many images have each verdict, those with the highest scores, and where the results are."""
    given = summary.verdicts.total() + summary.failed
    words = VERDICTS if header.calibration.ng is not None else ("OK", "NG")
    counts = f"{many(given, 'image')}: {', '.join(f'{summary.verdicts[word]} {word}' for word in words)}"
    print(counts + (f", {summary.failed} could not be used" if summary.failed else ""))
    if summary.worst:
        table = empty_table("highest scores", "score", "verdict", "regions")
        for record in summary.worst:
            path = printable(record["path"])
            table.add_row(path, f"{record['score']:.4f}", record["verdict"], str(len(record["regions"])))
        output_console().print(table)
    place = printable(out)
    print_facts([*threshold_facts(header), ("overlays", f"{place}/overlays"), ("results", f"{place}/results.jsonl")])


def print_evaluation(result: dict[str, Any]) -> None:
    """Print the figures of each type of defect and overall, and what the verdicts were worth."""
    at = result["resolution"]
    place = "the images' own resolution" if at == "original" else f"{at}x{at}"
    regions = many(result["regions"], "defect region")
    print(f"{many(result['images'], 'test image')}, {result['good']} good; {regions} at {place}")
    if met := result["used"]["images"]:
        fate = "left out" if result["used"]["rule"] == "skip" else "kept, so figures are too good"
        print(f"{many(len(met), 'image')} that the model has met before {fate}: {result['used']['summary']}")
    if twins := result["repeated"]:
        one = twins[0]
        pair = f"{printable(one['image'])} is {printable(one['same_as'])}"
        print(f"{many(len(twins), 'image')} left out, equal to another: {pair}{' ...' if len(twins) > 1 else ''}")
    for line in _outside(result["outside"]):
        print(line)
    if bare_labels := result["without_masks"]:
        print(f"{many(bare_labels, 'defective image')} without a mask: pixels are judged on the others")
    overall, bare = result["overall"], result["without_labels"]
    print_figures({**result["types"], "overall": overall, **({"without labels": bare["overall"]} if bare else {})})
    if bare:
        print(
            f"weights of the modules from {labels(result['model']['weighing'])}; without labels: those that need none"
        )
    _print_verdicts(overall, result["model"])
    print_recall(result)
    for reason in sorted(set(overall["undefined"].values())):
        print(f"-: undefined, {reason}")


def _outside(outside: list[dict[str, Any]]) -> list[str]:
    """Return lines on defects that lie outside of the region of interest."""
    whole = [printable(one["image"]) for one in outside if one["regions"] == one["of"]]
    parts = [printable(one["image"]) for one in outside if one["regions"] < one["of"]]
    lines = []
    if whole:
        lines.append(
            f"{many(len(whole), 'defective image')} left out, as all of it lies outside of the region of interest: "
            + ", ".join(whole)
        )
    if parts:
        lines.append(
            f"outside of the region of interest lie some regions of {many(len(parts), 'defective image')}: "
            + ", ".join(parts)
        )
    return lines


def _print_verdicts(overall: dict[str, Any], model: dict[str, Any]) -> None:
    """Print what the verdicts were worth, and what had been promised."""
    share = "" if overall["recall"] is None else f" ({overall['recall']:.1%})"
    found = f"{overall['found']} of {many(overall['images'] - overall['good'], 'defective image')}{share}"
    alarms = f"{overall['false_alarms']} of {many(overall['good'], 'good image')}"
    review, ng = model["thresholds"]["review"], model["thresholds"]["ng"]
    if ng is None:
        print(f"found: {found} with the verdict NG (score above {review:.4f})")
    else:
        print(f"found: {found}, {overall['found_ng']} NG (above {ng:.4f}), the others REVIEW (above {review:.4f})")
    if masked := overall["found_masked"]:
        known = "" if masked == overall["found"] else f"; {masked} of them have a mask"
        print(f"of these {overall['on_defect']} have a region on the defect{known}")
    words = "with the verdict NG" if ng is None else f"{overall['false_ng']} NG, the others REVIEW"
    print(f"false alarms: {alarms}{' ' if ng is None else ', '}{words}")
    if (promise := model["promises"][0])["rate"] is not None:
        print(
            f"promised: at most {percent(promise['rate'])} false alarms, by {model['held_out']} good images (or groups)"
        )


def print_recall(result: dict[str, Any]) -> None:
    """Print how many defects of which area are found, for each type, and the names of the worst mistakes."""
    found, edges = result["recall_by_area"], result["recall_by_area"]["edges"]
    if edges:
        ends = [*(str(edge - 1) for edge in edges[1:]), ""]
        spans = [f"{edge}-{end} px" if end else f"from {edge} px" for edge, end in zip(edges, ends, strict=True)]
        table = empty_table("found by area", *spans)
        for name, one in {**found["types"], "overall": found["overall"]}.items():
            cells = [f"{part['found']}/{part['images']}" if part["images"] else "-" for part in one["bins"]]
            table.add_row(printable(name), *cells)
        output_console().print(table)
    if (area := found["overall"]["nine_in_ten_from"]) is not None:
        print(f"found 9 of 10 from {area} px up")
    for name, said in (("escapes", "lowest score first"), ("alarms", "highest score first")):
        if listed := result[name]:
            word = "escapes" if name == "escapes" else "false alarms"
            more = f", and {len(listed) - NAMED} more" if len(listed) > NAMED else ""
            names = ", ".join(f"{printable(one['image'])} {one['score']:.4f}" for one in listed[:NAMED])
            print(f"{word}, {said}: {names}{more}")


def print_figures(rows: dict[str, dict[str, Any]], *, alarms: bool = False) -> None:
    """Print a table: under each name a row with one of the `types`, or the `overall`, of an evaluation."""
    table = empty_table("", *FIGURES.values(), "found", *(["false NG"] if alarms else []))
    for name, figures in rows.items():
        cells = ["-" if figures[key] is None else f"{figures[key]:.3f}" for key in FIGURES]
        cells.append(f"{figures['found']}/{figures['images'] - figures['good']}" if "found" in figures else "-")
        if alarms:
            cells.append(f"{figures['false_alarms']}/{figures['good']}")
        table.add_row(printable(name), *cells)
    output_console().print(table)


def warnings(result: dict[str, Any]) -> list[str]:
    """Return one line for each thing that makes the figures of an evaluation less than they seem."""
    lines = doubts(result["doubtful_masks"])
    if lost := result["regions_lost"]:
        side = result["resolution"]
        lines.append(f"{many(lost, 'defect region')} left out: too small for {side}x{side}")
    return lines


def doubts(doubtful_masks: dict[str, list[str]]) -> list[str]:
    """Return one line for each kind of mask that may not say what was meant."""
    return [
        f"{DOUBTS[doubt]}: {len(names)}, such as that of {printable(names[0])}"
        for doubt, names in doubtful_masks.items()
    ]
