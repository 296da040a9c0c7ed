"""What predict leaves behind: names, records, pictures, and folders that are not harmed."""

import json
import os
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from blemish.data.folders import RESULTS_MARK
from blemish.data.inputs import check_inputs, check_outside, name_images
from blemish.data.sources import load
from blemish.errors import InputError, StorageError
from blemish.results import write as results
from blemish.results.folder import prepare_folder
from blemish.results.overlays import overlay, save_png
from blemish.results.records import Summary, summarise
from blemish.results.write import write
from blemish.verdict.prediction import Prediction
from blemish.verdict.regions import Region
from meeting import Meeting

SPOT = Region(area=12, box=(3, 5, 4, 3), peak=0.75)


def paint(path, value=90):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (40, 32), value).save(path, "PNG")
    return path


class Stub:
    """A detector that finds one spot in bright images."""

    threshold_ = 0.5
    streams = 1

    def __init__(self):
        self.calls = 0

    def predict(self, images):
        self.calls += 1
        (image,) = images
        bright = bool(image.max() > 128)
        score_map = np.full(image.shape[:2], 0.25, np.float32)
        if bright:
            score_map[5:8, 3:7] = 0.75
        return [Prediction(None, 0.75 if bright else 0.25, "NG" if bright else "OK", [SPOT] * bright, score_map)]


@pytest.fixture
def parts(tmp_path):
    paint(tmp_path / "parts" / "dull.png")
    paint(tmp_path / "parts" / "sub" / "bright.png", 200)
    return tmp_path / "parts"


def names(*paths):
    return [name for _, name in name_images(paths)]


def test_names_mirror_the_folder_that_is_given(parts):
    assert name_images([parts]) == [(parts / "dull.png", "dull"), (parts / "sub" / "bright.png", "sub/bright")]
    assert name_images([parts / "sub" / "bright.png"]) == [(parts / "sub" / "bright.png", "bright")]


def test_names_of_several_folders_start_with_the_folder(parts, tmp_path):
    paint(tmp_path / "more" / "dull.png")
    assert names(parts, tmp_path / "more") == ["parts/dull", "parts/sub/bright", "more/dull"]


def test_a_folder_given_as_a_dot_has_its_own_name(parts, monkeypatch):
    monkeypatch.chdir(parts / "sub")
    assert names(Path(), Path("..")) == ["sub/bright", "parts/dull", "parts/sub/bright"]
    assert [path for path, _ in name_images([Path()])] == [Path("bright.png")]


def test_names_of_equal_stems_differ_by_suffix_or_number(tmp_path):
    for name in ("a.jpg", "a.png", "A.bmp", "b/a.png", "b/a.jpg.png"):
        paint(tmp_path / name)
    assert names(tmp_path) == ["A.bmp", "a.jpg", "a", "b/a.jpg", "b/a"]
    one, two = tmp_path / "a.png", tmp_path / "b" / "a.png"
    assert names(one, two, one) == ["a", "a-2", "a-3"]
    assert names(tmp_path / "a.jpg", tmp_path / "b" / "a.jpg.png") == ["a.jpg", "a.jpg-2"]


def test_names_differ_even_where_case_does_not_count(tmp_path):
    paint(tmp_path / "x" / "Part.png")
    paint(tmp_path / "y" / "part.PNG")
    assert names(tmp_path / "x" / "Part.png", tmp_path / "y" / "part.PNG") == ["Part", "part-2"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("new\nline.png", r"new\nline"),
        ("right\u202eleft.png", r"right\u202eleft"),
        (os.fsdecode(b"byte\xff.png"), r"byte\udcff"),
        ("..png", "."),
        ("...png", ".."),
        ("ä" * 120 + ".png", "ä" * 100),
    ],
)
def test_names_are_printable_and_short_and_stay_inside(tmp_path, name, expected):
    path = paint(tmp_path / name)
    assert names(path) == [expected]
    out = tmp_path / "out"
    prepare_folder(out, overwrite=False)
    (record,) = write(Stub(), name_images([path]), out)
    assert record["overlay"] == f"overlays/{expected}.png"
    assert [file.relative_to(out).as_posix() for file in out.rglob("*.png")] == [record["overlay"]]


def test_a_folder_without_images_is_an_error(tmp_path):
    with pytest.raises(InputError, match=rf"^no images found in {tmp_path} \(allowed: .png"):
        name_images([tmp_path])


def test_a_result_is_not_written_among_the_inputs(parts, tmp_path):
    (tmp_path / "link").symlink_to(parts)
    for out in (parts, parts / "out", parts / "new" / "out", parts / "sub" / ".." / "out", tmp_path / "link" / "out"):
        with pytest.raises(InputError, match="lies in the input folder"):
            check_outside(out, parts)
    for out in (tmp_path, tmp_path / "parts-out", parts / ".." / "out"):
        check_outside(out, parts)
    check_outside(parts / "out", parts / "dull.png")  # a file has no folder of inputs


def test_an_input_is_not_in_the_way_of_the_result(parts, tmp_path):
    (tmp_path / "link").symlink_to(parts)
    for out, given in (
        (tmp_path, parts),
        (tmp_path, parts / "dull.png"),
        (parts, parts / "sub" / "bright.png"),
        (tmp_path / "link", parts / "dull.png"),
        (parts, tmp_path / "link" / "dull.png"),
    ):
        with pytest.raises(InputError, match=f"^{given}: lies in the output folder {out}; choose another place$"):
            check_inputs(out, [tmp_path.parent / "elsewhere.png", given])
    with pytest.raises(InputError, match="lies in the input folder"):
        check_inputs(parts / "out", [parts])
    check_inputs(tmp_path / "out", [parts, parts / "dull.png", tmp_path / "out-of-here.png"])


def test_a_folder_is_made_and_marked_or_must_be_empty(tmp_path):
    out = tmp_path / "new" / "out"
    prepare_folder(out, overwrite=False)
    prepare_folder(out, overwrite=False)
    assert os.listdir(out) == [RESULTS_MARK]
    paint(out / "overlays" / "a.png")
    with pytest.raises(InputError, match=f"^{out}: is not empty; pass --overwrite"):
        prepare_folder(out, overwrite=False)
    assert (out / "overlays" / "a.png").exists()


@pytest.fixture
def earlier(parts, tmp_path):
    """The results of an earlier run, with maps."""
    out = tmp_path / "earlier"
    prepare_folder(out, overwrite=False)
    assert len(list(write(Stub(), name_images([parts]), out, save_maps=True))) == 2
    return out


@pytest.mark.parametrize(
    "mine", ["notes.txt", "overlays/notes.txt", "maps/sub/part.png", "overlays/sub/x.npy", "maps.zip", "photos/a.png"]
)
def test_overwriting_removes_old_results_and_nothing_else(earlier, mine):
    before = sorted(earlier.rglob("*"))
    (earlier / mine).parent.mkdir(exist_ok=True)
    (earlier / mine).write_text("mine")
    named = "photos" if mine.startswith("photos") else mine
    with pytest.raises(InputError, match=f"holds {named}, which is no result; choose another folder$"):
        prepare_folder(earlier, overwrite=True)
    assert (earlier / mine).read_text() == "mine"
    assert set(before) < set(earlier.rglob("*"))
    (earlier / mine).unlink()
    if named == "photos":
        (earlier / named).rmdir()
    prepare_folder(earlier, overwrite=True)
    assert os.listdir(earlier) == [RESULTS_MARK]


@pytest.mark.parametrize("folder", ["maps", "overlays"])
def test_overwriting_harms_no_folder_of_the_users_own(tmp_path, folder):
    """Whatever it is called, and whatever it holds: predict has not made the folder around it."""
    mine = paint(tmp_path / folder / "photo.png")
    mine = mine.rename(mine.with_suffix({"maps": ".npy", "overlays": ".png"}[folder]))
    (tmp_path / "results.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=f"^{tmp_path}: is not empty and not from an earlier predict; choose another"):
        prepare_folder(tmp_path, overwrite=True)
    assert mine.exists()
    assert sorted(os.listdir(tmp_path)) == [folder, "results.jsonl"]


def test_overwriting_follows_no_link(tmp_path, parts, earlier):
    (earlier / "overlays" / "more").symlink_to(parts)
    with pytest.raises(InputError, match="holds overlays/more, which is no result"):
        prepare_folder(earlier, overwrite=True)
    out = tmp_path / "out"
    prepare_folder(out, overwrite=False)
    for name in ("overlays", "results.jsonl"):
        (out / name).symlink_to(parts)
        with pytest.raises(InputError, match=f"holds {name}, which is no result"):
            prepare_folder(out, overwrite=True)
        (out / name).unlink()
    assert (parts / "dull.png").exists()


def test_a_file_or_an_impossible_folder_is_refused(parts):
    with pytest.raises(InputError, match=r"dull.png: is not a folder$"):
        prepare_folder(parts / "dull.png", overwrite=True)
    with pytest.raises(StorageError, match=r"dull.png/out: cannot be written: not a directory$"):
        prepare_folder(parts / "dull.png" / "out", overwrite=False)
    with pytest.raises(StorageError, match="cannot be written: file name too long"):
        prepare_folder(parts.parent / ("n" * 300), overwrite=False)


def test_records_overlays_and_maps(parts, tmp_path):
    out, detector = tmp_path / "out", Stub()
    prepare_folder(out, overwrite=False)
    records = list(write(detector, name_images([parts]), out, save_maps=True))
    dull, bright = records
    assert dull == {
        "path": f"{parts}/dull.png",
        "score": 0.25,
        "threshold": 0.5,
        "verdict": "OK",
        "regions": [],
        "overlay": "overlays/dull.png",
    }
    assert list(bright) == list(dull)
    assert bright["regions"] == [{"area": 12, "box": [3, 5, 4, 3], "peak": 0.75}]
    assert [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()] == records
    image = np.full((32, 40, 3), 200, np.uint8)
    (prediction,) = detector.predict([image])
    saved = np.load(out / "maps" / "sub" / "bright.npy")
    assert saved.dtype == np.float32
    np.testing.assert_array_equal(saved, prediction.score_map)
    drawn = overlay(image, prediction.score_map, threshold=0.5, verdict="NG")
    np.testing.assert_array_equal(np.array(Image.open(out / "overlays" / "sub" / "bright.png")), drawn)
    found = sorted(file.relative_to(out).as_posix() for file in out.rglob("*") if file.is_file())
    maps, overlays = ["maps/dull.npy", "maps/sub/bright.npy"], ["overlays/dull.png", "overlays/sub/bright.png"]
    assert found == [RESULTS_MARK, *maps, *overlays, "results.jsonl"]


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
    monkeypatch.setattr(results, "load", lambda path: loaded.append(path) or load(path))
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
    detector = SimpleNamespace(threshold_=0.5, streams=1, predict=meeting(Stub().predict, 1, 10))
    assert len(list(write(detector, images, out))) == 12


@pytest.mark.parametrize("streams", [1, 2, 3])
def test_as_many_images_are_scored_at_the_same_time_as_there_are_streams(row, streams):
    images, out = row
    crowd = Meeting(streams)

    def predict(given):
        crowd.come()
        return Stub().predict(given)

    list(write(SimpleNamespace(threshold_=0.5, streams=streams, predict=predict), images[:6], out))
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
    with pytest.raises(KeyboardInterrupt):
        records.extend(write(SimpleNamespace(threshold_=0.5, streams=1, predict=predict), images, out))
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


def test_the_colour_scale_ends_at_the_highest_score_that_there_is():
    assert [results.scale_top(threshold) for threshold in (0.25, 0.5, 0.75, 1.0)] == [0.5, 1.0, 1.0, 2.0]
    image, score_map = np.full((32, 40, 3), 90, np.uint8), np.full((32, 40), 1.0, np.float32)
    drawn = results.draw(image, Prediction(None, 1.0, "NG", [], score_map), threshold=0.75)
    np.testing.assert_array_equal(drawn, overlay(image, score_map, threshold=0.75, top=1.0, verdict="NG"))


def test_a_summary_counts_and_keeps_the_highest_scores():
    scores = [0.1, 0.9, 0.3, 0.9, 0.2, 0.8, 0.4]
    records = [
        {"path": str(index), "score": score, "verdict": "NG" if score > 0.25 else "OK", "regions": []}
        for index, score in enumerate(scores)
    ]
    summary = summarise([{"path": "x", "error": "bad"}, *records])
    assert (summary.ok, summary.ng, summary.failed) == (2, 5, 1)
    assert [record["path"] for record in summary.worst] == ["1", "3", "5", "6", "2"]
    assert summarise([]) == Summary()


def test_a_score_that_is_not_finite_never_gets_into_a_record(parts, tmp_path):
    broken = SimpleNamespace(
        threshold_=0.5,
        streams=1,
        predict=lambda images: [Prediction(None, float("nan"), "OK", [], np.zeros(images[0].shape[:2], np.float32))],
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
        found = SimpleNamespace(threshold_=0.5, streams=streams, predict=predict)
        dull, bright = write(found, name_images([parts]), tmp_path / "out")
        assert dull["verdict"] == "OK"
        path = f"{parts}/sub/bright.png"
        assert bright == {"path": path, "error": f"{path}: score map: 7 scores are not finite"}
