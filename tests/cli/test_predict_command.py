"""blemish predict: results for every image, bad ones named, nothing of the user's harmed."""

import json
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from blemish.data.listing import find_images
from blemish.detector import Detector
from blemish.results import write
from blemish.storage.files import LOCK
from commands import child, model, parts, quick_recipe, run  # noqa: F401


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
        assert list(record) == ["path", "score", "thresholds", "verdict", "regions", "overlay"]
        assert record["score"] == prediction.score
        assert record["thresholds"] == {"review": detector.thresholds_.review, "ng": None}
        assert record["verdict"] == detector.thresholds_.verdict(prediction.score) == prediction.verdict
        assert [region["area"] for region in record["regions"]] == [region.area for region in prediction.regions]
        with Image.open(out / record["overlay"]) as picture:
            assert picture.size == (192, 192)
        name = Path(record["overlay"]).relative_to("overlays").with_suffix(".npy")
        np.testing.assert_array_equal(np.load(out / "maps" / name), prediction.score_map)
    ng = sum(record["verdict"] == "NG" for record in records)
    lines = printed.splitlines()
    assert lines[0] == f"12 images: {12 - ng} OK, {ng} NG"
    assert lines[-1] == f"results   {out}/results.jsonl"
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


def test_two_predicts_at_a_time_do_not_mix(capsys, parts, model, tmp_path, monkeypatch):
    """The second ends at once, and the first as if it had been alone."""
    out, tried, save = tmp_path / "out", [], write.save_png
    command = "predict", model, parts / "test" / "good", "--out", out, "--overwrite"

    def second(path, picture):
        if not tried:
            before = sorted(out.rglob("*"))
            tried.append(None)
            tried[0] = run(capsys, *command)
            assert sorted(out.rglob("*")) == before
        save(path, picture)

    monkeypatch.setattr(write, "save_png", second)
    assert run(capsys, *command)[0] == 0
    text = f"error: {out}: another command is at work in it; wait, or choose another folder\n"
    assert tried == [(2, "", text)]
    assert len((out / "results.jsonl").read_text().splitlines()) == 4
    assert sorted(path.name for path in out.iterdir()) == [
        "made-by-blemish-predict",
        "model.json",
        "overlays",
        "results.jsonl",
    ]
    monkeypatch.setattr("blemish.detector.Detector.load", lambda *_, **__: pytest.fail("not at once"))
    with FileLock(out / LOCK):
        assert run(capsys, *command) == (2, "", text)


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


def test_predict_says_which_pictures_it_does_not_see(capsys, parts, model, tmp_path):
    image = parts / "test" / "good" / "000.png"
    for name in ("0.png", "1.webp", "2.webp", "@eaDir/0.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(image.read_bytes())
    (tmp_path / "in" / "list.csv").write_text("path\n0.png\n")
    code, printed, err = run(capsys, "predict", model, tmp_path / "in", "--out", tmp_path / "out")
    assert (code, printed.splitlines()[0][:8]) == (0, "1 image:")
    assert err.splitlines() == [
        "passed over: 2 .webp files (allowed: .png .jpg .jpeg .bmp .tif .tiff)",
        "passed over: folders of the system: @eaDir",
    ]
    code, printed, err = run(capsys, "predict", model, tmp_path / "in" / "list.csv", "--out", tmp_path / "out2")
    assert (code, printed.splitlines()[0][:8], err) == (0, "1 image:", "")


def test_predict_follows_links_when_told_so(capsys, parts, model, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "links").symlink_to(parts / "test" / "good")
    code, _, err = run(capsys, "predict", model, tmp_path / "in", "--out", tmp_path / "out")
    assert code == 2
    ways = "copy the image there, or follow links with --follow-links"
    assert err.endswith(f"links: path escapes dataset root {tmp_path}/in; {ways}\n")
    code, printed, _ = run(capsys, "predict", model, tmp_path / "in", "--out", tmp_path / "out", "--follow-links")
    assert code == 0
    assert printed.startswith("4 images: ")
    assert run(capsys, "predict", model, tmp_path / "in", "--out", tmp_path / "out", "--overwrite")[0] == 2
