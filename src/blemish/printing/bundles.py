"""What the commands print of bundles, on stdout."""

from pathlib import Path
from typing import TYPE_CHECKING

from blemish.errors import printable
from blemish.printing.layout import print_facts
from blemish.printing.numbers import many, megabytes
from blemish.printing.promises import roi_facts, threshold_facts, tiles_facts
from blemish.runtime.bundle import Bundle

if TYPE_CHECKING:
    from blemish.export.export import Exported


def print_bundle(folder: Path, bundle: Bundle) -> None:
    """Print what a bundle says of itself."""
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    data = bundle.model.data
    good = f"{len(data.train)} trained, {len(data.held_out)} held out"
    modules = [module.name for module in bundle.model.modules]
    print_facts(
        [
            ("bundle", f"{printable(folder)} ({megabytes(size)}), for {bundle.target}, {bundle.precision}"),
            ("exported", f"{bundle.exported} by blemish {bundle.blemish}"),
            ("model", f"{bundle.model.created}, {many(len(modules), 'module')}: {', '.join(modules)}"),
            *threshold_facts(bundle.model),
            *roi_facts(bundle.model),
            *tiles_facts(bundle.model),
            ("images", f"{good}; {len(data.weighed)} weighed, {len(data.tested)} tested"),
            ("self-test", f"{many(len(bundle.golden), 'golden image')}, on each start, within {bundle.tolerance:g}"),
        ]
    )


def print_exported(folder: Path, found: "Exported") -> None:
    """Print what an export has made, and how far it is from the model."""
    print_bundle(folder, found.bundle)
    apart = f"scores {found.score_difference:.1e} at most, maps {found.mean_difference:.1e} on average"
    facts = [("difference", f"from torch on the golden images: {apart}")]
    if lost := found.lost:
        flipped = f"{many(lost.verdicts, 'verdict')} of {lost.images} changed"
        scores = f"scores {lost.largest:.1e} apart at most"
        facts.append(
            ("labelled", f"AUPRO {lost.exported_aupro:.4f}, the model's {lost.aupro:.4f}; {scores}; {flipped}")
        )
    print_facts(facts)
