"""Thresholds on the command line: the menu, budgets and scores, three verdicts, and what the exit code says of them."""

import json
import shutil
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blemish.demo.textures import make_textures
from blemish.detector import Detector
from blemish.images.read import read_image
from blemish.model import file as modelfile
from blemish.model.calibration import NO_SCORES
from blemish.model.header import Header, ScoredPart
from blemish.results.overlays import overlay
from blemish.verdict.threshold import Thresholds
from commands import SIZES, model, parts, quick_recipe, run  # noqa: F401

RANGE = "is not allowed, expected above 0 % and below 100 %, 5% or 0.05"
BOTH = "false alarms and threshold: give one of them"
FEW = "false alarms: 1 % needs 99 held-out good images; these 48 support 2.1 % (one image decides) or 4.1 %"


@pytest.fixture(scope="module")
def many(model, tmp_path_factory):
    """The model as if 48 good images had been held out: their scores are 0.01, 0.02, ... 0.47 and 0.9."""
    path = tmp_path_factory.mktemp("many") / "many.safetensors"
    header, tensors = modelfile.load(model)
    scores = [*(index / 100 for index in range(1, 48)), 0.9]
    held_out = [
        ScoredPart(name=f"{index:02}.png", sha256=f"{index:064x}", score=score) for index, score in enumerate(scores)
    ]
    calibration = header.calibration.model_copy(update={"held_out": held_out, "review": 0.47})
    modelfile.save(path, header.model_copy(update={"calibration": calibration}), tensors)
    return path


@pytest.fixture(scope="module")
def halves(many, parts):
    """Thresholds between the scores of the twelve test images: four lie below both, four between them."""
    detector = Detector.load(many)
    scores = sorted(one.score for one in detector.predict(parts / "test"))
    return tuple((scores[index - 1] + scores[index]) / 2 for index in (4, 8))


def records(out):
    return [json.loads(line, parse_constant=pytest.fail) for line in (out / "results.jsonl").read_text().splitlines()]


def test_three_verdicts_in_lines_overlays_and_counts(capsys, many, parts, halves, tmp_path):
    out, before = tmp_path / "out", many.read_bytes()
    thresholds = Thresholds(*halves)
    typed = f"{thresholds.review!r},{thresholds.ng!r}"
    code, printed, err = run(capsys, "predict", many, parts / "test", "--out", out, "--threshold", typed)
    assert (code, err) == (0, "")
    detector = Detector.load(many).set_thresholds(thresholds)
    for record, one in zip(records(out), detector.predict(parts / "test"), strict=True):
        assert record["thresholds"] == {"review": thresholds.review, "ng": thresholds.ng}
        assert record["verdict"] == one.verdict == thresholds.verdict(record["score"])
        drawn = overlay(
            read_image(Path(record["path"])),
            one.score_map,
            inside=one.inside,
            colours=(0.25, 1.0),
            verdict=record["verdict"],
        )
        np.testing.assert_array_equal(np.array(Image.open(out / record["overlay"])), drawn)
    assert [sum(one["verdict"] == word for one in records(out)) for word in ("OK", "REVIEW", "NG")] == [4, 4, 4]
    lines = printed.splitlines()
    assert lines[0] == "12 images: 4 OK, 4 REVIEW, 4 NG"
    assert any(line.startswith(f"REVIEW above  {thresholds.review:.4f}; of good parts like those") for line in lines)
    assert any(line.startswith(f"NG above      {thresholds.ng:.4f}; of good parts like those") for line in lines)
    said = json.loads((out / "model.json").read_text(), parse_constant=pytest.fail)
    assert said["sha256"] == sha256(before).hexdigest()
    assert Header.model_validate(said["header"]) == detector.header_
    assert many.read_bytes() == before  # only this run has other thresholds


def test_what_judged_is_written_and_replaced(capsys, many, parts, tmp_path):
    image, out = parts / "test" / "good" / "000.png", tmp_path / "out"
    for options, review in ((["--threshold", "0.6"], 0.6), (["--false-alarms", "4%", "--overwrite"], 0.47)):
        assert run(capsys, "predict", many, image, "--out", out, *options)[0] == 0
        said = json.loads((out / "model.json").read_text())
        assert (said["header"]["calibration"]["review"], said["header"]["calibration"]["ng"]) == (review, None)
        assert {record["thresholds"]["review"] for record in records(out)} == {review}


@pytest.mark.parametrize(
    ("typed", "review", "ng", "promise"),
    [
        ("4%", 0.47, None, "4.1 %"),
        ("0.021", 0.9, None, "2.1 %"),
        ("6.2%,4.1%", 0.46, 0.47, "6.2 %"),
        ("9%,2.1%", 0.45, 0.9, "8.2 %"),
    ],
)
def test_a_budget_is_chosen_from_the_menu(capsys, many, parts, tmp_path, typed, review, ng, promise):
    file = tmp_path / "e.json"
    code, printed, err = run(capsys, "evaluate", many, parts, "--false-alarms", typed, "--json", file, "--no-record")
    assert (code, err) == (0, "")
    result = json.loads(file.read_text())
    assert result["model"]["thresholds"] == {"review": review, "ng": ng}
    assert [one["verdict"] for one in result["model"]["promises"]] == (["NG"] if ng is None else ["REVIEW", "NG"])
    assert any(line.startswith(f"promised: at most {promise} false alarms, by ") for line in printed.splitlines())
    words = "with the verdict NG" if ng is None else "NG, the others REVIEW"
    assert any(line.startswith("false alarms: ") and line.endswith(words) for line in printed.splitlines())


def test_evaluate_counts_both_verdicts(capsys, many, parts, halves, tmp_path):
    typed, file = f"{halves[0]!r},{halves[1]!r}", tmp_path / "e.json"
    assert run(capsys, "evaluate", many, parts, "--threshold", typed, "--json", file, "--no-record")[0] == 0
    overall = json.loads(file.read_text())["overall"]
    assert overall["found"] + overall["false_alarms"] == 8
    assert overall["found_ng"] + overall["false_ng"] == 4
    assert overall["recall"] == overall["found"] / 8


@pytest.mark.parametrize("command", ["predict", "evaluate"])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--false-alarms", "5%", "--threshold", "0.4"], BOTH),
        (["--false-alarms", "5"], "false alarms: 5 is not clear, write 5% or 0.05"),
        (["--false-alarms", "0"], f"false alarms: 0 {RANGE}"),
        (["--false-alarms", "100%"], f"false alarms: 100% {RANGE}"),
        (["--false-alarms", "nan"], f"false alarms: nan {RANGE}"),
        (["--false-alarms", "5\x1b%"], f"false alarms: 5\\x1b% {RANGE}"),
        (["--false-alarms", "1%"], FEW),
        (["--false-alarms", "5%,1%"], FEW),
        (
            ["--threshold", "0.5,0.4"],
            "threshold: 0.5,0.4 is not allowed, expected a score above 0 and at most 1, or two such as 0.4,0.5: "
            "that of REVIEW, then that of NG",
        ),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_nothing_is_made(capsys, many, parts, tmp_path, command, options, message):
    given = [parts / "test", "--out", tmp_path / "out"] if command == "predict" else [parts, "--no-record"]
    assert run(capsys, command, many, *given, *options) == (2, "", f"error: {message}\n")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("names", "expected"), [(["low"], 0), (["low", "middle"], 10), (["high", "middle", "low"], 11), (["high"], 11)]
)
def test_the_exit_code_tells_the_worst_verdict_when_asked(capsys, many, parts, halves, tmp_path, names, expected):
    detector = Detector.load(many)
    ranked = sorted(detector.predict(parts / "test"), key=lambda one: one.score)
    paths = [ranked[{"low": 0, "middle": 5, "high": 11}[name]].path for name in names]
    command = ["predict", many, *paths, "--threshold", f"{halves[0]!r},{halves[1]!r}", "--out"]
    assert run(capsys, *command, tmp_path / "plain")[0] == 0
    assert run(capsys, *command, tmp_path / "told", "--exit-verdict")[0] == expected
    broken = tmp_path / "broken.png"
    broken.touch()
    assert run(capsys, *command, tmp_path / "broken", "--exit-verdict", broken)[0] == 2  # whatever the others are


def test_without_a_threshold_of_ng_the_worst_is_ng(capsys, many, parts, halves, tmp_path):
    command = ["predict", many, parts / "test", "--threshold", f"{halves[0]!r}", "--exit-verdict"]
    code, printed, _ = run(capsys, *command, "--out", tmp_path / "out")
    assert (code, printed.splitlines()[0]) == (11, "12 images: 4 OK, 8 NG")


def test_inspect_shows_the_menu(capsys, many):
    lines = run(capsys, "inspect", many)[1].splitlines()
    others = "4.1 %: 0.4700, 6.2 %: 0.4600, 8.2 %: 0.4500, 11 %: 0.4400, 13 %: 0.4300, ..."
    assert f"could be   2.1 %: 0.9000 (one image decides), {others}" in lines
    assert "NG above   0.4700; of good parts like those held out at most 4.1 %" in lines
    assert "held out   48 good images" in lines


def test_a_model_of_before_says_what_it_lacks(capsys, many, parts, tmp_path):
    path = tmp_path / "old.safetensors"
    header, tensors = modelfile.load(many)
    calibration = {"held_out": 9, "threshold": 0.5, "false_alarm_rate": 0.1, "good": -1.0, "limit": 2.0}
    fields = {**header.model_dump(), "schema_version": 2, "calibration": calibration}
    modelfile.save(path, Header.model_validate(fields), tensors)
    lines = run(capsys, "inspect", path)[1].splitlines()
    assert "NG above   0.5000; of good parts like those held out at most 10 %" in lines
    assert f"held out   {NO_SCORES}" in lines
    command = ["predict", path, parts / "test" / "good", "--out", tmp_path / "out"]
    assert run(capsys, *command, "--false-alarms", "5%") == (2, "", f"error: false alarms: {NO_SCORES}\n")
    assert run(capsys, *command, "--threshold", "0.4")[0] == 0


def test_fit_refuses_a_rate_before_it_trains(capsys, parts, tmp_path, monkeypatch):
    monkeypatch.setattr("blemish.model.fit.fit_modules", lambda *_, **__: pytest.fail("it trained"))
    for typed in ("1%", "50%,1%"):
        code, printed, err = run(capsys, "fit", parts, "--out", tmp_path / "m", *SIZES, "--false-alarms", typed)
        assert (code, printed) == (2, "")
        assert err.splitlines()[-1] == (
            "error: false alarms: 1 % needs 99 held-out good images; these 2 support 34 % (one image decides) or 67 %"
        )
    assert not (tmp_path / "m").exists()


@pytest.fixture(scope="module")
def strange(tmp_path_factory):
    """A category of which nine good images are held out, and one of these has a black square."""
    folder = make_textures(tmp_path_factory.mktemp("strange"), train=10, validation=9, test=1, defects=1)[0]
    path = sorted((folder / "validation" / "good").iterdir())[3]
    pixels = np.array(Image.open(path))
    pixels[40:150, 40:150] = 0
    Image.fromarray(pixels).save(path)
    return folder, path.relative_to(folder).as_posix()


@pytest.mark.parametrize("alone", [False, True])
def test_a_stranger_among_the_good_is_named_and_stays(capsys, strange, tmp_path, alone):
    data, name = strange
    out = tmp_path / "m.safetensors"
    options = ["--false-alarms", "10%"] if alone else []
    code, _, err = run(capsys, "fit", data, "--out", out, *SIZES, *options)
    assert code == 0
    header, _ = modelfile.load(out)
    scores = {image.name: image.score for image in header.calibration.held_out}
    assert max(scores, key=scores.get) == name
    middle = ", and alone sets a threshold" if alone else ""
    assert err.splitlines()[-3:] == [
        f"{name} scores {scores[name]:.4f}, far above the other held-out images{middle}",
        f"look at it (overlays in {out}.strangers); if one is no good part:",
        f"  blemish calibrate {out} --without {name} --out MODEL2",
    ]
    assert [path.name for path in (tmp_path / "m.safetensors.strangers").iterdir()] == [f"1-{Path(name).name}.png"]
    assert len(scores) == 9
    assert header.calibration.review == sorted(scores.values())[-1 if alone else -2]
    assert header.calibration.asked == ([0.1] if alone else [])


def test_the_copy_for_a_bundle_takes_thresholds_too(capsys, bundle, brick, tmp_path):
    own = shutil.copytree(bundle, tmp_path / "bundle")
    command = ["predict", own, brick / "test" / "good", "--no-self-test", "--out"]
    assert run(capsys, *command, tmp_path / "one", "--false-alarms", "15%")[0] == 0
    scores = sorted(json.loads((own / "bundle.json").read_text())["model"]["calibration"]["held_out"],
                    key=lambda one: one["score"])  # fmt: skip
    sixth = scores[-6]["score"]  # of 40, and 6 / 41 is 14.6 %
    assert {one["thresholds"]["review"] for one in records(tmp_path / "one")} == {sixth}
    assert run(capsys, *command, tmp_path / "two", "--threshold", "0.9,0.95")[0] == 0
    said = json.loads((tmp_path / "two" / "model.json").read_text())
    assert said["sha256"] == sha256((own / "bundle.json").read_bytes()).hexdigest()
    assert said["header"]["calibration"]["ng"] == 0.95
