"""What predict leaves behind: names, records, pictures, and folders that are not harmed."""

import json
import os
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from blemish.data.inputs import name_images
from blemish.data.listing import RESULTS_MARK
from blemish.data.sources import load
from blemish.errors import InputError, StorageError
from blemish.results import write as results
from blemish.results.folder import prepare_folder
from blemish.results.lines import Summary, summarise
from blemish.results.overlays import overlay, save_png
from blemish.results.write import write
from blemish.verdict.judge import Prediction
from blemish.verdict.threshold import Thresholds
from meeting import Meeting
from stubs import (
    Stub,
    paint,
    parts,  # noqa: F401
)

SAID = {"header_": Stub.header_, "thresholds_": Stub.thresholds_}


def test_records_overlays_and_maps(parts, tmp_path):
    out, detector = tmp_path / "out", Stub()
    prepare_folder(out, overwrite=False)
    records = list(write(detector, name_images([parts]), out, save_maps=True))
    dull, bright = records
    assert dull == {
        "path": f"{parts}/dull.png",
        "score": 0.25,
        "thresholds": {"review": 0.5, "ng": None},
        "verdict": "OK",
        "regions": [],
        "overlay": "overlays/dull.png",
    }
    assert list(bright) == list(dull)
    assert bright["regions"] == [
        {"area": 12, "share": 12 / 1280, "box": [3, 5, 4, 3], "peak": 0.75, "mean": 0.75, "surface": False, "mm2": None}
    ]
    assert [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()] == records
    image = np.full((32, 40, 3), 200, np.uint8)
    (prediction,) = detector.predict([image])
    saved = np.load(out / "maps" / "sub" / "bright.npy")
    assert saved.dtype == np.float32
    np.testing.assert_array_equal(saved, prediction.score_map)
    drawn = overlay(image, prediction.score_map, inside=prediction.inside, colours=(0.25, 1.0), verdict="NG")
    np.testing.assert_array_equal(np.array(Image.open(out / "overlays" / "sub" / "bright.png")), drawn)
    found = sorted(file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file())
    maps, overlays = ["maps/dull.npy", "maps/sub/bright.npy"], ["overlays/dull.png", "overlays/sub/bright.png"]
    assert found == [RESULTS_MARK, *maps, *overlays, "results.jsonl"]


def test_areas_in_square_millimetres(parts, tmp_path):
    prepare_folder(tmp_path / "out", overwrite=False)
    _, bright = write(Stub(), name_images([parts]), tmp_path / "out", mm_per_px=0.25)
    assert [region["mm2"] for region in bright["regions"]] == [0.75]  # 12 px of a sixteenth


def test_no_maps_unless_asked_for(parts, tmp_path):
    prepare_folder(tmp_path / "out", overwrite=False)
    list(write(Stub(), name_images([parts]), tmp_path / "out"))
    assert sorted(os.listdir(tmp_path / "out")) == [RESULTS_MARK, "overlays", "results.jsonl"]


def test_a_bad_image_does_not_stop_the_others(parts, tmp_path):
    (parts / "e.png").write_bytes(b"")
    out = tmp_path / "out"
    prepare_folder(out, overwrite=False)
    images = [*name_images([parts]), (parts / "missing.png", "missing")]
    records = list(write(Stub(), images, out))
    assert [record.get("verdict") for record in records] == ["OK", None, "NG", None]
    assert list(records[1]) == ["path", "error"]
    assert records[1]["path"] == f"{parts}/e.png"
    assert records[1]["error"].startswith(f"{parts}/e.png: empty file")
    assert records[3]["error"] == f"no such file: {parts}/missing.png"
    assert len((out / "results.jsonl").read_text().splitlines()) == 4


@pytest.fixture
def row(tmp_path):
    """Twelve images, dull and bright by turns, and a folder for their results."""
    images = [
        (paint(tmp_path / "row" / f"{index:02}.png", 90 + 110 * (index % 2)), f"{index:02}") for index in range(12)
    ]
    prepare_folder(tmp_path / "out", overwrite=False)
    before = set(threading.enumerate())
    yield images, tmp_path / "out"
    assert set(threading.enumerate()) == before
    assert not list(tmp_path.rglob("*.blemish-tmp"))


def lines(out):
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def whole(out):
    """The names of the overlays, all of which can be read."""
    found = sorted((out / "overlays").glob("*.png"))
    for file in found:
        with Image.open(file) as image:
            image.load()
    return [f"overlays/{file.name}" for file in found]


def test_results_are_written_one_by_one(row, monkeypatch):
    """A record is yielded once its files are there, and little is done ahead of it."""
    images, out = row
    detector, loaded = Stub(), []
    monkeypatch.setattr(results, "load", lambda path, bits, roi: loaded.append(path) or load(path))
    records = []
    for record in write(detector, images, out):
        records.append(record)
        assert lines(out) == records
        assert record["overlay"] == whole(out)[len(records) - 1]
        assert detector.calls <= len(records) + 4  # two scored, two drawn
        assert len(loaded) <= len(records) + 3
    assert [record["overlay"] for record in records] == [f"overlays/{name}.png" for _, name in images]
    assert [record["verdict"] for record in records] == ["OK", "NG"] * 6
    assert detector.calls == len(loaded) == 12


def test_images_are_read_and_results_written_while_one_is_scored(row, monkeypatch):
    """Were one step to wait for another, the three would never meet, and the barrier would break."""
    images, out = row
    met = threading.Barrier(3, timeout=10)

    def meeting(function, first, last):
        """Meet the other steps in each call from the first to the last, but in no other."""
        calls = iter(range(12))
        return lambda *given, **named: (met.wait() if first <= next(calls) <= last else 0, function(*given, **named))[1]

    monkeypatch.setattr(results, "load", meeting(load, 2, 11))
    monkeypatch.setattr(results, "draw", meeting(results.draw, 0, 9))
    detector = SimpleNamespace(**SAID, streams=1, predict=meeting(Stub().predict, 1, 10))
    assert len(list(write(detector, images, out))) == 12


@pytest.mark.parametrize("streams", [1, 2, 3])
def test_as_many_images_are_scored_at_the_same_time_as_there_are_streams(row, streams):
    images, out = row
    crowd = Meeting(streams)

    def predict(given):
        crowd.come()
        return Stub().predict(given)

    scorer = SimpleNamespace(**SAID, streams=streams, predict=predict)
    list(write(scorer, images[:6], out))
    assert crowd.most == streams


def test_a_file_that_cannot_be_written_stops_everything(row, monkeypatch):
    images, out = row
    detector, saved = Stub(), []

    def full(path, array):
        saved.append(path.stem)
        if path.stem == "04":
            raise StorageError(f"disk full: {path}")
        save_png(path, array)

    monkeypatch.setattr(results, "save_png", full)
    records = []
    with pytest.raises(StorageError, match=r"^disk full: .*04\.png$"):
        records.extend(write(detector, images, out))
    assert lines(out) == records
    assert [record["overlay"] for record in records] == [f"overlays/0{index}.png" for index in range(4)]
    assert detector.calls <= 8
    assert saved[:5] == ["00", "01", "02", "03", "04"]
    assert set(saved[5:]) <= {"05"}


def test_an_interrupt_keeps_what_was_done(row):
    images, out = row
    stub = Stub()

    def predict(given):
        if stub.calls == 5:
            raise KeyboardInterrupt
        return stub.predict(given)

    records = []
    scorer = SimpleNamespace(**SAID, streams=1, predict=predict)
    with pytest.raises(KeyboardInterrupt):
        records.extend(write(scorer, images, out))
    assert len(records) == 4
    assert lines(out) == records
    assert whole(out)[:4] == [record["overlay"] for record in records]


def test_who_stops_early_leaves_no_thread(row):
    images, out = row
    stream = write(Stub(), images, out)
    first = next(stream)
    stream.close()
    assert lines(out) == [first]


def test_a_line_is_ascii_and_strict_json(tmp_path):
    path = paint(tmp_path / os.fsdecode(b"\xc3\xa4\xff\n.png"))
    out = tmp_path / "out"
    prepare_folder(out, overwrite=False)
    list(write(Stub(), name_images([path]), out))
    (line,) = (out / "results.jsonl").read_bytes().split(b"\n")[:-1]
    assert line.isascii()
    assert json.loads(line)["path"] == f"{tmp_path}/ä\\udcff\n.png"


def test_a_full_disk_is_one_line(parts, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "results.jsonl").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"results.jsonl: cannot be written: no space left on device$"):
        list(write(Stub(), name_images([parts]), out))


def test_a_place_for_pictures_that_is_taken_is_one_line(parts, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "overlays").write_text("a file")
    with pytest.raises(StorageError, match="overlays: cannot be made: "):
        list(write(Stub(), name_images([parts]), out))


def test_outlines_are_those_of_the_prediction_and_colours_those_of_the_scale():
    image, score_map = np.full((32, 40, 3), 90, np.uint8), np.full((32, 40), 0.3, np.float32)
    score_map[4:12, 4:12], inside = 0.9, np.zeros((32, 40), bool)
    inside[5:11, 5:8] = True
    for word, verdict in ((True, "REVIEW"), (False, None)):
        said = Prediction(None, 0.9, "REVIEW", [], score_map, inside)
        drawn = results.draw(image, said, Stub().header_, word=word)
        expected = overlay(image, score_map, inside=inside, colours=(0.25, 1.0), verdict=verdict)
        np.testing.assert_array_equal(drawn, expected)


def test_a_summary_counts_and_keeps_the_highest_scores():
    scores = [0.1, 0.9, 0.3, 0.9, 0.2, 0.8, 0.4]
    records = [
        {"path": str(index), "score": score, "verdict": Thresholds(0.25, 0.8).verdict(score), "regions": []}
        for index, score in enumerate(scores)
    ]
    summary = summarise([{"path": "x", "error": "bad"}, *records])
    assert (summary.verdicts, summary.failed) == ({"OK": 2, "REVIEW": 3, "NG": 2}, 1)
    assert [record["path"] for record in summary.worst] == ["1", "3", "5", "6", "2"]
    assert summarise([]) == Summary()


@pytest.mark.parametrize(
    ("words", "worst"), [([], "OK"), (["OK"], "OK"), (["REVIEW", "OK"], "REVIEW"), (["REVIEW", "NG", "OK"], "NG")]
)
def test_the_worst_verdict(words, worst):
    records = [{"path": "a", "score": 0.5, "verdict": word, "regions": []} for word in words]
    assert summarise([{"path": "x", "error": "bad"}, *records]).worst_verdict == worst


def test_a_score_that_is_not_finite_never_gets_into_a_record(parts, tmp_path):
    broken = SimpleNamespace(
        **SAID,
        streams=1,
        predict=lambda images: [
            Prediction(None, float("nan"), "OK", [], np.zeros(images[0].shape[:2], np.float32), images[0][..., 0] < 0)
        ],
    )
    prepare_folder(tmp_path / "out", overwrite=False)
    with pytest.raises(ValueError, match="not JSON compliant"):
        list(write(broken, name_images([parts]), tmp_path / "out"))


def test_an_image_whose_map_is_not_finite_is_named_and_does_not_stop_the_others(parts, tmp_path):
    def predict(images):
        if images[0].max() > 128:
            raise InputError("score map: 7 scores are not finite")
        return Stub().predict(images)

    prepare_folder(tmp_path / "out", overwrite=False)
    for streams in (1, 2):
        found = SimpleNamespace(**SAID, streams=streams, predict=predict)
        dull, bright = write(found, name_images([parts]), tmp_path / "out")
        assert dull["verdict"] == "OK"
        path = f"{parts}/sub/bright.png"
        assert bright == {"path": path, "error": f"{path}: score map: 7 scores are not finite"}
