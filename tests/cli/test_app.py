"""The command line is a contract: exit codes, messages, files."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image

import blemish
from blemish.cli.app import main
from blemish.data.folders import find_images
from blemish.data.samples import fingerprints
from blemish.demo.textures import make_textures
from blemish.detector import Detector
from blemish.errors import InputError
from blemish.evaluation.metrics import pixel_metrics
from blemish.images.read import read_mask
from blemish.images.resize import resize_map, resize_mask
from blemish.method import fitting, training
from blemish.method.pretrained import find_weights
from blemish.model import file as modelfile
from blemish.model import workspace
from blemish.model.header import WeighingPart
from blemish.printing import progress

QUICK = replace(training.RECIPES["fast"], steps=20, warm_steps=20)
SIZES = ["--sizes", "64", "--levels", "2,3"]


@pytest.fixture(scope="module", autouse=True)
def quick_recipe():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(training.RECIPES, "fast", QUICK)
        patch.setattr(progress, "EVERY", 1e9)  # no line more on a slow machine
        yield


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A category in MVTec AD layout: 12 good images to learn from, 4 good and 8 defective ones to test."""
    return make_textures(tmp_path_factory.mktemp("textures"), train=10, validation=2, test=4, defects=2)[0]


@pytest.fixture(scope="module")
def model(parts, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "brick.safetensors"
    assert main(["fit", str(parts), "--out", str(out), *SIZES]) == 0
    return out


def run(capsys, *arguments):
    """Run a command; return exit code, stdout, stderr."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def child(*arguments, before="", **options):
    """Run a command in a process of its own, with a short recipe."""
    code = f"""
import dataclasses, os, signal, sys
from blemish.method import fitting, training
training.RECIPES["fast"] = dataclasses.replace(training.RECIPES["fast"], steps=20, warm_steps=20)
{before}
from blemish.cli.app import main
sys.exit(main())
"""
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)


def digest(path):
    """What a model file holds, but for when it was made."""
    header, tensors = modelfile.load(path)
    return header.model_copy(update={"created": ""}), {name: tensor.tobytes() for name, tensor in tensors.items()}


def test_help_and_version_import_nothing_heavy():
    code = (
        "import sys\nfrom blemish.cli.app import main\n"
        "names = 'fit', 'predict', 'evaluate', 'weigh', 'inspect', 'teacher', 'demo', 'export', 'benchmark', 'tables'\n"
        "codes = [main(['--help']), *(main([name, '--help']) for name in names)]\n"
        "codes.append(main(['--version']))\n"
        "heavy = {'numpy', 'torch', 'torchvision', 'timm', 'scipy', 'skimage', 'matplotlib', 'onnx', 'onnxruntime',\n"
        "         'openvino'} & set(sys.modules)\n"
        "sys.exit(f'{codes} {heavy}' if heavy or any(codes) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"\nblemish {blemish.__version__}\n")


def test_help_names_every_command(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for command in ("fit", "predict", "evaluate", "weigh", "export", "teacher", "inspect", "demo", "--version"):
        assert f"  {command} " in out


def test_inspect_needs_no_torch(model):
    code = f"import sys; from blemish.cli.app import main; main(['inspect', {str(model)!r}]); "
    code += "sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "64/3 " in done.stdout


def test_fit_says_what_it_does_and_what_came_of_it(capsys, parts, tmp_path, model):
    out = tmp_path / "m.safetensors"
    code, printed, err = run(capsys, "fit", parts, "--out", out, *SIZES)
    assert code == 0
    first, second, third, *lines = err.splitlines()
    assert first == f"{parts}: 12 good images"
    assert second == "2 modules: sizes 64 x levels 2, 3; teacher tf_efficientnet_lite0"
    assert third == "recipe fast, score whitened, seed 0"
    assert [line.split(",")[0] for line in lines[:-1]] == ["module 1 of 2", "module 2 of 2"]
    assert lines[-1] == "10 images trained, 2 held out"
    assert lines[1].startswith("module 2 of 2, 64/3: trained, loss ")
    assert lines[1].endswith(" 0 s left")
    header, _ = modelfile.load(out)
    lines = dict(line.split(None, 1) for line in printed.splitlines())
    assert list(lines) == ["model", "threshold", "promise", "time"]
    assert lines["model"] == f"{out} ({out.stat().st_size / 1e6:.1f} MB)"
    assert lines["threshold"] == f"{header.calibration.threshold:.4f}"
    assert lines["promise"] == ("2 held-out good images: at most 1 in 3 good parts (33 %) is expected to be called NG")
    assert os.listdir(tmp_path) == ["m.safetensors"]
    assert digest(out) == digest(model)


def test_fit_on_a_plain_folder_and_with_every_option(capsys, parts, tmp_path):
    out = tmp_path / "m.safetensors"
    out.write_text("old")
    options = ["--teacher", "tf_efficientnet_lite0", "--recipe", "fast", "--score", "paper", "--seed", "7",
               "--device", "cpu", "--embed-teacher", "--overwrite"]  # fmt: skip
    code, *_ = run(capsys, "fit", parts / "train" / "good", "--out", out, "--sizes", "64", "--levels", "2", *options)
    assert code == 0
    header, _ = modelfile.load(out)
    assert (header.score, header.seed, header.teacher.embedded) == ("paper", 7, True)
    assert [(module.size, module.level) for module in header.modules] == [(64, 2)]


def test_a_killed_fit_continues_and_ends_with_the_same_model(parts, tmp_path, model):
    out = tmp_path / "m.safetensors"
    kill = """
keep = fitting._keep
def keep_and_die(module, path):
    keep(module, path)
    os.kill(os.getpid(), signal.SIGKILL)
fitting._keep = keep_and_die
"""
    killed = child("fit", parts, "--out", out, *SIZES, before=kill)
    assert killed.returncode == -signal.SIGKILL
    assert not out.exists()
    again = child("fit", parts, "--out", out, *SIZES)
    assert again.returncode == 0, again.stderr
    assert "continuing: 1 of 2 modules were trained before\nmodule 2 of 2, 64/3: trained" in again.stderr
    assert "module 1 of 2" not in again.stderr
    assert digest(out) == digest(model)
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_ctrl_c_says_where_the_same_command_continues(capsys, parts, tmp_path, monkeypatch, model):
    out = tmp_path / "m.safetensors"
    command = ["fit", parts, "--out", out, *SIZES]
    statistics, keep, save = fitting.fit_statistics, fitting._keep, workspace.save

    def stop(*_, **__):
        raise KeyboardInterrupt

    def keep_and_stop(module, path):
        keep(module, path)
        stop()

    monkeypatch.setattr("blemish.model.workspace.announce", stop)
    code, _, err = run(capsys, *command)
    assert (code, err) == (130, "interrupted; the same command continues where it stopped\n")
    monkeypatch.undo()
    for name, target, expected in (
        ("fit_statistics", stop, "with module 1 of 2"),
        ("_keep", keep_and_stop, "with module 2 of 2"),
        ("fit_statistics", stop, "with module 2 of 2"),
        ("_keep", keep_and_stop, "after the last of 2 modules"),
        (None, None, "where it stopped"),
    ):
        monkeypatch.setattr(fitting, "fit_statistics", statistics)
        monkeypatch.setattr(fitting, "_keep", keep)
        if name:
            monkeypatch.setattr(fitting, name, target)
        else:
            monkeypatch.setattr(workspace, "save", stop)
        code, printed, err = run(capsys, *command)
        assert (code, printed) == (130, "")
        assert err.splitlines()[-1] == f"interrupted; the same command continues {expected}"
    monkeypatch.setattr(workspace, "save", save)
    code, _, err = run(capsys, *command)
    assert code == 0
    assert err.splitlines()[-2:] == ["continuing: all modules were trained before", "10 images trained, 2 held out"]
    assert digest(out) == digest(model)


def test_predict_writes_results_for_all_images(capsys, parts, model, tmp_path):
    out = tmp_path / "out"
    code, printed, err = run(capsys, "predict", model, parts / "test", "--out", out, "--save-maps")
    assert (code, err) == (0, "")
    records = [
        json.loads(line, parse_constant=pytest.fail) for line in (out / "results.jsonl").read_text().splitlines()
    ]
    detector = Detector.load(model)
    files = find_images(parts / "test")
    assert [record["path"] for record in records] == [file.as_posix() for file in files]
    for record, prediction in zip(records, detector.predict(files), strict=True):
        assert list(record) == ["path", "score", "threshold", "verdict", "regions", "overlay"]
        assert record["score"] == prediction.score
        assert record["threshold"] == detector.threshold_
        assert record["verdict"] == ("NG" if prediction.score > detector.threshold_ else "OK") == prediction.verdict
        assert [region["area"] for region in record["regions"]] == [region.area for region in prediction.regions]
        with Image.open(out / record["overlay"]) as picture:
            assert picture.size == (192, 192)
        name = Path(record["overlay"]).relative_to("overlays").with_suffix(".npy")
        np.testing.assert_array_equal(np.load(out / "maps" / name), prediction.score_map)
    ng = sum(record["verdict"] == "NG" for record in records)
    lines = printed.splitlines()
    assert lines[0] == f"12 images: {12 - ng} OK, {ng} NG"
    assert lines[-1] == f"results    {out}/results.jsonl"
    assert f"{max(record['score'] for record in records):.4f}" in printed


def test_predict_goes_on_after_a_bad_image_and_ends_with_2(parts, model, tmp_path):
    good, bad, empty = parts / "test" / "good" / "000.png", tmp_path / "bad.png", tmp_path / "empty.png"
    bad.write_text("text")
    empty.touch()
    done = child("predict", model, bad, good, empty, "--out", tmp_path / "out")
    assert done.returncode == 2
    records = [json.loads(line) for line in (tmp_path / "out" / "results.jsonl").read_text().splitlines()]
    assert ["error" in record for record in records] == [True, False, True]
    assert done.stderr.splitlines() == [f"error: {records[index]['error']}" for index in (0, 2)]
    assert done.stderr.startswith(f"error: {bad}: not an image (magic bytes")
    assert done.stdout.splitlines()[0].endswith(", 2 could not be used")


def test_predict_replaces_results_only_when_told_so(capsys, parts, model, tmp_path):
    image, out = parts / "test" / "good" / "000.png", tmp_path / "out"
    assert run(capsys, "predict", model, image, "--out", out)[0] == 0
    before = (out / "results.jsonl").read_bytes()
    code, printed, err = run(capsys, "predict", model, image, "--out", out)
    assert (code, printed) == (2, "")
    assert err == f"error: {out}: is not empty; pass --overwrite to replace the results in it\n"
    damaged = tmp_path / "m.safetensors"
    damaged.write_bytes(model.read_bytes()[:-1])
    assert run(capsys, "predict", damaged, image, "--out", out, "--overwrite")[0] == 3
    assert (out / "results.jsonl").read_bytes() == before  # nothing is removed for a command that cannot work
    assert run(capsys, "predict", model, image, "--out", out, "--overwrite")[0] == 0


def test_predict_replaces_nothing_of_the_users(capsys, parts, model, tmp_path):
    """Neither a folder that happens to be called maps, nor the very images that are given."""
    image = (parts / "test" / "good" / "000.png").read_bytes()
    for name in ("maps", "overlays"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "photo.png").write_bytes(image)
    code, _, err = run(capsys, "predict", model, parts / "test", "--out", tmp_path, "--overwrite")
    assert code == 2
    assert err == f"error: {tmp_path}: holds maps/photo.png, which is no result; choose another folder\n"
    given = tmp_path / "overlays"
    code, _, err = run(capsys, "predict", model, given, "--out", tmp_path, "--overwrite")
    assert (code, err) == (2, f"error: {given}: lies in the output folder {tmp_path}; choose another place\n")
    assert run(capsys, "predict", model, parts / "test" / "good", "--out", tmp_path / "out")[0] == 0
    given = tmp_path / "out" / "overlays" / "000.png"
    code, _, err = run(capsys, "predict", model, given, "--out", tmp_path / "out", "--overwrite")
    assert (code, err) == (2, f"error: {given}: lies in the output folder {tmp_path}/out; choose another place\n")
    assert all(path.is_file() for path in (given, tmp_path / "maps" / "photo.png", tmp_path / "overlays" / "photo.png"))


def test_predict_stays_out_of_its_input(capsys, parts, model):
    code, _, err = run(capsys, "predict", model, parts / "test", "--out", parts / "test" / "out")
    assert code == 2
    assert err == f"error: {parts}/test/out: lies in the input folder {parts}/test; choose another place\n"
    assert not (parts / "test" / "out").exists()


@pytest.mark.parametrize("resolution", ["256", "original"])
def test_evaluate_gives_the_figures_of_the_score_maps(capsys, parts, model, tmp_path, resolution):
    file = tmp_path / "e.json"
    options = "--json", file, "--resolution", resolution, "--no-record"
    code, printed, err = run(capsys, "evaluate", model, parts, *options)
    assert (code, err) == (0, "")
    result = json.loads(file.read_text(), parse_constant=pytest.fail)
    images, side = find_images(parts / "test"), 256 if resolution == "256" else 192
    maps, masks, scores = [], [], {}
    for path, _, reference in Detector.load(model).reference_maps(images):
        truth = parts / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
        mask = read_mask(truth) if truth.exists() else np.zeros((192, 192), bool)
        masks.append(resize_mask(mask, side, side))
        maps.append(resize_map(reference, side, side))
        scores[path] = reference.max()
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
    """The model in a file of the test's own, which it may change."""
    return shutil.copy(model, tmp_path / "own.safetensors")


def test_evaluate_refuses_images_that_the_model_has_met(capsys, seen, own, tmp_path):
    before = own.read_bytes()
    code, printed, err = run(capsys, "evaluate", own, seen, "--json", tmp_path / "e.json")
    assert (code, printed) == (2, "")
    assert err == (
        f"error: {seen}: the model has met 1 of 2 test images before: 1 trained (same file), such as test/good/a.png "
        "(--used skip leaves them out, --used include keeps them)\n"
    )
    assert not (tmp_path / "e.json").exists()
    assert own.read_bytes() == before  # what was not evaluated was not tested


@pytest.mark.parametrize(("used", "images"), [("skip", 1), ("include", 2)])
def test_evaluate_says_what_became_of_images_that_the_model_has_met(capsys, seen, own, tmp_path, used, images):
    code, printed, err = run(capsys, "evaluate", own, seen, "--used", used, "--json", tmp_path / "e.json")
    assert code == 0
    assert err == (
        "warning: the mask of 1 defective image marks nothing, such as test/hole/a.png: its pixels count as good\n"
    )
    fate = "left out" if used == "skip" else "kept, so figures are too good"
    lines = printed.splitlines()
    assert lines[0].startswith("1 test image, 0 good" if used == "skip" else "2 test images, 1 good")
    assert lines[1] == (f"1 image that the model has met before {fate}: 1 trained (same file), such as test/good/a.png")
    assert lines[-1] in ("-: undefined, no defect pixel", "-: undefined, no good image")
    result = json.loads((tmp_path / "e.json").read_text())
    assert result["images"] == images
    assert result["used"]["rule"] == used
    assert result["used"]["images"] == [{"image": "test/good/a.png", "use": "trained", "same_file": True}]
    assert len(modelfile.load(own)[0].data.tested) == images


def test_evaluate_notes_the_test_images_in_the_model_file(capsys, parts, model, own):
    assert run(capsys, "evaluate", own, parts, "--no-record")[0] == 0
    assert own.read_bytes() == model.read_bytes()
    first = run(capsys, "evaluate", own, parts)
    header, _ = modelfile.load(own)
    images = find_images(parts / "test")
    assert [image.sha256 for image in header.data.tested] == sorted(fingerprints(images))
    assert digest(own)[1] == digest(model)[1]
    after = own.read_bytes()
    assert run(capsys, "evaluate", own, parts) == first  # twice is fine, and says the same
    assert own.read_bytes() == after
    assert "; 0 weighed, 12 tested" in run(capsys, "inspect", own)[1]


def test_evaluate_warns_if_the_model_file_cannot_be_written(capsys, parts, own, monkeypatch):
    before = own.read_bytes()
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK and access(path, mode))
    code, printed, err = run(capsys, "evaluate", own, parts)
    assert code == 0
    assert printed.startswith("12 test images, 4 good; ")
    assert err == (
        f"warning: the test images are not noted in the model file: {own}: cannot be written: permission denied\n"
    )
    assert own.read_bytes() == before


def test_evaluate_shows_a_weighed_model_with_and_without_labels(capsys, parts, own, tmp_path):
    header, tensors = modelfile.load(own)
    first, second = header.modules
    shares = [first.model_copy(update={"weight": 0.0}), second.model_copy(update={"weight": 1.0})]
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


def test_inspect_shows_the_header(capsys, model):
    code, printed, err = run(capsys, "inspect", model)
    assert (code, err) == (0, "")
    header, _ = modelfile.load(model)
    lines = printed.splitlines()
    assert f"created    {header.created} by blemish {blemish.__version__}" in lines
    assert "images     10 trained, 2 held out, sha256 " in printed
    assert "weights    without labels" in lines
    assert lines[-1].split()[:4] == ["64/3", "64", "3", f"{header.modules[1].weight:.4f}"]
    code, printed, _ = run(capsys, "inspect", model, "--json")
    facts = json.loads(printed, parse_constant=pytest.fail)
    assert facts["calibration"]["threshold"] == header.calibration.threshold
    assert facts["file"] == {"path": str(model), "bytes": model.stat().st_size}
    from blemish.method.teacher import student_stage

    expected = [sum(value.numel() for value in student_stage("tf_efficientnet_lite0", level, seed=0).parameters())
                for level in (2, 3)]  # fmt: skip
    assert [module["parameters"] for module in facts["modules"]] == expected
    assert lines[-1].split()[4] == f"{expected[1]:,}"


def test_teacher_list_shows_every_teacher(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "blemish").mkdir()
    (tmp_path / "blemish" / "resnet18.safetensors").touch()
    code, printed, err = run(capsys, "teacher", "list")
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines()}
    assert rows["tf_efficientnet_lite0"] == ["24", "40", "112", "320", "Apache-2.0", "package"]
    assert rows["resnet18"] == ["64", "128", "256", "512", "BSD-3-Clause", "fetched"]
    assert rows["wide_resnet50_2"] == ["256", "512", "1024", "2048", "BSD-3-Clause", "no"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("fit DATA --out NEW --lerning-rate 1", "No such option: --lerning-rate"),
        ("fot DATA --out NEW", "No such command 'fot'. Did you mean 'fit'"),
        ("fit DATA", "Missing option '--out'"),
        ("fit --out NEW", "Missing argument 'DATA'"),
        ("fit DATA --out NEW --seed abc", "Invalid value for '--seed'"),
        ("predict MODEL --out NEW", "Missing argument 'PATH'"),
        ("predict MODEL DATA", "Missing option '--out'"),
        ("teacher fetch", "Missing argument 'NAME'"),
        ("teacher lost", "No such command 'lost'. Did you mean 'list'"),
        ("inspect", "Missing argument 'MODEL'"),
        ("demo extra", "Got unexpected extra argument"),
    ],
)
def test_wrong_usage_ends_with_2(capsys, parts, model, tmp_path, arguments, message):
    places = {"DATA": parts, "MODEL": model, "NEW": tmp_path / "new"}
    code, printed, err = run(capsys, *(places.get(word, word) for word in arguments.split()))
    assert (code, printed) == (2, "")
    assert err.startswith("Usage: blemish")
    assert message in err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("fit DATA --out NEW --sizes abc", "sizes: abc is not allowed, expected whole numbers such as 128,256"),
        ("fit DATA --out NEW --sizes 64,,96", "sizes: 64,,96 is not allowed, expected whole numbers such as 128,256"),
        ("fit DATA --out NEW --sizes 100", "sizes: [100] is not allowed"),
        ("fit DATA --out NEW --sizes 64,64", "sizes: [64, 64] is not allowed"),
        ("fit DATA --out NEW --levels 1", "levels: [1] is not allowed"),
        ("fit DATA --out NEW --levels 2.5", "levels: 2.5 is not allowed"),
        ("fit DATA --out NEW --recipe slow", "recipe slow is not known"),
        ("fit DATA --out NEW --score best", "score: best is not allowed"),
        ("fit DATA --out NEW --seed -1", "seed: -1 is not allowed"),
        ("fit DATA --out NEW --device tpu", "device: tpu is not allowed, expected auto, cpu or cuda"),
        ("fit DATA --out NEW --teacher vgg", "teacher vgg is not known"),
        ("fit DATA --out NEW --teacher resnet18", "or run: blemish teacher fetch resnet18"),
        ("fit DATA --out NEW --weights NONE", "none: no such file"),
        ("fit DATA --out DATA", "is a folder; expected the name of a file"),
        ("fit DATA --out NONE/m.safetensors", "none does not exist"),
        ("fit DATA --out INSIDE", "lies in the input folder"),
        ("fit DATA --out MODEL", "exists; pass --overwrite to replace it"),
        ("fit NONE --out NEW", "no such folder"),
        ("fit EMPTY --out NEW", "no images found in"),
        ("fit MODEL --out NEW", "not a folder"),
        ("fit FEW --out NEW", "need >= 6 different images of good parts, found 1"),
        ("predict NONE TEST --out NEW", "none: no such file"),
        ("predict MODEL TEST NONE --out NEW", "no such file or folder: "),
        ("predict MODEL DATA --out NEW", "a data set, with masks; give a folder of images in it"),
        ("predict MODEL EMPTY --out NEW", "no images found in"),
        ("predict MODEL TEST --out MODEL", "is not a folder"),
        ("predict MODEL TEST --out NEW --device tpu", "device: tpu is not allowed"),
        ("evaluate MODEL EMPTY", "no test images found in"),
        ("evaluate MODEL NONE", "no such folder"),
        ("evaluate MODEL DATA --resolution 300", "resolution: 300 is not allowed, expected 256 or original"),
        ("evaluate MODEL DATA --used some", "used: some is not allowed, expected refuse, skip, include"),
        ("evaluate MODEL DATA --json MODEL", "exists; pass --overwrite to replace it"),
        ("evaluate MODEL DATA --json NONE/e.json", "none does not exist"),
        ("inspect NONE", "no such file"),
        ("weigh DATA DATA --out NEW", "not a file"),
        ("export DATA --to onnx --out NEW", "not a file"),
        ("teacher fetch vgg", "teacher vgg is not known"),
        ("demo --out DATA", "is not empty and not from an earlier demo"),
        ("demo --out MODEL", "is not a folder"),
    ],
)
def test_a_bad_input_is_one_line_and_ends_with_2(capsys, monkeypatch, parts, model, tmp_path, arguments, message):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "a.png").write_bytes((parts / "train" / "good" / "000.png").read_bytes())
    places = {
        "DATA": parts, "TEST": parts / "test", "MODEL": model, "NEW": tmp_path / "new", "NONE": tmp_path / "none",
        "NONE/m.safetensors": tmp_path / "none" / "m.safetensors", "NONE/e.json": tmp_path / "none" / "e.json",
        "INSIDE": parts / "m.safetensors", "EMPTY": tmp_path / "empty", "FEW": tmp_path / "few",
    }  # fmt: skip
    before = model.read_bytes()
    code, printed, err = run(capsys, *(places.get(word, word) for word in arguments.split()))
    assert (code, printed) == (2, "")
    assert err.splitlines()[-1].startswith("error: ")
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err
    assert sorted(os.listdir(tmp_path)) == ["empty", "few"]
    assert model.read_bytes() == before


@pytest.mark.parametrize("command", ["inspect", "evaluate", "predict"])
@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "model file is damaged: empty file"), (b"PK\x03\x04" + bytes(99), "pickle files are never loaded")],
)
def test_a_bad_model_file_ends_with_3(capsys, parts, tmp_path, command, content, message):
    file = tmp_path / "m.safetensors"
    file.write_bytes(content)
    more = {"inspect": [], "evaluate": [parts], "predict": [parts / "test", "--out", tmp_path / "out"]}[command]
    code, printed, err = run(capsys, command, file, *more)
    assert (code, printed) == (3, "")
    assert err.startswith(f"error: {file}: {message}")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_written_ends_with_4(capsys, parts, model, tmp_path):
    (tmp_path / "m.safetensors.partial").touch()
    code, _, err = run(capsys, "fit", parts, "--out", tmp_path / "m.safetensors", *SIZES)
    assert code == 4
    assert "m.safetensors.partial" in err.splitlines()[-1]
    code, printed, err = run(capsys, "predict", model, parts / "test", "--out", tmp_path / ("n" * 300))
    assert (code, printed, err.count("\n")) == (4, "", 1)


def test_names_on_the_terminal_are_harmless(capsys, tmp_path):
    code, printed, err = run(capsys, "predict", tmp_path / "a\n\x1b[31m[bold]b", tmp_path, "--out", tmp_path / "out")
    assert (code, printed) == (2, "")
    (tmp_path / "x.png").touch()
    code, printed, err = run(capsys, "inspect", tmp_path / "a\n\x1b[31m[bold]b")
    assert (code, printed) == (2, "")
    assert err == f"error: {tmp_path}/a\\n\\x1b[31m[bold]b: no such file\n"


def test_a_closed_pipe_is_quiet(model):
    command = (
        f"{sys.executable} -c 'import sys; from blemish.cli.app import main; sys.exit(main())' inspect {model} | true"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes."),
        RuntimeError("unable to mmap 4096 bytes from file </tmp/x>: Cannot allocate memory (12)"),
    ],
)
def test_too_little_memory_is_one_line(capsys, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("blemish.printing.models.print_teachers", fail)
    code, printed, err = run(capsys, "teacher", "list")
    assert (code, printed) == (2, "")
    assert err == "error: out of memory; use fewer images, smaller --sizes or fewer --levels\n"


def test_what_torch_says_of_too_little_memory_is_known(capsys, monkeypatch):
    monkeypatch.setattr("blemish.printing.models.print_teachers", lambda: torch.empty(1 << 50, dtype=torch.uint8))
    assert run(capsys, "teacher", "list")[0] == 2


def test_an_error_that_only_speaks_of_memory_is_not_hidden(monkeypatch):
    def fail():
        raise RuntimeError("unsupported memory format option Preserve")

    monkeypatch.setattr("blemish.printing.models.print_teachers", fail)
    with pytest.raises(RuntimeError, match="memory format"):
        main(["teacher", "list"])


def test_fetch_says_that_the_weights_are_here(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, printed, err = run(capsys, "teacher", "fetch", "tf_efficientnet_lite0")
    assert (code, printed) == (0, f"{find_weights('tf_efficientnet_lite0')}\n")
    assert err == "the weights of tf_efficientnet_lite0 were on this machine already; nothing was downloaded\n"
    assert os.listdir(tmp_path) == []


def test_fit_says_once_that_images_are_unlike_each_other(capsys, parts, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    for index, path in enumerate(find_images(parts / "train" / "good")):
        picture = Image.open(path).convert("L" if index < 2 else "RGB")
        picture.crop((0, 0, 160, 120 if index == 5 else 160)).save(folder / path.name)
    code, _, err = run(capsys, "fit", folder, "--out", tmp_path / "m.safetensors", *SIZES)
    assert code == 0
    assert [line for line in err.splitlines() if line.startswith("warning")] == [
        "warning: images differ in shape: 9 of 160x160, 1 of 160x120; each is stretched to the same square",
        "warning: 2 grey images among 8 in colour: grey is taken as a colour",
    ]


def test_a_second_fit_is_refused_while_the_first_trains_and_while_it_saves(capsys, parts, tmp_path, monkeypatch):
    """And it harms nothing: not the temporary file of the model that is being written, nor what is kept."""
    out = tmp_path / "m.safetensors"
    command = "fit", parts, "--out", out, *SIZES
    tried, statistics, replace = [], fitting.fit_statistics, os.replace

    def second():
        before = sorted(path.name for path in tmp_path.rglob("*"))
        code, _, err = run(capsys, *command)
        assert sorted(path.name for path in tmp_path.rglob("*")) == before
        tried.append((code, err.splitlines()[-1]))

    def train(*arguments):
        second()
        return statistics(*arguments)

    def rename(source, target):
        if Path(target) == out:
            second()
        return replace(source, target)

    monkeypatch.setattr(fitting, "fit_statistics", train)
    monkeypatch.setattr(os, "replace", rename)
    assert run(capsys, *command)[0] == 0
    assert tried == [(2, f"error: {out}: another fit is at work on it; wait, or choose another --out")] * 3
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_a_model_that_another_fit_has_just_written_is_not_replaced(capsys, parts, tmp_path, monkeypatch):
    out, look = tmp_path / "m.safetensors", workspace.good_images

    def written_meanwhile(data):
        out.write_text("the other's")
        return look(data)

    monkeypatch.setattr(workspace, "good_images", written_meanwhile)
    code, _, err = run(capsys, "fit", parts, "--out", out, *SIZES)
    assert code == 2
    assert err.splitlines()[-1] == f"error: {out}: exists; pass --overwrite to replace it"
    assert out.read_text() == "the other's"
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_a_lock_on_a_file_that_is_gone_is_none(tmp_path, monkeypatch):
    """A second fit opens the lock file, the first ends and removes it, a third makes another: two must not work."""
    folder, flock = tmp_path / "m.safetensors.partial", fcntl.flock
    folder.mkdir()
    (folder / "lock").touch()
    third = FileLock(folder / "lock")

    def late(descriptor, operation):
        monkeypatch.undo()
        (folder / "lock").unlink()
        third.acquire()
        return flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with pytest.raises(InputError, match="another fit is at work"), workspace._alone(folder, tmp_path / "m"):
        pytest.fail("two fits are at work")
    assert third.is_locked
    third.release()


def test_a_file_system_without_locks_is_no_traceback(capsys, parts, tmp_path, monkeypatch):
    def missing(descriptor, operation):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", missing)
    out = tmp_path / "m.safetensors"
    with pytest.warns(UserWarning, match="flock not supported"):
        code, _, err = run(capsys, "fit", parts, "--out", out, *SIZES)
    assert (code, "Traceback" in err) == (0, False)
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_two_fits_of_one_model_file_do_not_mix(capsys, parts, tmp_path):
    out = tmp_path / "brick.safetensors"
    (tmp_path / "brick.safetensors.partial").mkdir()
    with FileLock(tmp_path / "brick.safetensors.partial" / "lock"):
        code, printed, told = run(capsys, "fit", parts, "--out", out, *SIZES)
    assert (code, printed) == (2, "")
    assert told.splitlines()[-1] == f"error: {out}: another fit is at work on it; wait, or choose another --out"
    assert run(capsys, "fit", parts, "--out", out, *SIZES)[0] == 0
    assert os.listdir(tmp_path) == ["brick.safetensors"]


def test_the_demo_makes_its_folder_and_can_run_again(capsys, tmp_path, monkeypatch):
    from blemish.demo import run as demo

    monkeypatch.setattr(demo, "SIZES", (64,))
    monkeypatch.setattr(demo, "LEVELS", (2,))
    monkeypatch.setattr(demo, "RECIPE", "fast")  # the one of a few steps
    monkeypatch.setattr(demo, "make_textures", lambda out: make_textures(out, train=6, validation=2, test=1, defects=1))
    out = tmp_path / "demo"
    for _ in range(2):
        code, printed, _ = run(capsys, "demo", "--out", out)
        assert code == 0
        lines = printed.splitlines()
        assert [line.split()[0] for line in lines[2:5]] == ["brick", "grass", "gravel"]
        assert f"pictures      {out}/demo.png" in lines
        assert sorted(os.listdir(out)) == ["data", "demo.json", "demo.png", "made-by-blemish-demo", "models", "results"]
    figures = json.loads((out / "demo.json").read_text())
    assert figures["grass"]["images"] == 5
    assert len(list((out / "results" / "gravel" / "overlays").rglob("*.png"))) == 5
    with Image.open(out / "demo.png") as sheet:
        assert sheet.width > 3 * 3 * 192
