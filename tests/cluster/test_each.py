"""A model for each category of a root: what is learnt, what is not learnt again, what fails alone."""

import json
import os

import pytest

from blemish.cluster import each
from blemish.cluster.each import FITS, Outcome, fit_each
from blemish.errors import InputError, StorageError
from trees import paint


class Fits:
    """Writes the names of a category's images instead of a model, or fails; `began` and `learnt` say for which."""

    def __init__(self, out, **faults):
        self.out, self.faults = out, faults
        self.began, self.learnt = [], []

    def __call__(self, data, model):
        if data.name in self.faults:
            raise self.faults[data.name]
        self.learnt.append(data.name)
        model.write_text(" ".join(sorted(path.name for path in data.rglob("*.png"))))

    def run(self, root, *, folders=None, decided=("seed 0",)):
        self.began, self.learnt = [], []
        folders = sorted(root.iterdir()) if folders is None else folders
        begin = lambda name, index: self.began.append((name, index))  # noqa: E731
        return list(fit_each(self, folders, root=root, out=self.out, decided=decided, begin=begin))


@pytest.fixture
def root(tmp_path):
    for name in ("a", "b", "c"):
        for number in range(2):
            paint(tmp_path / "root" / name / f"{number}.png")
    return tmp_path / "root"


@pytest.fixture
def fits(tmp_path):
    return Fits(tmp_path / "models")


def test_each_is_learnt_once_in_order_and_listed(root, fits):
    models = [fits.out / f"{name}.safetensors" for name in "abc"]
    assert fits.run(root) == [Outcome(model.stem, model) for model in models]
    assert fits.began == [("a", 0), ("b", 1), ("c", 2)]
    assert {model.read_text() for model in models} == {"0.png 1.png"}
    assert sorted(os.listdir(fits.out)) == ["a.safetensors", "b.safetensors", "c.safetensors", FITS]
    lines = [json.loads(line) for line in (fits.out / FITS).read_text().splitlines()]
    assert [(line["name"], line["data"]) for line in lines] == [(one, str(root / one)) for one in "abc"]
    assert fits.run(root) == [Outcome(model.stem, model, kept=True) for model in models]
    assert (fits.began, fits.learnt) == ([], [])


def changed(root):
    os.utime(root / "b" / "0.png", ns=(1, 1))


def added(root):
    paint(root / "b" / "2.png")


def gone(root):
    (root / "b" / "0.png").unlink()


def labelled(root):
    (root / "b" / "labels.csv").write_text("path\n")


@pytest.mark.parametrize("change", [changed, added, gone, labelled])
def test_what_has_changed_is_learnt_again_and_nothing_else(root, fits, change):
    fits.run(root)
    change(root)
    assert [one.kept for one in fits.run(root)] == [True, False, True]
    assert fits.learnt == ["b"]


def test_other_settings_another_model_and_a_model_that_is_gone_are_learnt_again(root, fits):
    fits.run(root)
    assert [one.kept for one in fits.run(root, decided=("seed 1",))] == [False] * 3
    (fits.out / "a.safetensors").write_text("of somebody else")
    (fits.out / "c.safetensors").unlink()
    assert [one.kept for one in fits.run(root, decided=("seed 1",))] == [False, True, False]


def test_one_that_fails_fails_alone_and_is_tried_again(root, fits):
    fits.faults["b"] = InputError("b: no good images")
    assert [one.error for one in fits.run(root)] == [None, fits.faults["b"], None]
    assert fits.learnt == ["a", "c"]
    fits.faults.clear()
    assert [one.kept for one in fits.run(root)] == [True, False, True]


def test_a_disk_that_is_full_ends_all_and_the_same_call_goes_on(root, fits):
    fits.faults["b"] = StorageError("disk full")
    with pytest.raises(StorageError):
        fits.run(root)
    assert fits.learnt == ["a"]
    fits.faults.clear()
    assert [one.kept for one in fits.run(root)] == [True, False, False]


@pytest.mark.parametrize("cut", [2, 30])
def test_a_line_that_was_cut_is_as_none(root, fits, cut):
    fits.run(root)
    (fits.out / FITS).write_bytes((fits.out / FITS).read_bytes()[:-cut])
    assert [one.kept for one in fits.run(root)] == [True, True, False]
    assert [one.kept for one in fits.run(root)] == [True] * 3


def test_a_call_that_is_refused_forgets_nothing(root, fits):
    fits.run(root)
    fits.faults |= {name: InputError("exists") for name in "abc"}
    assert all(one.error for one in fits.run(root, decided=("seed 1",)))
    assert [one.kept for one in fits.run(root)] == [True] * 3


def test_what_is_hidden_decides_nothing(root, fits):
    fits.run(root)
    (root / "a" / ".#labels.csv").symlink_to("nowhere")
    (root / "b" / ".cache.json").write_text("{}")
    assert [one.kept for one in fits.run(root)] == [True] * 3


def test_a_list_and_files_that_cannot_be_read(root, fits, monkeypatch):
    (fits.out / FITS).mkdir(parents=True)
    with pytest.raises(StorageError, match=r"fits\.jsonl: cannot be read"):
        fits.run(root)
    (fits.out / FITS).rmdir()
    monkeypatch.setattr(each, "list_files", lambda folder, **_: [folder / "0.png" / "under a file.png"])
    fault = f"{root}/b/0.png/under a file.png: cannot be read: not a directory"
    assert [str(one.error or "") for one in fits.run(root, folders=[root / "b"])] == [fault]


def test_names_that_differ_in_case_alone_have_models_of_their_own(root, fits):
    folders = [root / "a", root / "A"]
    paint(root / "A" / "0.png")
    assert [one.model.name for one in fits.run(root, folders=folders)] == ["a.safetensors", "A-2.safetensors"]


def test_outputs_among_the_categories_are_refused(root):
    with pytest.raises(InputError, match="lies in the input folder"):
        Fits(root / "models").run(root)
    assert sorted(os.listdir(root)) == ["a", "b", "c"]
