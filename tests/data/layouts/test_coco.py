"""COCO's JSON: every kind of segmentation against a mask made by hand, every place of files, all that is refused."""

import json

import numpy as np
import pytest

from blemish.data import datasets
from blemish.data.layouts.labels import Labels
from labelfiles import BOX, HEIGHT, WIDTH, area, coco, compressed, polygons, read, ring, runs, truth, written
from trees import paint, plant, refused

RNG = np.random.default_rng(0)
GOOD = [f"g{number}.png" for number in range(5)]


@pytest.fixture
def folder(tmp_path):
    """A flat folder: 5 images without a label, unlike each other, and a.png, b.png."""
    for number, name in enumerate(GOOD):
        paint(tmp_path / "parts" / name, value=number)
    plant(tmp_path / "parts", "a.png", "b.png", value=99)
    return tmp_path / "parts"


def mask_of(folder, segmentation):
    """Return what a segmentation of a.png is read as."""
    coco(folder / "labels.json", ["a.png"], ("a.png", "scratch", {"segmentation": segmentation}))
    samples, said = read(folder)
    assert samples["a.png"].label == "scratch"
    assert said == ["6 unlabelled images are taken as good"]
    return truth(samples["a.png"])


# What is drawn.


def test_polygons_are_filled(folder):
    assert np.array_equal(mask_of(folder, [ring(3, 2, 7, 5)]), area(3, 2, 7, 5))
    expected = area(3, 2, 7, 5) | area(20, 10, 40, 32)
    assert np.array_equal(mask_of(folder, [ring(3, 2, 7, 5), [], ring(20.0, 10.0, 400, 300)]), expected)
    assert np.array_equal(mask_of(folder, ring(3, 2, 7, 5)), area(3, 2, 7, 5))  # without the list around it


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.98, 1.0])
def test_run_lengths_go_column_by_column(folder, share):
    mask = RNG.random((HEIGHT, WIDTH)) < share
    counts = runs(mask.T.ravel().tolist())
    size = [HEIGHT, WIDTH]
    assert np.array_equal(mask_of(folder, {"counts": counts, "size": size}), mask)
    assert np.array_equal(mask_of(folder, {"counts": compressed(counts), "size": size}), mask)


def test_compressed_run_lengths_are_those_of_the_reference(folder):
    from pycocotools import mask as reference

    mask = np.repeat(RNG.random((HEIGHT // 4, WIDTH // 8)) < 0.5, 4, axis=0).repeat(8, axis=1)
    text = reference.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert text == compressed(runs(mask.T.ravel().tolist()))
    assert np.array_equal(mask_of(folder, {"counts": text, "size": [HEIGHT, WIDTH]}), mask)


def test_crowds_and_several_annotations_make_one_mask(folder):
    counts = runs(area(0, 0, 2, 2).T.ravel().tolist())
    crowd = {"segmentation": {"counts": counts, "size": [HEIGHT, WIDTH]}, "iscrowd": 1}
    coco(folder / "l.json", ["a.png"], ("a.png", "scratch", crowd), ("a.png", "dent", polygons(ring(3, 2, 7, 5))))
    samples, _ = read(folder)
    assert samples["a.png"].label == "dent+scratch"
    assert np.array_equal(truth(samples["a.png"]), area(0, 0, 2, 2) | area(3, 2, 7, 5))


def test_boxes_alone_tell_no_pixels(folder):
    more = ("b.png", "dent", polygons(ring(3, 2, 7, 5)))
    coco(folder / "l.json", ["a.png", "b.png"], ("a.png", "scratch", BOX), ("b.png", "scratch", BOX), more)
    samples, said = read(folder)
    assert (samples["a.png"].label, truth(samples["a.png"])) == ("scratch", None)
    assert (samples["b.png"].label, truth(samples["b.png"])) == ("dent+scratch", None)
    unknown = "which of their pixels are defective is not known"
    assert said == [
        "5 unlabelled images are taken as good",
        f"1 defect has boxes, points, lines or tags only: {unknown}",
        f"1 defect has boxes, points, lines or tags beside outlines: {unknown}",
    ]
    for none in ({"bbox": [0, 0, 1, 1]}, {"segmentation": None}, {"segmentation": [[]]}):
        coco(folder / "l.json", ["a.png"], ("a.png", "scratch", none))
        assert truth(read(folder)[0]["a.png"]) is None


@pytest.mark.parametrize("size", [{}, {"width": 0, "height": 0}, {"width": None, "height": None}])
def test_an_image_without_a_size_has_its_own(folder, size):
    file = coco(folder / "l.json", ["a.png"], ("a.png", "scratch", polygons(ring(3, 2, 7, 5))))
    content = json.loads(file.read_text())
    content["images"] = [{"id": 10, "file_name": "a.png", **size}]
    file.write_text(json.dumps(content))
    assert np.array_equal(truth(read(folder)[0]["a.png"]), area(3, 2, 7, 5))
    content["annotations"][0]["segmentation"] = {"counts": [8], "size": [2, 4]}
    file.write_text(json.dumps(content))
    refused(lambda: read(folder), "1 masks of another size than the image: a.png (drawn on 4x2 vs image 40x32)")


def test_sizes_are_those_of_the_upright_image(folder):
    paint(folder / "a.png", orientation=6)
    coco(folder / "l.json", ["a.png"], ("a.png", "scratch", polygons(ring(3, 2, 7, 5))))
    refused(lambda: read(folder), "a.png (drawn on 40x32 vs image 32x40)")


# Where files lie.


@pytest.mark.parametrize("place", ["x.json", "_annotations.coco.json", "annotations/instances_default.json", "X.JSON"])
@pytest.mark.parametrize("below", ["", "images", "some/where"])
def test_images_are_found_by_their_names(tmp_path, place, below):
    for number in range(5):
        paint(tmp_path / below / f"{number}.png", value=number)
    file = coco(tmp_path / place, ["0.png", "./1.png"], ("0.png", "scratch", polygons(ring(3, 2, 7, 5))))
    name = f"{below}/0.png".lstrip("/")
    for data in (tmp_path, file):
        samples, _ = read(data)
        assert [one for one in samples.values() if one.label != "good"] == [samples[name]]
        assert np.array_equal(truth(samples[name]), area(3, 2, 7, 5))
        assert {one.category for one in samples.values()} == {tmp_path.name}
        assert datasets.sample_root(data) == tmp_path


def test_the_label_file_may_be_given_from_its_own_folder(folder, monkeypatch):
    coco(folder / "annotations" / "l.json", ["a.png"], ("a.png", "scratch", BOX))
    for place, name in ((folder, "annotations/l.json"), (folder / "annotations", "l.json")):
        monkeypatch.chdir(place)
        assert len(read(datasets.Path(name))[0]) == 7


def test_a_path_goes_before_a_name(tmp_path):
    for number, name in enumerate(("0.png", "images/0.png", "x/0.png", "x/1.png", "y/1.png", "z/2.png")):
        paint(tmp_path / name, value=number)
    for given, found in (("0.png", "0.png"), ("images/0.png", "images/0.png"), ("x/0.png", "x/0.png"),
                         ("elsewhere/2.png", "z/2.png"), ("Z/2.PNG", "z/2.png"), ("X/1.PNG", "x/1.png")):  # fmt: skip
        coco(tmp_path / "l.json", [given], (given, "scratch", BOX))
        assert [name for name, one in read(tmp_path)[0].items() if one.label != "good"] == [found], given
    coco(tmp_path / "l.json", ["1.png"])
    refused(lambda: read(tmp_path), "l.json: 1.png: 2 images of that name: x/1.png, y/1.png")
    (tmp_path / "0.png").unlink()
    coco(tmp_path / "l.json", ["0.png"], ("0.png", "scratch", BOX))
    assert [name for name, one in read(tmp_path)[0].items() if one.label != "good"] == ["images/0.png"]


@pytest.mark.parametrize("given", ["images\\gerät.png", "IMAGES/Gerät.PNG", "images/gera\u0308t.png", "x\\gerät.png"])
def test_names_of_other_systems_are_understood(tmp_path, given):
    for number in range(5):
        paint(tmp_path / "images" / f"{number}.png", value=number)
    paint(tmp_path / "images" / "gerät.png", value=9)
    coco(tmp_path / "l.json", [given], (given, "scratch", BOX))
    assert read(tmp_path)[0]["images/gerät.png"].label == "scratch"


@pytest.mark.parametrize(
    "given", ["/a.png", "../a.png", "x/../../a.png", "C:\\a.png", "c:/a.png", "..\\a.png", "\\\\host\\a.png", "", "."]
)
def test_names_that_lead_out_are_refused(folder, given):
    plant(folder.parent, "a.png")
    coco(folder / "l.json", [given])
    refused(
        lambda: read(folder), f"{folder}: l.json: ", "not allowed (allowed: a path below the folder of the data set)"
    )


def test_a_way_up_may_stay_inside(folder):
    coco(folder / "annotations" / "l.json", ["../a.png"], ("../a.png", "scratch", BOX))
    assert read(folder)[0]["a.png"].label == "scratch"


def test_links_that_lead_out_are_refused(folder, tmp_path):
    plant(tmp_path, "outside.png")
    coco(folder / "l.json", ["out.png"], ("out.png", "scratch", BOX))
    (folder / "out.png").symlink_to(tmp_path / "outside.png")
    refused(lambda: read(folder), "out.png: path escapes dataset root")
    (folder / "out.png").unlink()
    (folder / "l.json").rename(tmp_path / "l.json")
    (folder / "l.json").symlink_to(tmp_path / "l.json")
    refused(lambda: read(folder), "l.json: path escapes dataset root")


def test_several_files_are_one(folder):
    coco(folder / "annotations/instances_train.json", ["a.png"], ("a.png", "scratch", polygons(ring(3, 2, 7, 5))))
    more = ("b.png", "dent", BOX), ("a.png", "scratch", polygons(ring(3, 2, 7, 5), ring(20, 20, 22, 22)))
    coco(folder / "annotations/instances_val.json", ["b.png", "a.png"], *more, classes=("dent", "scratch"))
    samples, _ = read(folder)
    assert np.array_equal(truth(samples["a.png"]), area(3, 2, 7, 5) | area(20, 20, 22, 22))
    assert samples["b.png"].label == "dent"


def test_a_file_in_each_split_speaks_of_the_images_beside_it(tmp_path):
    for number, name in enumerate(("train/0.png", "train/1.png", "valid/0.png", "test/0.png")):
        paint(tmp_path / name, value=number)
    coco(tmp_path / "train/_annotations.coco.json", ["0.png", "1.png"], ("0.png", "scratch", BOX))
    coco(tmp_path / "valid/_annotations.coco.json", ["0.png"])
    coco(tmp_path / "test/_annotations.coco.json", ["0.png"], ("0.png", "dent", BOX))
    assert {name: one.label for name, one in read(tmp_path)[0].items()} == {
        "train/0.png": "scratch", "train/1.png": "good", "valid/0.png": "good", "test/0.png": "dent",
    }  # fmt: skip


def test_other_json_is_no_label_file(folder):
    written(folder / "camera.json", '{"images": 3, "exposure": 1}')
    written(folder / "defects_config.json", "[1]")
    assert len(datasets.good_images(folder)) == 7
    refused(lambda: read(folder / "camera.json"), "camera.json: no list images (expected COCO: images, annotations, c")
    refused(lambda: read(folder / "gone.json"), f"no such file: {folder}/gone.json")


# What is refused.


@pytest.mark.parametrize(
    ("segmentation", "words"),
    [
        ([[1, 2, 3, 4]], "a polygon of 2 corners (allowed: 3 and more)"),
        ([[1, 2, 3, 4, 5, 6, 7]], "a polygon of 7 numbers (allowed: x and y of each corner)"),
        ([[1, 2, 3, 4, 5, float("nan")]], "coordinates that are not finite"),
        ([[1, 2, 3, 4, 5, float("-inf")]], "coordinates that are not finite"),
        ([[1, 2, 3, 4, 5, 10**400]], "coordinates that are not finite"),
        ([[1, 2, 3, 4, 5, "6"]], "coordinates that are no numbers"),
        ([[1, 2, 3, 4, 5, None]], "coordinates that are no numbers"),
        ([ring(1, 1, 2, 2), 7], "coordinates that are no numbers"),
        ("polygon", "segmentation is neither polygons nor run lengths"),
        ({"counts": [1, 2], "size": [32, 40]}, "run lengths add up to 3, not to the 1280 px of the image"),
        ({"counts": [1281, -1], "size": [32, 40]}, "run lengths that are no whole numbers from 0"),
        ({"counts": [1280.0], "size": [32, 40]}, "run lengths that are no whole numbers from 0"),
        ({"counts": [1280]}, "run lengths without a size (expected [height, width])"),
        ({"counts": [1280], "size": [40, 32]}, "drawn on 32x40 here and on 40x32 elsewhere"),
        ({"counts": [10**14], "size": [10**7, 10**7]}, "size 10000000x10000000 exceeds limit 64 Mpx"),
        ({"counts": [1280], "size": [-32, -40]}, "size -40x-32 not allowed (allowed: whole numbers above 0)"),
        ({"size": [32, 40]}, "run lengths that are no whole numbers from 0"),
        ({"counts": "0o~", "size": [32, 40]}, "compressed run lengths with a character that is none of theirs"),
        ({"counts": "o", "size": [32, 40]}, "compressed run lengths that are cut"),
        ({"counts": "o" * 99, "size": [32, 40]}, "compressed run lengths that are too long"),
        ({"counts": "00", "size": [32, 40]}, "run lengths add up to 0, not to the 1280 px of the image"),
    ],
)
def test_a_segmentation_that_is_none_is_refused(folder, segmentation, words):
    line = refused(lambda: mask_of(folder, segmentation), words)
    assert line == f"{folder}: labels.json: annotation 1 of a.png: {words}"


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("categories", [{"id": 1}], "category 1: a class without a name (expected text)"),
        ("categories", [7], "category 1: no id (expected a number)"),
        ("categories", [], "annotation 1 of a.png: category_id 1 is not among the categories"),
        ("images", [{"id": 10, "file_name": "gone.png"}], "gone.png: no such image"),
        ("images", [{"id": 10}], "image 1: no file_name"),
        ("images", [{"file_name": "a.png"}], "a.png: no id (expected a number)"),
        ("images", [{"id": [], "file_name": "a.png"}], "a.png: no id (expected a number)"),
        ("images", [7], "image 1: no id (expected a number)"),
        ("images", [{"id": 10, "file_name": "a.png", "width": "x", "height": 3}], "a.png: size xx3 not allowed"),
        ("images", [{"id": 10, "file_name": "a.png"}, {"id": 10, "file_name": "b.png"}], "b.png: id 10 given twice"),
        ("images", [], "annotation 1: image_id 10 is not among the images"),
        ("annotations", [None], "annotation 1: no image_id (expected a number)"),
        ("annotations", [{"image_id": 10}], "annotation 1 of a.png: no category_id (expected a number)"),
    ],
)
def test_records_that_are_none_are_refused(folder, field, value, words):
    coco(folder / "l.json", ["a.png"], ("a.png", "scratch", BOX), **{field: value})
    refused(lambda: read(folder), f"{folder}: l.json: {words}")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"images": [], "annotations": [], "annotations": []}', "duplicate key annotations"),
        (b'{"images": [], "annotations": [], "categories": {}}', "no list categories"),
        (b'{"images": [], "annotations": [{"id": 1', "not valid JSON"),
        (b'{"images": [{"file_name": "a.png"}, {"file_na', "not valid JSON"),
        (b'{"images": [{"file_name": "\xff"}]}', "not UTF-8"),
        ('{"images": [], "annotations": []}'.encode("utf-16"), "not UTF-8"),
        (b'{"images": [], "annotations": ' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_file_that_is_no_coco_is_refused(folder, text, words):
    (folder / "l.json").write_bytes(text)
    for data in (folder, folder / "l.json"):
        assert refused(lambda data=data: read(data), words).startswith(f"{folder}/l.json: ")
        refused(lambda data=data: datasets.good_images(data, labels=Labels(unlabelled="good")), words)


def test_a_byte_order_mark_is_no_fault(folder):
    file = coco(folder / "l.json", ["a.png"], ("a.png", "scratch", BOX))
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read(folder)[0]["a.png"].label == "scratch"


def test_of_a_million_faults_some_are_said(folder):
    coco(folder / "l.json", [f"gone{number}.png" for number in range(5000)])
    line = refused(lambda: read(folder), "l.json: gone9.png: no such image; and 4990 problems more")
    assert "gone10.png" not in line


def test_a_large_file_takes_time_in_proportion(folder):
    from time import perf_counter

    seconds = []
    for count in (2_000, 20_000):
        coco(folder / "l.json", ["a.png"], *[("a.png", "scratch", polygons(ring(3, 2, 7, 5)))] * count)
        started = perf_counter()
        read(folder)
        seconds.append(perf_counter() - started)
    assert seconds[1] < 60 * seconds[0]
