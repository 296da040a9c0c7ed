"""blemish fit: what it says, how it is stopped and goes on, and two fits at a time."""

import errno
import fcntl
import json
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from blemish import Detector
from blemish.data.listing import find_images
from blemish.errors import InputError
from blemish.method.learning import fitting
from blemish.model import file as modelfile
from blemish.model import workspace
from blemish.runtime import Runtime
from commands import SIZES, child, digest, model, parts, quick_recipe, run  # noqa: F401


def test_fit_says_what_it_does_and_what_came_of_it(capsys, parts, tmp_path, model):
    out = tmp_path / "m.safetensors"
    code, printed, err = run(capsys, "fit", parts, "--out", out, *SIZES)
    assert code == 0
    first, second, third, *lines = err.splitlines()
    assert first == f"{parts}: 12 good images"
    assert second == "2 modules: sizes 64 x levels 2, 3; teacher tf_efficientnet_lite0"
    assert third == "recipe fast, score memory, seed 0"
    # Two modules may learn at the same time, and end in any order.
    assert sorted(line.split(",")[0] for line in lines[:-1]) == ["module 1 of 2", "module 2 of 2"]
    assert sorted(re.findall(r"(64/\d): trained, loss ", err)) == ["64/2", "64/3"]
    assert lines[-1] == "10 images trained, 2 held out"
    assert lines[1].endswith(" 0 s left")
    header, _ = modelfile.load(out)
    lines = dict(line.split(None, 1) for line in printed.splitlines())
    assert list(lines) == ["model", "NG", "could", "held", "time"]
    assert lines["model"] == f"{out} ({out.stat().st_size / 1e6:.1f} MB)"
    low, high = sorted(header.calibration.scores)
    assert lines["NG"] == f"above  {low:.4f}; of good parts like those held out at most 67 %"
    menu = f"34 %: {high:.4f} (one image decides), 67 %: {low:.4f}"
    assert lines["could"] == f"be  {menu}"
    assert lines["held"] == "out  2 good images"
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
        ("fit_statistics", stop, "after 0 of 2 modules"),
        ("_keep", keep_and_stop, "after 1 of 2 modules"),
        ("fit_statistics", stop, "after 1 of 2 modules"),
        ("_keep", keep_and_stop, "after 2 of 2 modules"),
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


def test_ctrl_c_while_the_kept_modules_are_removed_is_one_line(capsys, parts, tmp_path, monkeypatch):
    remove = shutil.rmtree

    def remove_and_stop(*given, **options):
        remove(*given, **options)
        if ".partial" in str(given[0]):
            raise KeyboardInterrupt

    monkeypatch.setattr(workspace.shutil, "rmtree", remove_and_stop)
    code, _, err = run(capsys, "fit", parts, "--out", tmp_path / "m.safetensors", *SIZES)
    assert code == 130
    assert err.splitlines()[-1] == "interrupted; the same command continues after 0 of 2 modules"
    assert os.listdir(tmp_path) == ["m.safetensors"]


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
    tried, statistics, link = [], fitting.fit_statistics, os.link

    def second():
        before = sorted(path.name for path in tmp_path.rglob("*"))
        code, _, err = run(capsys, *command)
        assert sorted(path.name for path in tmp_path.rglob("*")) == before
        tried.append((code, err.splitlines()[-1]))

    def train(*arguments, **named):
        second()
        return statistics(*arguments, **named)

    def rename(source, target):
        if Path(target) == out:
            second()
        return link(source, target)

    monkeypatch.setattr(fitting, "fit_statistics", train)
    monkeypatch.setattr(os, "link", rename)
    assert run(capsys, *command)[0] == 0
    assert tried == [(2, f"error: {out}: another fit is at work on it; wait, or choose another --out")] * 3
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_a_model_that_another_fit_has_just_written_is_not_replaced(capsys, parts, tmp_path, monkeypatch):
    out, look = tmp_path / "m.safetensors", workspace.good_images

    def written_meanwhile(data, **options):
        out.write_text("the other's")
        return look(data, **options)

    monkeypatch.setattr(workspace, "good_images", written_meanwhile)
    code, _, err = run(capsys, "fit", parts, "--out", out, *SIZES)
    assert code == 2
    assert err.splitlines()[-1] == f"error: {out}: exists; pass --overwrite to replace it"
    assert out.read_text() == "the other's"
    assert os.listdir(tmp_path) == ["m.safetensors"]


def test_a_model_that_appears_while_a_fit_trains_is_not_replaced_and_nothing_is_lost(
    capsys, parts, tmp_path, monkeypatch, model
):
    out, statistics = tmp_path / "m.safetensors", fitting.fit_statistics

    def train(*arguments, **named):
        out.write_text("the other's")
        return statistics(*arguments, **named)

    monkeypatch.setattr(fitting, "fit_statistics", train)
    code, printed, err = run(capsys, "fit", parts, "--out", out, *SIZES)
    assert (code, printed) == (2, "")
    way = "the same command with --overwrite does not train again; with another --out it does"
    assert err.splitlines()[-1] == f"error: {out}: appeared meanwhile; the trained modules are kept: {way}"
    assert out.read_text() == "the other's"
    assert sorted(os.listdir(tmp_path)) == ["m.safetensors", "m.safetensors.partial"]
    code, _, err = run(capsys, "fit", parts, "--out", out, *SIZES, "--overwrite")
    assert (code, "continuing: all modules were trained before" in err) == (0, True)
    assert digest(out) == digest(model)
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


def test_twelve_bits_are_kept_in_the_model_and_in_its_bundle(capsys, parts, quick_recipe, tmp_path):
    """A 12-bit picture in 16 bits is worth what the same picture in 8 bits is; and what is dark is said."""
    for source in (parts / "train" / "good").iterdir():
        pixels = np.asarray(Image.open(source).convert("L")).astype(np.uint16)
        for name, values in (("eight", pixels.astype(np.uint8)), ("twelve", np.rint(pixels / 255 * 4095))):
            (tmp_path / name).mkdir(exist_ok=True)
            Image.fromarray(values.astype(np.uint8 if name == "eight" else np.uint16)).save(
                tmp_path / name / source.name
            )
    options = ("--sizes", "64", "--levels", "2")
    code, _, err = run(capsys, "fit", tmp_path / "eight", "--out", tmp_path / "8.safetensors", *options)
    assert (code, "dark" in err) == (0, False)
    code, _, err = run(capsys, "fit", tmp_path / "twelve", "--out", tmp_path / "dark.safetensors", *options)
    assert code == 0
    assert "warning: 16-bit images come out dark: brightest value " in err
    assert "if the camera has 12 bits: blemish fit --bits 12" in err
    model = tmp_path / "12.safetensors"
    code, _, err = run(capsys, "fit", tmp_path / "twelve", "--out", model, "--bits", "12", *options)
    assert (code, "dark" in err) == (0, False)
    eight, twelve = Detector.load(tmp_path / "8.safetensors"), Detector.load(model)
    assert (twelve.header_.bits, twelve.bits, eight.header_.bits) == (12, 12, 16)
    assert twelve.header_.data == eight.header_.data  # the same pixels, so the same images
    name = next((tmp_path / "eight").iterdir()).name
    (expected,), (found,) = eight.score_maps(tmp_path / "eight" / name), twelve.score_maps(tmp_path / "twelve" / name)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert run(capsys, "export", model, "--to", "onnx", "--out", tmp_path / "b", "--good", tmp_path / "twelve")[0] == 0
    runtime = Runtime.load(tmp_path / "b")
    np.testing.assert_allclose(runtime.score_maps(tmp_path / "twelve" / name)[0], expected, atol=1e-3)
    code, _, err = run(capsys, "fit", tmp_path / "twelve", "--out", tmp_path / "x.safetensors", "--bits", "8")
    assert (code, err) == (2, "error: bits: 8 is not allowed, expected a whole number from 9 to 16\n")


def test_a_least_area_is_kept_and_honoured(capsys, parts, tmp_path):
    """Of every image the score is the highest level of a part of that area; without it the maximum, which is higher."""
    scores = {}
    for share in ("0", "0.5%"):
        out, results = tmp_path / f"{share}.safetensors", tmp_path / share
        assert run(capsys, "fit", parts, "--out", out, *SIZES, "--min-area", share)[0] == 0
        assert run(capsys, "predict", out, parts / "test", "--out", results, "--mm-per-px", "0.5")[0] == 0
        records = [json.loads(line) for line in (results / "results.jsonl").read_text().splitlines()]
        scores[share] = np.array([record["score"] for record in records])
        for record in records:
            assert bool(record["regions"]) == (record["verdict"] != "OK")
            for region in record["regions"]:
                assert region["mm2"] == region["area"] / 4
                assert region["peak"] > record["thresholds"]["review"]
    detector = Detector.load(tmp_path / "0.5%.safetensors")
    assert detector.header_.calibration.min_area == detector.get_params()["min_area"] == 0.005
    assert (scores["0.5%"] < scores["0"]).all()
    code, printed, err = run(capsys, "fit", parts, "--out", tmp_path / "x.safetensors", "--min-area", "120")
    rule = "expected a share of the image such as 0.1% or 0.001"
    assert (code, printed, err) == (2, "", f"error: min-area: 120 is not allowed, {rule}\n")
    for length in ("0", "-1", "nan", "inf"):
        given = "predict", out, parts / "test", "--out", tmp_path / "y", f"--mm-per-px={length}"
        code, printed, err = run(capsys, *given)
        assert (code, printed) == (2, "")
        assert err.endswith("is not allowed, expected a finite number above 0\n")
        assert not (tmp_path / "y").exists()


def test_training_images_that_fit_worst_are_named_and_drawn(parts, tmp_path, capsys):
    good = shutil.copytree(parts / "train" / "good", tmp_path / "good")
    down, across = np.indices((192, 192))
    for number, ramp in enumerate((down + across, 2 * down, down - across)):  # of which one at least trains
        Image.fromarray(np.uint8(255 * (ramp % (64 - 16 * number) < 24))).save(good / f"stripes {number}.png")
    out = tmp_path / "model.safetensors"
    code, _, err = run(capsys, "fit", good, "--out", out, "--review-training", "4", *SIZES)
    assert code == 0
    line = next(line for line in err.splitlines() if line.startswith("of those that trained these fit worst: "))
    named = line.partition("worst: ")[2].split(", ")
    scores = [float(one.rsplit(" ", 1)[1]) for one in named]
    assert len(named) == 4
    assert scores == sorted(scores, reverse=True)
    assert named[0].startswith("stripes "), named
    pictures = sorted(path.name for path in (tmp_path / "model.safetensors.review").iterdir())
    assert pictures == [f"{number}-{one.rsplit(' ', 1)[0]}.png" for number, one in enumerate(named, start=1)]
