"""The options --roi, --ignore and --ignore-border: what they print, keep and refuse."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from blemish import Detector
from blemish.cli.app import main
from blemish.model.file import load
from commands import (
    SIZES,
    parts,  # noqa: F401
    quick_recipe,  # noqa: F401
    run,
)


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    """left.png: the left half of 96 x 96 px; top.png: the upper quarter; wide.png: of another aspect; none.png."""
    folder = tmp_path_factory.mktemp("masks")
    left, top = np.zeros((96, 96), np.uint8), np.zeros((48, 48), np.uint8)
    left[:, :48] = top[:12] = 255
    for name, mask in {"left": left, "top": top, "wide": left[:60], "none": left * 0}.items():
        Image.fromarray(mask).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def looking(parts, masks, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "left.safetensors"
    options = ["--roi", masks / "left.png", "--ignore", masks / "top.png", "--ignore-border", "12.5%"]
    assert main(["fit", str(parts), "--out", str(out), *SIZES, *map(str, options)]) == 0
    return out


def facts(said):
    return dict(line.split("  ", 1) for line in said.splitlines() if "  " in line)


def test_fit_and_inspect_say_it(looking, capsys):
    """Of 64 x 64 px rows 16 to 55 and columns 8 to 31: 40 x 24 of 4096."""
    code, said, err = run(capsys, "inspect", looking)
    assert (code, err) == (0, "")
    line = "23.4 % of the image: from left.png without top.png of 96x96, without a border of 12.5 %"
    assert facts(said)["counts"].strip() == line
    code, said, _ = run(capsys, "inspect", looking, "--json")
    roi = json.loads(said)["roi"]
    assert (roi["width"], roi["height"], roi["border"], roi["roi"], roi["ignore"]) == (
        96, 96, 0.125, "left.png", "top.png"
    )  # fmt: skip


def test_predict_goes_on_after_an_image_of_another_aspect(looking, parts, tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    good = next((parts / "test" / "good").iterdir())
    (folder / "b.png").write_bytes(good.read_bytes())
    Image.fromarray(np.zeros((60, 96), np.uint8)).save(folder / "a.png")
    code, _, _ = run(capsys, "predict", looking, folder, "--out", tmp_path / "results")
    assert code == 2
    first, second = map(json.loads, (tmp_path / "results" / "results.jsonl").read_text().splitlines())
    expected = f"{folder}/a.png: image 96x60 vs 96x96 of the mask left.png: the region of interest needs images of its "
    assert first["error"].startswith(expected)
    assert second["score"] > 0
    header = json.loads((tmp_path / "results" / "model.json").read_text())["header"]
    assert header["roi"]["roi"] == "left.png"


def test_calibrate_scores_good_images_by_another(looking, parts, masks, tmp_path, capsys):
    out, good = tmp_path / "new.safetensors", parts / "test" / "good"
    code, said, err = run(capsys, "calibrate", looking, good, "--ignore", masks / "top.png", "--out", out)
    assert (code, err) == (0, "")  # no word on a shift: the scores are of other pixels
    assert facts(said)["counts"].strip() == "75 % of the image: without top.png of 48x48"
    header = load(out)[0]
    assert header.roi.inside[16:].all()
    assert len(header.calibration.held_out) == 4
    bundle, other = tmp_path / "bundle", tmp_path / "other"
    assert run(capsys, "export", looking, "--to", "onnx", "--out", bundle)[0] == 0
    code, said, err = run(capsys, "calibrate", bundle, good, "--ignore-border", "0", "--out", other)
    assert (code, err) == (0, "")
    assert "counts" not in facts(said)
    assert run(capsys, "predict", other, good, "--out", tmp_path / "results")[0] == 0  # it tests itself


def test_the_folder_of_the_fit_gives_the_images_held_out(parts, masks, tmp_path, capsys):
    """Of twelve images in one folder four are held out; two new ones count as given."""
    folder, fitted, out = tmp_path / "good", tmp_path / "fitted.safetensors", tmp_path / "new.safetensors"
    folder.mkdir()
    for kind in ("train", "validation"):
        for path in (parts / kind / "good").iterdir():
            shutil.copy(path, folder / f"{kind}-{path.name}")
    assert run(capsys, "fit", folder, "--out", fitted, *SIZES)[0] == 0
    own = {part.sha256 for part in load(fitted)[0].data.held_out}
    assert len(own) == 4
    options = ["--roi", masks / "left.png", "--overwrite", "--out", out]
    alone = "the scores that other students gave to images that train are gone: the promise now rests on these alone"
    code, said, err = run(capsys, "calibrate", fitted, folder, *options)
    assert code == 0, err
    assert err.splitlines() == ["good: 4 held-out images used, 8 passed over as they trained", alone]
    header = load(out)[0]
    assert {image.sha256 for image in header.calibration.held_out} == own
    assert header.calibration.crossed == 0
    assert facts(said)["held out"].strip() == "4 good images"
    for path in sorted((parts / "test" / "good").iterdir())[:2]:
        shutil.copy(path, folder / f"new-{path.name}")
    code, _, err = run(capsys, "calibrate", fitted, folder, *options)
    assert code == 0, err
    assert err.splitlines()[0] == "good: 4 held-out and 2 new images used, 8 passed over as they trained"
    header = load(out)[0]
    assert len(header.calibration.held_out) == 6
    assert own < {image.sha256 for image in header.calibration.held_out}
    code, _, err = run(capsys, "calibrate", out, folder, *options)  # of a model without scores by others
    assert (code, alone in err) == (0, False)
    detector = Detector.load(fitted).calibrate(folder, roi=masks / "left.png")
    assert detector.header_.calibration.held_out == header.calibration.held_out
    code, _, err = run(capsys, "calibrate", fitted, folder, "--out", tmp_path / "none")  # without a region: as ever
    assert code == 2
    assert "good: the model was trained on 8 of these 14 images" in err


def test_without_an_image_held_out_those_that_trained_are_refused(looking, parts, masks, tmp_path, capsys):
    command = ["calibrate", looking, parts / "train" / "good", "--roi", masks / "left.png", "--out", tmp_path / "none"]
    code, _, err = run(capsys, *command)
    assert code == 2
    assert err.startswith("error: good: the model was trained on 10 of these 10 images: 10 trained (same picture)")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--ignore-border", "3"], "ignore-border: 3 is not clear, write 3% or 0.03"),
        (["--ignore-border", "50%"], "ignore-border: 50% is not allowed, expected 0 % or more and below 50 %"),
        (["--ignore-border", "nan"], "ignore-border: nan is not allowed"),
        (["--roi", "none.png"], "region of interest: 0 % of the image is left (none.png), at least 0.1 % must be"),
        (["--roi", "left.png", "--ignore", "left.png"], "region of interest: 0 % of the image is left"),
        (["--roi", "left.png", "--ignore", "wide.png"], "wide.png: mask 96x60 vs 96x96 of left.png"),
        (["--roi", "missing.png"], "no such file: "),
        (["--ignore", "."], ": not a file"),
    ],
)
@pytest.mark.parametrize("command", ["fit", "calibrate"])
def test_bad_masks_and_borders_are_refused_in_one_line(
    looking, parts, masks, tmp_path, capsys, command, options, message
):
    given = [masks / value if value.endswith((".png", ".")) and value[0] != "-" else value for value in options]
    inputs = [parts] if command == "fit" else [looking, parts / "test" / "good"]
    code, said, err = run(capsys, command, *inputs, "--out", tmp_path / "out.safetensors", *given)
    assert (code, said) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_images_of_another_aspect_do_not_fit(parts, masks, tmp_path, capsys):
    code, _, err = run(capsys, "fit", parts, "--out", tmp_path / "out.safetensors", *SIZES, "--roi", masks / "wide.png")
    assert code == 2
    assert "image 192x192 vs 96x60 of the mask wide.png" in err.splitlines()[-1]


def test_calibrate_needs_good_images_for_another(looking, parts, masks, tmp_path, capsys):
    out = ["--out", tmp_path / "out.safetensors", "--ignore-border", "5%"]
    code, _, err = run(capsys, "calibrate", looking, *out)
    assert (code, err) == (
        2,
        "error: region of interest: another one needs good images, which are scored by it: give GOOD\n",
    )
    code, _, err = run(capsys, "calibrate", looking, parts / "test" / "good", "--add", *out)
    assert code == 2
    assert "add: scores by another region of interest cannot join those from before" in err


def test_a_mask_is_neither_an_image_nor_an_output(parts, masks, tmp_path, capsys):
    mask = parts / "train" / "good" / "mask.png"
    mask.write_bytes((masks / "left.png").read_bytes())
    try:
        code, _, err = run(
            capsys, "fit", parts / "train" / "good", "--out", tmp_path / "out.safetensors", "--roi", mask
        )
    finally:
        mask.unlink()
    assert code == 2
    assert err.splitlines()[-1] == f"error: {mask}: the mask lies among the images; keep it elsewhere"
    code, _, err = run(capsys, "fit", parts, "--out", masks / "left.png", "--roi", masks / "left.png", "--overwrite")
    assert code == 2
    assert f"{masks / 'left.png'}: is the input {masks / 'left.png'}; choose another place" in err
