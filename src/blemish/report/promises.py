"""What thresholds promise and what a model is, in words."""

import hashlib
import json
from collections.abc import Sequence

from blemish.model.calibration import NO_SCORES, learnt_images
from blemish.model.header import Header
from blemish.verdict.threshold import percent, promised

AS_LONG = "as long as parts, light and camera stay as they were"


def promises(header: Header) -> list[str]:
    """Return what the thresholds of a model promise of new good parts: sentences."""
    calibration = header.calibration
    if not calibration.held_out:
        known = calibration.earlier
        told = f"{known.held_out} held-out good images promised {percent(known.false_alarm_rate)}" if known else ""
        return [f"{told}, on average and {AS_LONG}."] * bool(told) + [f"{NO_SCORES[0].upper()}{NO_SCORES[1:]}."]
    scores = calibration.scores
    either = "NG" if calibration.ng is None else "REVIEW or NG"
    odds = _odds(scores, calibration.review)
    line = f"{held_out(header)}: a new good part is called {either} with a probability of {odds}"
    if calibration.ng is not None:
        line += f", and NG with {_odds(scores, calibration.ng)}"
    lines = [f"{line}, on average and {AS_LONG}."]
    if len(scores) < len(calibration.held_out):
        lines.append("The promise is about parts of a new group: of each group the highest score counts.")
    if others := len(learnt_images(header)):
        own = len(calibration.held_out) - others
        lines.append(f"Few images could be held out: {own} were scored by this model's students, {others} by others.")
    return [*lines, "Nothing is promised about defects: what is found of them takes labelled ones."]


def held_out(header: Header) -> str:
    """Say how many good images, or groups of them, a promise rests on."""
    images, units = len(header.calibration.held_out), len(header.calibration.scores)
    said = f"{images} held-out good images"
    if learnt_images(header):
        said = f"{images} good images scored by students that had not learnt them"
    return said if units == images else f"{units} groups of {said}"


def fingerprints(header: Header, *, sha256: str) -> list[tuple[str, str]]:
    """Return what tells a model and the images it has met again: names and values."""
    teacher, data = header.teacher, header.data
    met = hashlib.sha256(json.dumps([[one.sha256 for one in part] for part in (data.train, data.held_out)]).encode())
    counts = f"{len(data.train)} trained, {len(data.held_out)} held out, {len(data.weighed)} weighed"
    counts_there = [("counts", header.roi.words)] if header.roi is not None else []
    return [
        ("model", f"sha256 {sha256}"),
        ("created", f"{header.created} by blemish {header.blemish}"),
        ("teacher", f"{teacher.name}, sha256 {teacher.sha256[:12]}"),
        ("sizes", ", ".join(map(str, header.sizes))),
        ("score", f"{header.score}, recipe {header.recipe.get('name')}, seed {header.seed}"),
        ("its images", f"{counts}, sha256 {met.hexdigest()[:12]}"),
        *counts_there,
    ]


def _odds(scores: Sequence[float], threshold: float) -> str:
    rank = 1 + sum(score > threshold for score in scores)
    if rank > len(scores):
        return "100 % at most: it lies below every held-out score"
    return f"at most {percent(promised(scores, threshold))} ({rank} in {len(scores) + 1})"
