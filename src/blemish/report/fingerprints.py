"""What tells a model and the images that it has met again."""

import hashlib
import json

from blemish.model.header import Header


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
