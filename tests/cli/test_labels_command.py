"""Commands on data sets of labelling tools: what is learnt, what is measured, what is said, and that once."""

import json

import pytest

from blemish.cli.app import main
from blemish.data.listing import find_images
from blemish.images.masks import read_mask
from blemish.model import file as modelfile
from commands import SIZES, model, parts, quick_recipe, run  # noqa: F401
from labelfiles import coco, runs

TAKEN = "14 unlabelled images are taken as good"
UNKNOWN = "which of their pixels are defective is not known"


def annotation(name, kind, mask):
    counts = runs(mask.T.ravel().tolist())
    return name, kind, {"segmentation": {"counts": counts, "size": list(mask.shape)}, "bbox": [0, 0, 1, 1]}


@pytest.fixture(scope="module")
def flat(parts, tmp_path_factory):
    """14 good images without a label and 8 defects, all in images/, with a COCO file."""
    folder = tmp_path_factory.mktemp("flat")
    (folder / "images").mkdir()
    names, annotations = [], []
    good = [*find_images(parts / "train"), *find_images(parts / "test" / "good")]
    for number, path in enumerate(good):
        (folder / "images" / f"{number}.png").write_bytes(path.read_bytes())
    for mask in find_images(parts / "ground_truth"):
        kind, name = mask.parent.name, f"{mask.parent.name}-{mask.name.replace('_mask', '')}"
        image = parts / "test" / kind / mask.name.replace("_mask", "")
        (folder / "images" / name).write_bytes(image.read_bytes())
        names.append(name)
        annotations += [annotation(name, kind, read_mask(mask)), (name, "part", {"segmentation": []})]
    size = {"width": 192, "height": 192}
    images = [{"id": 10 + number, "file_name": name, **size} for number, name in enumerate(names)]
    kinds = sorted({kind for _, kind, _ in annotations})
    coco(folder / "annotations" / "instances.json", names, *annotations, classes=kinds, images=images)
    return folder


@pytest.fixture(scope="module")
def defects(parts):
    return ",".join(sorted(path.name for path in (parts / "test").iterdir() if path.name != "good"))


@pytest.fixture(scope="module")
def learnt(flat, defects, tmp_path_factory):
    out = tmp_path_factory.mktemp("learnt") / "m.safetensors"
    assert main(["fit", str(flat), "--out", str(out), *SIZES, "--unlabelled", "good", "--defects", defects]) == 0
    return out


def test_fit_needs_to_be_told_what_is_good(capsys, flat, tmp_path):
    out = tmp_path / "m.safetensors"
    code, printed, err = run(capsys, "fit", flat, "--out", out, *SIZES)
    assert (code, printed) == (2, "")
    ways = "(put good ones into a folder named good, or pass --unlabelled good)"
    assert err.startswith(f"error: {flat}: 14 images without a label, which makes none of them good: images/0.png, im")
    assert err.endswith(f", and 4 more {ways}\n")
    code, _, err = run(capsys, "fit", flat, "--out", out, *SIZES, "--unlabelled", "good", "--defects", "hole,Hole")
    assert code == 2
    assert err == f"error: {flat}: defects: no class Hole (there are: hole, part, patch, scratch, stain)\n"
    for options, line in ((("--unlabelled", "bad"), "unlabelled: bad is not allowed, expected good"),
                          (("--defects", "a,,b"), "defects: a name is missing, expected names such as scratch,dent"),
                          (("--defects", "OK"), "defects: OK means good, expected names of defects")):  # fmt: skip
        assert run(capsys, "fit", flat, "--out", out, *SIZES, *options) == (2, "", f"error: {line}\n")
    assert not out.exists()


def test_fit_learns_no_defect_and_says_once_what_it_takes_as_good(capsys, flat, learnt, defects, tmp_path):
    met = modelfile.load(learnt)[0].data
    assert len(met.train) + len(met.held_out) == 11  # 14, less a fifth
    out = tmp_path / "m.safetensors"
    file = flat / "annotations" / "instances.json"
    code, _, err = run(capsys, "fit", file, "--out", out, *SIZES, "--unlabelled", "good", "--defects", defects)
    assert code == 0
    assert err.count(TAKEN) == 1
    assert {image.sha256 for image in modelfile.load(out)[0].data.train} == {image.sha256 for image in met.train}


def test_evaluate_measures_with_labels_as_with_masks(capsys, parts, flat, learnt, defects, tmp_path):
    options = ("--unlabelled", "good", "--defects", defects)
    code, printed, err = run(capsys, "evaluate", learnt, flat, *options, "--json", tmp_path / "a.json", "--no-record")
    assert (code, err) == (0, f"{TAKEN}\n")
    assert printed.startswith("11 test images, 3 good; ")
    found = json.loads((tmp_path / "a.json").read_text())
    tree = tmp_path / "tree"
    for path in find_images(flat / "images"):
        kind = path.stem.partition("-")[0]
        good = kind.isdigit()
        tested = f"images/{path.name}" in names_of(flat, defects)
        place = tree / ("test" if tested else "train") / ("good" if good else kind) / path.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
    for mask in find_images(parts / "ground_truth"):
        place = tree / "ground_truth" / mask.parent.name / f"{mask.parent.name}-{mask.name}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(mask.read_bytes())
    assert run(capsys, "evaluate", learnt, tree, "--json", tmp_path / "b.json", "--no-record")[0] == 0
    expected = json.loads((tmp_path / "b.json").read_text())
    for key in ("overall", "types", "regions", "regions_lost", "without_masks", "doubtful_masks"):
        assert found[key] == expected[key], key


def names_of(flat, defects):
    from blemish import Labels
    from blemish.data.datasets import test_samples

    labels = Labels(unlabelled="good", defects=tuple(defects.split(",")))
    return [one.path.relative_to(flat).as_posix() for one in test_samples(flat, labels=labels)]


def test_weigh_and_export_take_the_same_options(capsys, flat, learnt, defects, tmp_path):
    options = ("--unlabelled", "good", "--defects", defects)
    code, printed, err = run(capsys, "weigh", learnt, flat, "--out", tmp_path / "w.safetensors", *options)
    assert (code, err.count(TAKEN)) == (0, 1)
    assert printed.startswith("8 defective images and 3 good; ")
    code, printed, err = run(
        capsys, "export", learnt, "--to", "onnx", "--out", tmp_path / "b", "--labelled", flat, *options
    )
    assert (code, err.count(TAKEN)) == (0, 1)
    for command in (("weigh", learnt, flat), ("export", learnt, "--to", "onnx", "--labelled", flat)):
        code, _, err = run(capsys, *command, "--out", tmp_path / "none")
        assert (code, err.splitlines()[-1].startswith(f"error: {flat}: 14 images without a label")) == (2, True)


def test_boxes_are_said(capsys, flat, learnt):
    code, printed, err = run(capsys, "evaluate", learnt, flat, "--unlabelled", "good", "--no-record")
    assert code == 0
    assert err.splitlines()[:2] == [TAKEN, f"8 defects have boxes, points, lines or tags beside outlines: {UNKNOWN}"]
    assert "+part" in printed


def test_predict_judges_images_with_labels_like_others(capsys, flat, learnt, tmp_path):
    code, printed, err = run(capsys, "predict", learnt, flat, "--out", tmp_path / "out")
    assert (code, err) == (0, "")
    assert printed.startswith("22 images: ")
