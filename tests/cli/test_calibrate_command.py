"""The command `blemish calibrate`: model files and bundles, what it prints, what it refuses."""

import shutil

import numpy as np
import pytest
from PIL import Image

from blemish import Detector
from blemish.cli.app import main
from blemish.model.file import load
from blemish.runtime import Runtime
from blemish.runtime.bundle import read_bundle
from commands import (
    model,  # noqa: F401
    parts,  # noqa: F401
    quick_recipe,  # noqa: F401
    run,
)


def header(path):
    return load(path)[0]


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "brick"
    assert main(["export", str(model), "--to", "onnx", "--out", str(out)]) == 0
    return out


def test_other_thresholds_change_nothing_else(model, tmp_path, capsys):
    out = tmp_path / "new.safetensors"
    code, said, err = run(capsys, "calibrate", model, "--threshold", "0.25,0.5", "--out", out)
    assert (code, err) == (0, "")
    before, after = load(model), load(out)
    assert (after[0].calibration.review, after[0].calibration.ng) == (0.25, 0.5)
    update = {"review": 0.25, "ng": 0.5}
    calibration = before[0].calibration.model_copy(update=update)
    assert after[0] == before[0].model_copy(update={"calibration": calibration})
    assert {name: tensor.tobytes() for name, tensor in after[1].items()} == {
        name: tensor.tobytes() for name, tensor in before[1].items()
    }
    lines = dict(line.split("  ", 1) for line in said.splitlines())
    assert lines["REVIEW above"].split(";")[0].strip() == "0.2500"
    assert lines["NG above"].split(";")[0].strip() == "0.5000"
    assert lines["before"].strip() == f"thresholds {before[0].calibration.review:.4f}"


def test_a_bundle_is_calibrated_without_torch_and_scores_as_before(exported, parts, tmp_path, capsys):
    out = tmp_path / "new"
    code, _, err = run(capsys, "calibrate", exported, parts / "test" / "good", "--threshold", "0.3", "--out", out)
    assert code == 0, err
    before, after = read_bundle(exported), read_bundle(out)
    assert after.model.calibration.review == 0.3
    assert len(after.model.calibration.held_out) == 4
    assert (after.graph, after.golden, after.tolerance) == (before.graph, before.golden, before.tolerance)
    assert after.sha256 != before.sha256
    image = next((parts / "test" / "hole").iterdir())
    (one,), (other,) = (Runtime.load(folder, threads=1).predict(image) for folder in (exported, out))
    assert one.score == pytest.approx(other.score, abs=1e-6)
    assert other.verdict == ("NG" if other.score > 0.3 else "OK")


def test_new_images_are_compared_with_those_before(model, parts, tmp_path, capsys):
    out, plot = tmp_path / "new.safetensors", tmp_path / "shift.png"
    code, said, err = run(capsys, "calibrate", model, parts / "test" / "good", "--out", out, "--plot", plot)
    assert code == 0, err
    assert "the new good images score higher than those before in" in err
    assert "4 good images" in said
    assert [image.name for image in header(out).calibration.held_out] == sorted(
        path.name for path in (parts / "test" / "good").iterdir()
    )
    with Image.open(plot) as picture:
        assert picture.size == (800, 300)


def test_images_that_have_changed_are_said_to_have(model, parts, tmp_path, capsys):
    dark = tmp_path / "dark"
    dark.mkdir()
    random = np.random.default_rng(0)
    for index, path in enumerate([*(parts / "test" / "good").iterdir()] * 5):
        with Image.open(path) as picture:
            noisy = np.asarray(picture) * 0.3 + random.normal(0, 25, picture.size[::-1])
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(dark / f"{index}.png")
    first = tmp_path / "first.safetensors"
    assert run(capsys, "calibrate", model, parts / "test" / "good", "--add", "--out", first)[0] == 0
    code, _, err = run(capsys, "calibrate", first, dark, "--out", tmp_path / "second.safetensors")
    assert code == 0
    assert "in 100% of pairs" in err
    assert "it is the images that have changed, not the threshold that was wrong" in err
    assert "warning: look for another light, focus, camera or product" in err


def test_labelled_images_show_escapes_and_are_remembered(model, parts, tmp_path, capsys):
    out = tmp_path / "new.safetensors"
    code, said, _ = run(capsys, "calibrate", model, "--labelled", parts, "--threshold", "0.9999999", "--out", out)
    assert code == 0
    row = next(line for line in said.splitlines() if "chosen" in line)
    assert row.split()[0] == "1.0000"
    assert "8/8" in row
    assert "(63.1% to 100.0%)" in row  # none of 8 found; (1 / 40) ** (1 / 8) is 0.6306
    assert "0/4" in row
    assert len(header(out).data.judged) == 12
    code, _, err = run(capsys, "evaluate", out, parts)
    assert code == 2
    assert "12 judged thresholds (same picture)" in err


def test_one_that_is_no_good_part_is_left_out(model, parts, tmp_path, capsys):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    assert run(capsys, "calibrate", model, parts / "test" / "good", "--out", first)[0] == 0
    highest = max(header(first).calibration.held_out, key=lambda image: image.score)
    assert run(capsys, "calibrate", first, "--without", highest.name, "--out", second)[0] == 0
    assert highest.name not in [image.name for image in header(second).calibration.held_out]
    assert len(header(second).calibration.held_out) == 3


def test_a_stranger_is_named_and_drawn(model, parts, tmp_path, capsys):
    good = shutil.copytree(parts / "test" / "good", tmp_path / "good")
    for index, path in enumerate(sorted(good.iterdir())):
        for turn in (0, 1, 3):  # mirrored and upside down: twelve of them, all alike in their score
            with Image.open(path) as picture:
                picture.transpose(Image.Transpose(turn)).save(good / f"{index}-{turn}.png")
        path.unlink()
    Image.fromarray(np.uint8(255 * (np.indices((192, 192)).sum(axis=0) % 64 < 32))).save(good / "a hair.png")
    out = tmp_path / "new.safetensors"
    code, _, err = run(capsys, "calibrate", model, good, "--out", out)
    assert code == 0
    assert "a hair.png scores" in err
    assert "far above the other held-out images" in err
    assert f"blemish calibrate {out} --without 'a hair.png'" in err
    (picture,) = (tmp_path / "new.safetensors.strangers").iterdir()
    assert picture.name.endswith("a hair.png.png")
    more = tmp_path / "more.safetensors"
    Image.fromarray(np.uint8(255 * (np.indices((192, 192)).sum(axis=0) % 48 < 24))).save(tmp_path / "another hair.png")
    code, _, err = run(capsys, "calibrate", out, tmp_path / "another hair.png", "--add", "--out", more)
    assert code == 0
    assert "a hair.png" in err  # from before: named, but nobody knows where it is
    assert "another hair.png scores" in err
    (picture,) = (tmp_path / "more.safetensors.strangers").iterdir()
    assert picture.name.endswith("another hair.png.png")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ([], "calibrate: nothing to do; give good images, --without, --false-alarms or --threshold"),
        (["--false-alarms", "5"], "false alarms: 5 is not clear, write 5% or 0.05"),
        (["--false-alarms", "1%"], "false alarms: 1 % needs 99 held-out good images; these 2 support 34 % (one image "
                                   "decides) or 67 %"),
        (["--false-alarms", "5%", "--threshold", "0.5"], "false alarms and threshold: give one of them"),
        (["--without", "x.png"], "without: x.png is none of the 2 held-out images"),
        (["--labelled", "TRAIN"], "labelled: shows what thresholds do once one is chosen; add --false-alarms or "
                                  "--threshold, or give good images"),
        (["--plot", "PLOT", "--threshold", "0.5"], "plot: needs GOOD, the new images; it shows their scores beside"),
        (["TRAIN"], "good: the model was trained on 10 of these 10 images: 10 trained (same picture)"),
        (["NOWHERE"], "no such file: NOWHERE"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line_and_leaves_nothing(model, parts, tmp_path, capsys, options, text):
    out, places = tmp_path / "new.safetensors", {"PLOT": tmp_path / "a.png", "TRAIN": parts / "train" / "good"}
    given = [places.get(one, one) for one in options]
    code, said, err = run(capsys, "calibrate", model, *given, "--out", out)
    assert (code, said) == (2, "")
    assert text in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_models_own_file_may_be_replaced(model, tmp_path, capsys):
    own = shutil.copy(model, tmp_path / "own.safetensors")
    assert run(capsys, "calibrate", own, "--threshold", "0.25", "--out", own)[0] == 2
    assert run(capsys, "calibrate", own, "--threshold", "0.25", "--out", own, "--overwrite")[0] == 0
    assert Detector.load(own).thresholds_.review == 0.25


def copies(paths, folder):
    folder.mkdir()
    for path in paths:
        shutil.copy(path, folder)
    return folder


def test_groups_count_and_the_promise_is_about_a_new_one(model, parts, tmp_path, capsys):
    good, out = tmp_path / "good", tmp_path / "new.safetensors"
    good.mkdir()
    for part, path in enumerate(sorted((parts / "test" / "good").iterdir())):
        with Image.open(path) as picture:
            picture.save(good / f"part{part}-a.png")
            picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(good / f"part{part}-b.png")
    code, said, err = run(capsys, "calibrate", model, good, "--group-by", r"part\d", "--out", out)
    assert code == 0, err
    calibration = header(out).calibration
    highest = {}
    for image in calibration.held_out:
        assert image.group == image.name[:5]
        highest[image.group] = max(highest.get(image.group, 0), image.score)
    assert (len(calibration.held_out), sorted(highest)) == (8, ["part0", "part1", "part2", "part3"])
    first, second, *_ = sorted(highest.values(), reverse=True)
    assert calibration.review == second
    lines = dict(line.split("  ", 1) for line in said.splitlines())
    assert lines["held out"].strip() == "8 good images; in 4 groups, and the promise is about a new group"
    assert lines["could be"].strip().startswith(f"20 %: {first:.4f} (one image decides), 40 %: {second:.4f}, ")


def test_a_photograph_saved_again_counts_once_and_that_is_said(model, parts, tmp_path, capsys):
    pngs, out = sorted((parts / "test" / "good").iterdir()), tmp_path / "new.safetensors"
    good = copies(pngs, tmp_path / "good")
    for path in pngs[:2]:
        with Image.open(path) as picture:
            picture.save(good / f"{path.stem} again.jpg", quality=90)
    code, said, err = run(capsys, "calibrate", model, good, "--out", out)
    assert code == 0, err
    counted = header(out).calibration.held_out
    assert sorted(image.name[:3] for image in counted) == [path.stem for path in pngs]
    line = next(line for line in err.splitlines() if line.startswith("one photograph saved twice"))
    assert line.startswith("one photograph saved twice counts once: 2 pairs, such as ")
    assert "000 again.jpg" in line
    assert "000.png" in line
    assert "4 good images" in said
    assert "20 %: " in said  # 1 of 4 + 1


def test_held_out_images_in_two_folders_are_found_by_weigh_and_export(model, parts, tmp_path, capsys):
    today, both = tmp_path / "today", tmp_path / "both.safetensors"
    today.mkdir()
    for path in (parts / "test" / "good").iterdir():
        with Image.open(path) as picture:
            picture.transpose(Image.Transpose.ROTATE_90).save(today / path.name)
    assert run(capsys, "calibrate", model, today, "--add", "--out", both)[0] == 0
    held_out = {part.sha256 for part in header(both).data.held_out}
    assert len(held_out) == 6
    weigh = ["weigh", both, parts, "--out", tmp_path / "w.safetensors"]
    export = ["export", both, "--to", "onnx", "--out", tmp_path / "onnx"]
    for command in (weigh, export):
        for folder, missing in ((parts, 4), (today, 2)):
            code, _, err = run(capsys, *command, "--good", folder)
            assert code == 2
            assert f"good: {missing} of the 6 good images that set the threshold are not among those given" in err
        assert run(capsys, *command, "--good", parts, "--good", today)[0] == 0
    assert {one.sha256 for one in header(tmp_path / "w.safetensors").calibration.held_out} == held_out
    places = {tmp_path / "today" / "x.safetensors": today, parts / "x.safetensors": parts}
    for out, folder in places.items():
        code, _, err = run(capsys, *weigh[:3], "--out", out, "--good", parts, "--good", today)
        assert (code, err) == (2, f"error: {out}: lies in the input folder {folder}; choose another place\n")


def test_what_sets_thresholds_does_not_judge_them(model, parts, tmp_path, capsys):
    out = tmp_path / "new.safetensors"
    code, said, err = run(capsys, "calibrate", model, parts / "test" / "good", "--labelled", parts, "--out", out)
    assert (code, said) == (2, "")
    assert "4 held out (same picture)" in err.splitlines()[-1]
    assert not out.exists()


def test_with_add_only_the_new_images_are_compared(model, parts, tmp_path, capsys):
    ranked = sorted(Detector.load(model).predict(parts / "test" / "good"), key=lambda one: one.score)
    low = copies([one.path for one in ranked[:2]], tmp_path / "low")
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    assert run(capsys, "calibrate", model, low, "--out", first)[0] == 0
    code, said, err = run(capsys, "calibrate", first, parts / "test" / "good", "--add", "--out", second)
    assert code == 0, err
    assert "4 good images" in said
    assert "higher than those before in 100% of pairs" in err  # with the two from before as new ones 75%
    code, said, err = run(capsys, "calibrate", second, low, "--add", "--out", tmp_path / "third.safetensors")
    assert code == 0, err
    assert "4 good images" in said
    assert "of pairs" not in err  # nothing is new
