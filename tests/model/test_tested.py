"""The list beside a model: what it was tested on, kept, merged, checked, and never taken for another model's."""

import errno
import json
import os
import subprocess
import sys
import threading
import time

import pytest
from filelock import FileLock

from blemish.data.records import ImagePart
from blemish.errors import InputError, ModelFileError, StorageError
from blemish.model import tested
from blemish.model.header import Header
from blemish.model.tested import list_path, note_tested, read_tested, with_tested
from blemish.storage.files import lock_beside
from modelfiles import FIELDS

ONE, OTHER = "1" * 64, "2" * 64  # the sha256 of two models


def images(letters):
    return [ImagePart(sha256=letter * 64, thumbnail="10" * 256) for letter in letters]


def letters(found):
    return "".join(image.sha256[0] for image in found)


@pytest.fixture
def model(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"a model")
    return tmp_path / "m.safetensors"


def test_images_are_added_and_the_model_stays(model, tmp_path):
    assert read_tested(model, sha256=ONE) == []
    note_tested(model, images("eca"), sha256=ONE)
    assert letters(read_tested(model, sha256=ONE)) == "ace"
    assert read_tested(model, sha256=ONE)[0].thumbnail == "10" * 256
    path = tmp_path / "m.safetensors.tested.json"
    assert list_path(model) == path
    before = path.stat().st_ino
    note_tested(model, images("ca"), sha256=ONE)  # known already: not written again
    assert path.stat().st_ino == before
    note_tested(model, images("fa"), sha256=ONE)
    assert letters(read_tested(model, sha256=ONE)) == "acef"
    assert model.read_bytes() == b"a model"
    assert sorted(os.listdir(tmp_path)) == ["m.safetensors", "m.safetensors.tested.json"]


def test_the_list_of_another_model_is_none_and_is_replaced(model):
    note_tested(model, images("ab"), sha256=ONE)
    assert read_tested(model, sha256=OTHER) == []
    note_tested(model, images("c"), sha256=OTHER)
    assert letters(read_tested(model, sha256=OTHER)) == "c"
    assert read_tested(model, sha256=ONE) == []


def test_a_link_and_a_folder_have_their_list_beside_what_they_are(model, tmp_path, monkeypatch):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "m").symlink_to(model)
    note_tested(tmp_path / "links" / "m", images("a"), sha256=ONE)
    assert letters(read_tested(model, sha256=ONE)) == "a"
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    monkeypatch.chdir(bundle)
    assert list_path(bundle.__class__(".")) == list_path(bundle) == tmp_path / "bundle.tested.json"


def test_the_lists_of_older_versions_count(model):
    header = Header.model_validate(FIELDS)
    assert letters(header.data.tested) == "c"
    both = with_tested(header, images("acd"))
    assert letters(both.data.tested) == "acd"
    assert both.data.tested[1] == header.data.tested[0].model_copy(update={"thumbnail": "10" * 256})
    assert both.model_copy(update={"data": header.data}) == header


GOOD = {"version": 1, "model": ONE, "images": [{"sha256": "a" * 64, "thumbnail": "10" * 256}]}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is damaged: not valid JSON: Expecting value: line 1 column 1 (char 0)"),
        (b"[]", "is damaged: not a JSON object"),
        (b"\xff", "is damaged: not UTF-8 at byte 0"),
        (b'{"model": "", "model": ""}', "is damaged: not valid JSON: duplicate key model"),
        ({**GOOD, "version": 2}, "field version: Input should be less than or equal to 1, got 2"),
        ({**GOOD, "model": "x"}, "field model: String should match pattern '^[0-9a-f]{64}$', got 'x'"),
        ({**GOOD, "more": 1}, "field more: Extra inputs are not permitted, got 1"),
        ({**GOOD, "images": {}}, "field images: Input should be a valid array"),
        ({**GOOD, "images": [{"sha256": "a" * 64}]}, "field images.0.thumbnail: Field required"),
    ],
)
def test_a_damaged_list_is_one_line(model, content, reason):
    path = list_path(model)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    before = path.read_bytes()
    for action in (lambda: read_tested(model, sha256=ONE), lambda: note_tested(model, images("a"), sha256=ONE)):
        with pytest.raises(ModelFileError) as caught:
            action()
        assert str(caught.value) == f"{path}: {reason}; remove the file, and its images are forgotten"
    assert path.read_bytes() == before


def test_a_list_that_cannot_be_read_or_written_is_named(model, monkeypatch):
    list_path(model).mkdir()
    with pytest.raises(InputError) as caught:
        read_tested(model, sha256=ONE)
    assert str(caught.value) == f"{list_path(model)}: cannot be read: is a directory"
    list_path(model).rmdir()

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match=r"^disk full: "):
        note_tested(model, images("a"), sha256=ONE)
    assert os.listdir(model.parent) == ["m.safetensors"]


def test_evaluations_at_a_time_lose_nothing(model, tmp_path):
    code = (
        "import sys\nfrom pathlib import Path\nfrom blemish.data.records import ImagePart\n"
        "from blemish.model.tested import note_tested\n"
        "for number in range(20):\n"
        "    image = ImagePart(sha256=sys.argv[2] * 32 + f'{number:032x}', thumbnail='10' * 256)\n"
        "    note_tested(Path(sys.argv[1]), [image], sha256='1' * 64)\n"
    )
    several = [subprocess.Popen([sys.executable, "-c", code, model, letter]) for letter in "abc"]
    assert [process.wait(timeout=120) for process in several] == [0, 0, 0]
    found = [image.sha256 for image in read_tested(model, sha256=ONE)]
    assert found == [letter * 32 + f"{number:032x}" for letter in "abc" for number in range(20)]
    assert sorted(os.listdir(tmp_path)) == ["m.safetensors", "m.safetensors.tested.json"]


def test_one_evaluation_waits_for_another_but_not_for_ever(model, monkeypatch):
    path = list_path(model)
    held = FileLock(lock_beside(path))
    held.acquire()
    monkeypatch.setattr(tested, "WAIT", 0.2)
    with pytest.raises(InputError) as caught:
        note_tested(model, images("a"), sha256=ONE)
    assert str(caught.value) == f"{path}: another evaluation is writing it"
    monkeypatch.setattr(tested, "WAIT", 60)
    thread = threading.Thread(target=note_tested, args=(model, images("a")), kwargs={"sha256": ONE})
    thread.start()
    time.sleep(0.3)
    assert not path.exists()
    held.release()
    thread.join(timeout=60)
    assert letters(read_tested(model, sha256=ONE)) == "a"
