"""What the tests of bundles share: copies that may be changed, and one line for what is refused."""

import json
import shutil
from hashlib import sha256

import pytest

from blemish.errors import BlemishError, ModelFileError
from blemish.runtime.bundle import FILE, digest


def copied(bundle, tmp_path):
    """Return a copy of a bundle that a test may change."""
    return shutil.copytree(bundle, tmp_path / "copy")


def fields(folder):
    return json.loads((folder / FILE).read_text())


def edit(folder, change):
    """Change what bundle.json holds: `change` is given the fields; its own checksum is made right."""
    found = fields(folder)
    change(found)
    found["sha256"] = found.pop("sha256")  # it is the last
    found["sha256"] = digest(json.dumps(found))
    (folder / FILE).write_text(json.dumps(found))


def seal(folder):
    """Write the checksums that the files now have into bundle.json."""

    def change(found):
        found["graph"] = {name: sha256((folder / name).read_bytes()).hexdigest() for name in found["graph"]}
        for golden in found["golden"]:
            golden["sha256"] = sha256((folder / golden["file"]).read_bytes()).hexdigest()

    edit(folder, change)


def refusal(action, folder, kind=ModelFileError):
    """Return what a BlemishError of just this kind says after the name of the folder, on one line."""
    with pytest.raises(BlemishError) as caught:
        action()
    text = str(caught.value)
    assert type(caught.value) is kind, text
    assert len(text.splitlines()) == 1, text
    assert len(text) < 400 + len(str(folder)), text
    assert text.startswith(str(folder)), text
    return text.removeprefix(str(folder)).removeprefix(": ")
