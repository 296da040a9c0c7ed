"""What is printed of thresholds that have been chosen anew."""

from collections.abc import Sequence
from pathlib import Path

from blemish.calibrating.escapes import Count, Outcome
from blemish.calibrating.shift import shift
from blemish.errors import printable
from blemish.model.header import Header
from blemish.printing.layout import empty_table, output_console, print_facts
from blemish.printing.promises import roi_facts, threshold_facts
from blemish.verdict.threshold import percent

ROWS = 12  # thresholds that a table shows


def print_calibrated(out: Path, header: Header, *, before: Header, outcomes: Sequence[Outcome]) -> None:
    """Print the new thresholds beside the old ones, and what thresholds would do to labelled images, if there are."""
    old = before.calibration
    was = f"{old.review:.4f}" if old.ng is None else f"{old.review:.4f} and {old.ng:.4f}"
    print_facts(
        [("model", printable(out)), *threshold_facts(header), *roi_facts(header), ("before", f"thresholds {was}")]
    )
    if outcomes:
        table = empty_table("threshold", "promise", "escapes", "", "false alarms", "", "")
        for one in _shown(outcomes):
            cells = [*_cells(one.escapes), *_cells(one.false_alarms)]
            table.add_row(f"{one.threshold:.4f}", percent(one.promise), *cells, "chosen" if one.chosen else "")
        output_console().print(table)
        print("escapes: defective images at or below a threshold; in brackets the share of all such images that these")
        print("few are evidence for (95 %). The images that judged are remembered: a test on them would be no test.")


def shift_lines(before: Sequence[float], new: Sequence[float]) -> list[str]:
    """Return lines on whether the new good images score as those before did; none where there is nothing to compare."""
    if not before or not new:
        return []
    found = shift(before, new)
    line = f"the new good images score higher than those before in {found.higher:.0%} of pairs (p = {found.p:.2g})"
    if not found.sure:
        return [f"{line}: no more than chance explains"]
    return [
        f"{line}: it is the images that have changed, not the threshold that was wrong",
        "warning: look for another light, focus, camera or product before trusting new thresholds, or fit anew",
    ]


def _shown(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Return the first rows, and those further down that are chosen."""
    return [one for index, one in enumerate(outcomes) if index < ROWS or one.chosen]


def _cells(count: Count) -> tuple[str, str]:
    return f"{count.count}/{count.of}", f"({count.low:.1%} to {count.high:.1%})"
