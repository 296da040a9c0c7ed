"""blemish evaluate: the figures of the score maps, and what becomes of images met before."""

import errno
import json
import os
import shutil

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from blemish.data.holdout import fingerprints
from blemish.data.listing import find_images
from blemish.data.records import ImagePart
from blemish.detector import Detector
from blemish.evaluation import evaluate as evaluation
from blemish.evaluation.metrics import pixel_metrics
from blemish.images.masks import read_mask
from blemish.images.resize import resize_map, resize_mask
from blemish.model import file as modelfile
from blemish.model.header import WeighingPart
from commands import model, parts, quick_recipe, run  # noqa: F401
from trees import pixel_hashes


@pytest.mark.parametrize("resolution", ["256", "original"])
def test_evaluate_gives_the_figures_of_the_score_maps(capsys, parts, model, tmp_path, resolution):
    file = tmp_path / "e.json"
    options = "--json", file, "--plot", tmp_path / "p.png", "--resolution", resolution, "--no-record"
    code, printed, err = run(capsys, "evaluate", model, parts, *options)
    assert (code, err) == (0, "")
    result = json.loads(file.read_text(), parse_constant=pytest.fail)
    images, side = find_images(parts / "test"), 256 if resolution == "256" else 192
    maps, masks, scores, areas = [], [], {}, []
    for path, _, reference in Detector.load(model).references(images):
        truth = parts / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
        mask = read_mask(truth) if truth.exists() else np.zeros((192, 192), bool)
        masks.append(resize_mask(mask, side, side))
        areas += [int(mask.sum())] * bool(mask.any())  # at the image's own resolution
        maps.append(resize_map(reference.map, side, side))
        scores[path] = reference.score()
    expected = pixel_metrics(maps, masks)
    for key in ("pixel_auroc", "aupro", "pixel_ap", "pixel_f1_max", "regions"):
        assert result["overall"][key] == expected[key]
    good = [score for path, score in scores.items() if path.parent.name == "good"]
    bad = [score for path, score in scores.items() if path.parent.name != "good"]
    wins = np.mean([(b > g) + (b == g) / 2 for b in bad for g in good])
    assert result["overall"]["image_auroc"] == pytest.approx(wins)
    assert list(result["types"]) == ["hole", "patch", "scratch", "stain"]
    assert result["resolution"] == (256 if resolution == "256" else "original")
    lines = printed.splitlines()
    assert lines[0].startswith("12 test images, 4 good; ")
    row = next(line for line in lines if line.startswith("overall"))
    assert row.split()[1:4] == [f"{result['overall'][key]:.3f}" for key in ("pixel_auroc", "aupro", "image_auroc")]
    assert f"false alarms: {result['overall']['false_alarms']} of 4 good images with the verdict NG" in lines
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.format == "PNG"
    assert any(line.startswith("found by area") for line in lines)
    assert [area for area, _, _ in result["recall_by_area"]["overall"]["curve"]] == sorted(set(areas))
    assert sum(part["images"] for part in result["recall_by_area"]["overall"]["bins"]) == 8
    assert len(result["escapes"]) == 8 - result["overall"]["found"]
    assert len(result["alarms"]) == result["overall"]["false_alarms"]


def test_the_plot_is_refused_where_it_would_do_harm(capsys, parts, model, tmp_path):
    for plot, fault in (
        (model, "exists"),
        (parts / "test" / "p.png", "lies in the input folder"),
        (tmp_path / "e.json", "is the output"),
    ):
        code, printed, err = run(
            capsys, "evaluate", model, parts, "--json", tmp_path / "e.json", "--plot", plot, "--no-record"
        )
        assert (code, printed) == (2, "")
        assert fault in err
        assert err.count("\n") == 1
        assert not (tmp_path / "e.json").exists()


@pytest.fixture
def seen(parts, tmp_path):
    """A test set of which the model was trained on one image, and one has a mask that marks nothing."""
    for label, source in (("good", "train"), ("hole", "test")):
        path = tmp_path / "seen" / "test" / label / "a.png"
        path.parent.mkdir(parents=True)
        path.write_bytes((parts / source / label / "000.png").read_bytes())
    truth = tmp_path / "seen" / "ground_truth" / "hole" / "a.png"
    truth.parent.mkdir(parents=True)
    Image.new("L", (192, 192)).save(truth)
    return tmp_path / "seen"


@pytest.fixture
def own(model, tmp_path):
    """The model in a file, and a folder, of the test's own, which it may change."""
    (tmp_path / "own").mkdir()
    return shutil.copy(model, tmp_path / "own" / "own.safetensors")


def test_evaluate_refuses_images_that_the_model_has_met(capsys, seen, own, tmp_path):
    before = own.read_bytes()
    code, printed, err = run(capsys, "evaluate", own, seen, "--json", tmp_path / "e.json")
    assert (code, printed) == (2, "")
    assert err == (
        f"error: {seen}: the model has met 1 of 2 test images before: 1 trained (same picture), such as "
        "test/good/a.png (--used skip leaves them out, --used include keeps them)\n"
    )
    assert not (tmp_path / "e.json").exists()
    assert own.read_bytes() == before
    assert os.listdir(own.parent) == [own.name]  # what was not evaluated was not tested


@pytest.mark.parametrize(("used", "images"), [("skip", 1), ("include", 2)])
def test_evaluate_says_what_became_of_images_that_the_model_has_met(capsys, seen, own, tmp_path, used, images):
    code, printed, err = run(capsys, "evaluate", own, seen, "--used", used, "--json", tmp_path / "e.json")
    assert code == 0
    assert err == (
        "warning: masks that mark nothing, so that all pixels count as good: 1, such as that of test/hole/a.png\n"
    )
    fate = "left out" if used == "skip" else "kept, so figures are too good"
    lines = printed.splitlines()
    assert lines[0].startswith("1 test image, 0 good" if used == "skip" else "2 test images, 1 good")
    assert lines[1] == (
        f"1 image that the model has met before {fate}: 1 trained (same picture), such as test/good/a.png"
    )
    assert lines[-1] in ("-: undefined, no defect pixel", "-: undefined, no good image")
    result = json.loads((tmp_path / "e.json").read_text())
    assert result["images"] == images
    assert result["used"]["rule"] == used
    assert result["used"]["images"] == [{"image": "test/good/a.png", "use": "trained", "same_picture": True}]
    assert len(listed(own)["images"]) == images


def test_evaluate_notes_the_test_images_beside_the_model(capsys, parts, model, own):
    assert run(capsys, "evaluate", own, parts, "--no-record")[0] == 0
    assert os.listdir(own.parent) == [own.name]
    first = run(capsys, "evaluate", own, parts)
    assert first[0] == 0
    found = listed(own)
    assert [image["sha256"] for image in found["images"]] == sorted(pixel_hashes(find_images(parts / "test")))
    assert found["model"] == fingerprints([own])[0]
    assert run(capsys, "evaluate", own, parts) == first  # twice is fine, and says the same
    assert listed(own) == found
    assert own.read_bytes() == model.read_bytes()
    assert sorted(os.listdir(own.parent)) == [own.name, f"{own.name}.tested.json"]
    assert "; 0 weighed, 12 tested" in run(capsys, "inspect", own)[1]
    assert json.loads(run(capsys, "inspect", own, "--json")[1])["data"]["tested"] == found["images"]


def test_what_an_older_version_has_noted_in_the_model_counts(capsys, parts, own):
    header, tensors = modelfile.load(own)
    old = ImagePart(sha256="c" * 64, thumbnail="80" * 256)
    tested = header.model_copy(update={"data": header.data.model_copy(update={"tested": [old]})})
    modelfile.save(own, tested, tensors)
    assert "; 0 weighed, 1 tested" in run(capsys, "inspect", own)[1]
    assert run(capsys, "evaluate", own, parts)[0] == 0
    assert "; 0 weighed, 13 tested" in run(capsys, "inspect", own)[1]
    assert len(listed(own)["images"]) == 12


def test_a_list_of_the_model_that_was_there_before_is_none(capsys, parts, own):
    assert run(capsys, "evaluate", own, parts)[0] == 0
    header, tensors = modelfile.load(own)
    modelfile.save(own, header.model_copy(update={"seed": 7}), tensors)
    assert "; 0 weighed, 0 tested" in run(capsys, "inspect", own)[1]


def test_a_damaged_list_is_said_at_once_and_ends_with_3(capsys, parts, own, monkeypatch):
    file = own.with_name(f"{own.name}.tested.json")
    file.write_text("{")
    monkeypatch.setattr("blemish.evaluation.evaluate.measure", lambda *_, **__: pytest.fail("not at once"))
    for command in ("evaluate", own, parts), ("inspect", own), ("inspect", own, "--json"):
        code, printed, err = run(capsys, *command)
        assert (code, printed, err.count("\n")) == (3, "", 1)
        assert err.startswith(f"error: {file}: is damaged: not valid JSON: ")
    assert file.read_text() == "{"
    monkeypatch.undo()
    assert run(capsys, "evaluate", own, parts, "--no-record")[0] == 0


def test_evaluate_warns_if_nothing_can_be_written_beside_the_model(capsys, parts, own, monkeypatch):
    def denied(*arguments, **options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(FileLock, "acquire", denied)
    code, printed, err = run(capsys, "evaluate", own, parts)
    assert code == 0
    assert printed.startswith("12 test images, 4 good; ")
    assert err == f"warning: the test images are not noted: {own.parent}: cannot be written: permission denied\n"
    assert os.listdir(own.parent) == [own.name]


def test_evaluate_warns_if_another_model_has_taken_the_place(capsys, parts, own, monkeypatch):
    save = evaluation.save

    def replaced(path, result, **options):
        own.write_bytes(b"another")
        save(path, result, **options)

    monkeypatch.setattr(evaluation, "save", replaced)
    code, _, err = run(capsys, "evaluate", own, parts, "--json", own.parent / "e.json")
    text = f"warning: the test images are not noted: {own}: another model has taken its place\n"
    assert (code, err, sorted(os.listdir(own.parent))) == (0, text, ["e.json", own.name])


def test_figures_never_take_the_place_of_the_list(capsys, parts, own):
    file = own.with_name(f"{own.name}.tested.json")
    for _ in range(2):
        code, printed, err = run(capsys, "evaluate", own, parts, "--json", file, "--overwrite")
        assert (code, printed, err) == (2, "", f"error: {file}: is the input {file}; choose another place\n")
        assert run(capsys, "evaluate", own, parts)[0] == 0
    assert len(listed(own)["images"]) == 12


def listed(model):
    """What the list beside a model holds."""
    return json.loads(model.with_name(f"{model.name}.tested.json").read_text())


def test_evaluate_shows_a_weighed_model_with_and_without_labels(capsys, parts, own, tmp_path):
    header, tensors = modelfile.load(own)
    shares = [
        one.model_copy(update={"weight": weight}) for one, weight in zip(header.modules, (0.0, 1.0, 0.0), strict=True)
    ]
    weighing = WeighingPart(objective="paper", labelled=5, defective=2, modules=9, seconds=0.5)
    weighed = header.model_copy(update={"modules": shares, "weighing": weighing})
    plain = json_of(capsys, own, parts, tmp_path)
    modelfile.save(own, weighed, tensors)
    code, printed, _ = run(capsys, "evaluate", own, parts, "--json", tmp_path / "e.json", "--overwrite")
    assert code == 0
    result = json.loads((tmp_path / "e.json").read_text(), parse_constant=pytest.fail)
    for key, value in result["without_labels"]["overall"].items():
        if key not in ("pixel_f1_threshold", "undefined"):
            assert value == pytest.approx(plain["overall"][key], abs=1e-6), key
    assert result["overall"]["pixel_auroc"] != pytest.approx(plain["overall"]["pixel_auroc"], abs=1e-6)
    lines = printed.splitlines()
    overall, without = (next(line for line in lines if line.startswith(name)) for name in ("overall", "without labels"))
    assert lines.index(without) == lines.index(overall) + 1
    figures = ("pixel_auroc", "aupro", "image_auroc")
    assert without.split()[2:5] == [f"{plain['overall'][key]:.3f}" for key in figures]
    assert without.split()[-1] == "-"
    assert overall.split()[1:4] == [f"{result['overall'][key]:.3f}" for key in figures]
    labels = "from 5 labelled images, 2 defective (objective paper, 9 modules at first)"
    assert f"weights of the modules {labels}; without labels: those that need none" in lines
    assert f"weights    {labels}" in run(capsys, "inspect", own)[1].splitlines()


def json_of(capsys, model, data, folder):
    """What evaluate says of an unchanged model."""
    assert run(capsys, "evaluate", model, data, "--json", folder / "plain.json", "--no-record")[0] == 0
    return json.loads((folder / "plain.json").read_text())
