"""A bundle with another header, and therefore another seal; graph and golden images stay as they are."""

from pathlib import Path

from blemish.model.header import Header
from blemish.runtime import Runtime
from blemish.runtime.bundle import FILE, OWN, Bundle, GoldenPart, read_bundle, read_file, sealed
from blemish.storage.files import make_folder, new_folder, write_atomically
from blemish.verdict.scale import Reference


def rewrite(folder: Path, out: Path, header: Header, *, runtime: Runtime, overwrite: bool) -> Bundle:
    """Write a bundle's copy with another header to a new folder, and return what it says of itself.

    runtime: what scores by the bundle. Neither graph nor scale may differ, so the golden images' scores stay right,
    unless the region of interest is another: they are then scored anew. Raises as `read_bundle` and
    `new_folder` do.
    """
    bundle = read_bundle(folder)
    names = [*bundle.graph, *(golden.file for golden in bundle.golden)]
    with new_folder(out, overwrite=overwrite, own=OWN) as made:
        for name in names:
            make_folder((made / name).parent)
            write_atomically(made / name, read_file(folder, name))
        golden = bundle.golden
        if header.roi != bundle.model.roi:
            scorer = runtime.with_header(header)
            golden = [_scored(one, scorer.golden_reference(folder / one.file)) for one in golden]
        fields = {name: getattr(bundle, name) for name in Bundle.model_fields if name != "sha256"}
        write_atomically(made / FILE, sealed(**(fields | {"model": header, "golden": golden})))
        return read_bundle(made)


def _scored(golden: GoldenPart, found: Reference) -> GoldenPart:
    return golden.model_copy(update={"score": found.score(), "mean": float(found.map.mean())})
