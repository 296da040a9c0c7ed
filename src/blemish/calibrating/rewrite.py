"""A bundle with another header, and therefore another seal; graph and golden images stay as they are."""

from pathlib import Path

from blemish.model.header import Header
from blemish.runtime.bundle import FILE, OWN, Bundle, read_bundle, read_file, sealed
from blemish.storage.files import make_folder, new_folder, write_atomically


def rewrite(folder: Path, out: Path, header: Header, *, overwrite: bool) -> Bundle:
    """Write a bundle's copy with another header to a new folder, and return what it says of itself.

    The golden images' scores stay right, since neither graph nor scale may differ. Raises as `read_bundle` and
    `new_folder` do.
    """
    bundle = read_bundle(folder)
    names = [*bundle.graph, *(golden.file for golden in bundle.golden)]
    with new_folder(out, overwrite=overwrite, own=OWN) as made:
        for name in names:
            make_folder((made / name).parent)
            write_atomically(made / name, read_file(folder, name))
        fields = {name: getattr(bundle, name) for name in Bundle.model_fields if name != "sha256"}
        write_atomically(made / FILE, sealed(**(fields | {"model": header})))
        return read_bundle(made)
