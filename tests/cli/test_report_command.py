"""blemish report: a page of results, a page of a model on labelled data, and what is refused before any work."""

import json
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from blemish.data.sources import identify
from commands import model, parts, quick_recipe, run  # noqa: F401
from pages import embedded, header, paint, results, words

SCORES = {"good/1.png": 0.2, "bad/1.png": 0.55}


def test_a_page_of_results(capsys, tmp_path):
    out = tmp_path / "report.html"
    code, printed, err = run(capsys, "report", results(tmp_path, SCORES), "--out", out)
    assert (code, err) == (0, "")
    assert printed.startswith(f"{out}: 2 images, 0.")
    assert [one["score"] for one in embedded(out.read_text())["images"]] == [0.2, 0.55]


def test_predict_then_report(capsys, model, parts, tmp_path):
    out = tmp_path / "report.html"
    assert run(capsys, "predict", model, parts / "test", "--out", tmp_path / "results")[0] == 0
    assert run(capsys, "report", tmp_path / "results", "--out", out)[0] == 0
    found = embedded(out.read_text())
    assert len(found["images"]) == 12
    assert len(found["held"]) == 2
    assert all(one["full"].endswith(".png") for one in found["images"])


def test_a_page_of_a_model_on_labelled_data(capsys, model, parts, tmp_path):
    out = tmp_path / "report.html"
    code, _, err = run(capsys, "report", model, parts, "--out", out, "--embed")
    assert (code, err) == (0, "")
    text = out.read_text()
    found = embedded(text)
    assert {one["label"] for one in found["images"]} == {"good", "hole", "patch", "scratch", "stain"}
    assert found["command"] == {"model": str(model), "out": str(model.with_name("brick-set.safetensors"))}
    assert all(one["full"].startswith("data:image/webp") for one in found["images"])
    assert "What each module weighs and costs" in words(text)


def test_regions_in_square_millimetres(capsys, model, parts, tmp_path):
    """Of results and of a model on data; a pixel of 0.5 mm covers 0.25 mm2."""
    out, folder = tmp_path / "report.html", results(tmp_path, SCORES)
    for given in ([folder], [model, parts]):
        assert run(capsys, "report", *given, "--out", out, "--overwrite")[0] == 0
        assert "mm²" not in words(out.read_text())
        assert run(capsys, "report", *given, "--out", out, "--overwrite", "--mm-per-px", "0.5")[0] == 0
        text = out.read_text()
        regions = [region for image in embedded(text)["images"] for region in image["regions"]]
        assert regions
        assert [one["mm2"] for one in regions] == [one["area"] / 4 for one in regions]
        assert "mm²" in words(text)
    out.unlink()
    line = refused(capsys, folder, "--out", out, "--mm-per-px", "0")
    assert line == "error: mm per px: 0.0 is not allowed, expected a finite number above 0\n"
    assert not out.exists()


def noted(model):
    path = model.with_name(f"{model.name}.tested.json")
    return json.loads(path.read_text()) if path.exists() else None


def test_the_images_that_a_page_shows_with_their_truth_are_noted(capsys, model, parts, tmp_path):
    own, out = Path(shutil.copy(model, tmp_path / "own.safetensors")), tmp_path / "report.html"
    command = "report", own, parts, "--out", out, "--overwrite"
    assert run(capsys, *command, "--no-record")[0] == 0
    assert noted(own) is None
    assert run(capsys, *command)[0] == 0
    found = noted(own)
    assert found["model"] == sha256(own.read_bytes()).hexdigest() == embedded(out.read_text())["model"]
    shown = identify(sorted((parts / "test").rglob("*.png")))
    assert [one["sha256"] for one in found["images"]] == sorted(one.sha256 for one in shown)
    assert run(capsys, "evaluate", own, parts)[0] == 0
    assert noted(own) == found
    assert "12 tested" in run(capsys, "inspect", own)[1]


def test_a_list_that_is_damaged_or_would_be_replaced_is_said_before_the_work(capsys, model, parts, tmp_path):
    own, out = Path(shutil.copy(model, tmp_path / "own.safetensors")), tmp_path / "report.html"
    noted_in = own.with_name(f"{own.name}.tested.json")
    noted_in.write_text("[]")
    code, printed, err = run(capsys, "report", own, parts, "--out", out)
    assert (code, printed) == (3, "")
    assert err == f"error: {noted_in}: is damaged: not a JSON object; remove the file, and its images are forgotten\n"
    assert not out.exists()
    assert "is the input" in refused(capsys, own, parts, "--out", noted_in, "--overwrite")
    assert noted_in.read_text() == "[]"


def test_a_bundle_reports_without_what_only_training_needs(bundle, brick, tmp_path):
    code = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "timm", "scipy", "skimage", "matplotlib"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
from blemish.cli.app import main
sys.exit(main())
"""
    out = tmp_path / "report.html"
    line = [sys.executable, "-c", code, "report", str(bundle), str(brick), "--out", str(out)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    text = out.read_text()
    assert len(embedded(text)["images"]) == 18
    assert "A bundle runs its modules as one graph" in words(text)


def refused(capsys, *arguments):
    code, printed, err = run(capsys, "report", *arguments)
    assert (code, printed, len(err.splitlines())) == (2, "", 1), err
    return err


def test_an_output_that_is_there_is_not_replaced(capsys, tmp_path):
    out = tmp_path / "report.html"
    out.write_text("mine")
    folder = results(tmp_path, SCORES)
    assert refused(capsys, folder, "--out", out) == f"error: {out}: exists; pass --overwrite to replace it\n"
    assert out.read_text() == "mine"
    assert run(capsys, "report", folder, "--out", out, "--overwrite")[0] == 0
    assert out.read_text().startswith("<!doctype html>")


def test_an_output_among_the_inputs(capsys, parts, model, tmp_path):
    folder = results(tmp_path, SCORES)
    assert "lies in the input folder" in refused(capsys, folder, "--out", folder / "report.html")
    assert "lies in the input folder" in refused(capsys, model, parts, "--out", parts / "report.html")
    assert "is the input" in refused(capsys, model, parts, "--out", model, "--overwrite")


def test_an_output_that_cannot_be_written(capsys, tmp_path):
    folder = results(tmp_path, SCORES)
    code, printed, err = run(capsys, "report", folder, "--out", tmp_path / "none" / "report.html")
    assert (code, printed) == (4, "")
    assert err == f"error: {tmp_path}/none/report.html: the folder {tmp_path}/none does not exist\n"


def test_what_is_neither_results_nor_a_model_with_data(capsys, model, parts, bundle, tmp_path):
    out = tmp_path / "report.html"
    for given in (model, bundle):
        assert "a model, without data; expected MODEL and DATA" in refused(capsys, given, "--out", out)
    assert "holds no results.jsonl" in refused(capsys, parts, "--out", out)
    folder = results(tmp_path, SCORES)
    assert "a folder of results; give it alone" in refused(capsys, folder, parts, "--out", out)
    assert "empty path" in refused(capsys, "", "--out", out)
    assert "no such file" in refused(capsys, tmp_path / "none.safetensors", parts, "--out", out)
    assert not out.exists()


@pytest.mark.parametrize(
    "options", [["--used", "skip"], ["--no-record"], ["--defects", "dent"], ["--weights", "w.pth"]]
)
def test_options_of_data_are_refused_for_results(capsys, tmp_path, options):
    line = refused(capsys, results(tmp_path, SCORES), "--out", tmp_path / "report.html", *options)
    assert line.startswith(f"error: {options[0].removeprefix('--')}: ")
    assert "MODEL and DATA" in line


def test_images_that_are_not_there_are_said(capsys, tmp_path):
    folder = results(tmp_path, SCORES, model=header(review=0.25))
    (tmp_path / "parts" / "good" / "1.png").unlink()
    out = tmp_path / "report.html"
    code, _, err = run(capsys, "report", folder, "--out", out)
    assert code == 0
    assert err.startswith("warning: 1 of 2 images are not where they were")
    assert "1 of 2 images are not where they were" in words(out.read_text())


def test_an_image_of_the_results_is_not_replaced(capsys, tmp_path):
    folder = results(tmp_path, SCORES)
    image = paint(tmp_path / "parts" / "good" / "1.png")
    assert "is an image of the results" in refused(capsys, folder, "--out", image, "--overwrite")
