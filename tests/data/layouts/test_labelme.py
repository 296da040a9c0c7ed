"""LabelMe's JSON: every shape against a mask made by hand, where files may lie, and all that is refused."""

import base64
import json

import numpy as np
import pytest

from blemish.data import datasets
from encoding import encoded
from labelfiles import HEIGHT, WIDTH, area, corners, labelme, mask_text, read, shape, truth, written
from trees import paint, plant, refused

RNG = np.random.default_rng(0)
KNOWN = "circle, line, linestrip, mask, oriented_rectangle, point, points, polygon, rectangle, rotation"
SCRATCH = shape("scratch", "polygon", corners(3, 2, 7, 5))


@pytest.fixture
def folder(tmp_path):
    """A flat folder: 5 images without a label, unlike each other, and a.png, b.png."""
    for number in range(5):
        paint(tmp_path / "parts" / f"g{number}.png", value=number)
    plant(tmp_path / "parts", "a.png", "b.png", value=99)
    return tmp_path / "parts"


def mask_of(folder, *shapes, **fields):
    """Return what shapes on a.png are read as."""
    labelme(folder / "a.json", "a.png", *shapes, **fields)
    samples, _ = read(folder)
    assert samples["a.png"].label == "scratch"
    return truth(samples["a.png"])


def defects(data):
    return [name for name, sample in read(data)[0].items() if sample.label != "good"]


# What is drawn.


@pytest.mark.parametrize("form", ["polygon", None, ""])
def test_polygons_are_filled(folder, form):
    other = shape("scratch", form, corners(20.0, 10.0, 400, 300))
    assert np.array_equal(mask_of(folder, SCRATCH, other), area(3, 2, 7, 5) | area(20, 10, WIDTH, HEIGHT))
    bare = {"label": "scratch", "points": corners(3, 2, 7, 5), "line_color": None, "fill_color": None}
    assert np.array_equal(mask_of(folder, bare), area(3, 2, 7, 5))  # as old versions wrote it


def test_a_circle_has_a_centre_and_a_point_on_it(folder):
    mask = mask_of(folder, shape("scratch", "circle", [[20, 16], [20, 26]]))
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    distance = np.hypot(x - 20, y - 16)
    assert mask[distance < 9.25].all()
    assert not mask[distance > 10.75].any()
    assert mask_of(folder, shape("scratch", "circle", [[1e308, 2], [-1e308, 0]])).all()


@pytest.mark.parametrize(("left", "top"), [(0, 0), (4, 7), (30, 25), (-3, -2)])
@pytest.mark.parametrize("end", [0, 1])
def test_a_mask_lies_between_its_two_points(folder, left, top, end):
    patch = RNG.random((9, 12)) < 0.5
    points = [[left + 0.4, top], [left + 11 + end, top + 8 + end]]
    around = np.zeros((60, 70), bool)
    around[10 + top : 19 + top, 10 + left : 22 + left] = patch
    expected = around[10 : 10 + HEIGHT, 10 : 10 + WIDTH]
    points = points if left >= 0 else [[left, top], points[1]]
    for pixels in (patch, patch * np.uint8(255), patch.astype(np.uint8)):
        found = mask_of(folder, shape("scratch", "mask", points, mask=mask_text(pixels)))
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("form", ["rectangle", "point", "points", "line", "linestrip", "oriented_rectangle"])
def test_what_has_no_area_or_is_a_box_tells_no_pixels(folder, form):
    assert mask_of(folder, shape("scratch", form, [[1, 2], [3, 4]])) is None
    assert mask_of(folder, SCRATCH, shape("scratch", form, [[1, 2], [3, 4]])) is None
    unknown = "which of their pixels are defective is not known"
    assert read(folder)[1][1:] == [f"1 defect has boxes, points, lines or tags beside outlines: {unknown}"]


def test_an_empty_list_of_shapes_is_no_label(folder):
    labelme(folder / "a.json", "a.png", SCRATCH)
    labelme(folder / "b.json", "b.png")
    samples, said = read(folder)
    assert said == ["6 unlabelled images are taken as good"]
    assert samples["b.png"].label == "good"
    refused(
        lambda: read(folder, unlabelled=""), "6 images without a label, which makes none of them good: b.png, g0.pn"
    )


@pytest.mark.parametrize("size", [{"imageHeight": None, "imageWidth": None}, {"imageHeight": 0, "imageWidth": 0}])
def test_without_a_size_it_is_the_images_own(folder, size):
    assert np.array_equal(mask_of(folder, SCRATCH, **size), area(3, 2, 7, 5))
    (folder / "a.png").write_bytes(b"none")
    refused(lambda: mask_of(folder, SCRATCH, **size), "a.json: a.png: ", "not an image")


def test_sizes_are_compared_with_the_image(folder):
    line = refused(lambda: mask_of(folder, SCRATCH, imageHeight=40, imageWidth=32), "1 masks of another size")
    assert line.endswith("a.png (drawn on 32x40 vs image 40x32)")


# Where files lie.


@pytest.mark.parametrize(
    ("file", "image", "named"),
    [
        ("a.json", "a.png", "a.png"),
        ("a.json", "a.png", ".\\a.png"),
        ("a.json", "a.png", "before/it/was/moved.png"),
        ("a.json", "a.png", "C:\\Users\\me\\a.png"),
        ("a.json", "a.png", "/home/me/a.png"),
        ("a.json", "a.png", "../elsewhere/a.png"),
        ("a.json", "a.png", None),
        ("A.json", "a.PNG", "A.png"),
        ("x/a.json", "x/a.jpg", "a.png"),
        ("labels/a.json", "images/a.png", "..\\images\\a.png"),
        ("labels/a.json", "images/a.png", "a.png"),
        ("labels/a.json", "a.png", "a.png"),
        ("labels/a.json", "a.png", "gone.png"),
        ("json/x/a.json", "x/a.png", "../../x/a.png"),
        ("Annotations/x/a.json", "images/x/a.png", "gone.png"),
        ("x/labels/a.json", "x/images/a.png", "gone.png"),
        ("labels/a.json", "photographs/a.png", "..\\photographs\\a.png"),
        ("labels/a.json", "photographs/a.png", "a.png"),
        ("labels/1.json", "images/a.png", "../images/a.png"),
        ("gera\u0308t.json", "gerät.png", "Gerät.png"),
    ],
)
def test_an_image_is_what_is_named_or_what_has_the_same_name(tmp_path, file, image, named):
    for number in range(5):
        paint(tmp_path / "images" / f"g{number}.png", value=number)
    plant(tmp_path, image, value=99)
    labelme(tmp_path / file, named, SCRATCH)
    assert defects(tmp_path) == [image]


def test_of_two_images_of_one_name_the_path_says_which(folder):
    plant(folder, "a.jpg")
    labelme(folder / "a.json", "a.jpg", SCRATCH)
    assert defects(folder) == ["a.jpg"]
    labelme(folder / "a.json", "A.bmp", SCRATCH)
    refused(lambda: read(folder), "a.json: A.bmp: several images of its name: a.jpg, a.png")


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("b.png", "imagePath names another image than a.png, which has the name of the file"),
        ("gone.png", None),
    ],
)
def test_a_path_and_a_name_that_differ_are_refused(folder, named, words):
    labelme(folder / "a.json", named, SCRATCH)
    if words:
        refused(lambda: read(folder), f"a.json: {named}: {words}")
    else:
        assert defects(folder) == ["a.png"]


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ("gone.png", "gone.png: no such image"),
        ("../b.png", "not allowed (allowed: a path below the folder of the data set)"),
        ("C:\\b.png", "not allowed"),
        ("/b.png", "not allowed"),
        (None, "its image: no such image"),
        (7, "7: no such image"),
    ],
)
def test_a_label_without_an_image_is_refused(folder, named, words):
    labelme(folder / "other.json", named, SCRATCH)
    refused(lambda: read(folder), f"{folder}: other.json: ", words)


def test_other_json_is_no_label_file(folder):
    written(folder / "a.json", '{"exposure": 1}')
    written(folder / "empty.json", "")
    assert len(datasets.good_images(folder)) == 7


# What is refused.


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"label": ""}, "a class without a name (expected text)"),
        ({"label": None}, "a class without a name (expected text)"),
        ({"shape_type": "cuboid"}, f"shape_type cuboid not known (known: {KNOWN})"),
        ({"shape_type": ["polygon"]}, f"shape_type ['polygon'] not known (known: {KNOWN})"),
        ({"points": [[1, 2], [3, 4]]}, "a polygon of 2 corners (allowed: 3 and more)"),
        ({"points": [[1, 2], [3, 4], [5, float("nan")]]}, "coordinates that are not finite"),
        ({"points": [[1, 2], [3, 4], [5, "6"]]}, "coordinates that are no numbers"),
        ({"points": [[1, 2], [3, 4], [5]]}, "points that are no list of [x, y]"),
        ({"points": None}, "points that are no list of [x, y]"),
        ({"shape_type": "circle", "points": [[1, 2]]}, "a circle of 1 points (allowed: 2)"),
        ({"shape_type": "mask", "points": []}, "a mask of 0 points (allowed: 2)"),
        ({"shape_type": "mask", "points": [[0, 0], [3, 3]]}, "its mask is no PNG in base64"),
        ({"shape_type": "mask", "points": [[0, 0], [3, 3]], "mask": "ä"}, "its mask is no PNG in base64"),
        ({"shape_type": "mask", "points": [[0, 0], [3, 3]], "mask": "aGFsbG8="}, "its mask is no PNG in base64"),
        (
            {"shape_type": "mask", "points": [[0, 0], [3, 3]], "mask": mask_text(np.ones((6, 4), bool))},
            "its mask is of 4x6 px, its points say 4x4",
        ),
    ],
)
def test_a_shape_that_is_none_is_refused(folder, fields, words):
    line = refused(lambda: mask_of(folder, SCRATCH | fields), words)
    assert line == f"{folder}: a.json: shape 1 of a.png: {words}"


def test_a_mask_may_have_line_ends(folder):
    text = base64.encodebytes(encoded(RNG.random((20, 30)) < 2)).decode()
    assert "\n" in text.strip()
    assert np.array_equal(mask_of(folder, shape("scratch", "mask", [[1, 2], [30, 21]], mask=text)), area(1, 2, 31, 22))


def test_a_damaged_mask_is_refused(folder):
    png = encoded(np.ones((4, 4), bool))
    for data in (png[:40], png[:-20], encoded(np.ones((4, 4), np.uint8), "JPEG")):
        text = base64.b64encode(data).decode()
        damaged = shape("scratch", "mask", [[0, 0], [3, 3]], mask=text)
        refused(lambda damaged=damaged: mask_of(folder, damaged), "a.json: shape 1 of a.png: its mask")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"shapes": {}}', "no list shapes (expected LabelMe: shapes, imagePath)"),
        (b'{"version": "5", "shapes": [{"label": "scra', "not valid JSON"),
        (b'{"shapes": [], "shapes": []}', "duplicate key shapes"),
        (b'{"shapes": [], "imagePath": "\xff"}', "not UTF-8"),
        ('{"shapes": []}'.encode("utf-16"), "not UTF-8"),
        (b'{"shapes": ' + b"[" * 100_000, "nested too deeply"),
        (b"", "not valid JSON"),
    ],
)
def test_a_file_that_is_no_labelme_is_refused(folder, text, words):
    labelme(folder / "b.json", "b.png", SCRATCH)
    (folder / "a.json").write_bytes(text)
    assert refused(lambda: read(folder), words).startswith(f"{folder}/a.json: ")


def test_shapes_that_are_no_objects_are_refused(folder):
    labelme(folder / "a.json", "a.png", 7)
    refused(lambda: read(folder), "a.json: shape 1 of a.png: not an object")
    labelme(folder / "a.json", "a.png", SCRATCH, imageHeight="x")
    refused(lambda: read(folder), "a.json: a.png: size 40xx not allowed")


def test_labels_of_two_tools_are_refused(folder):
    labelme(folder / "a.json", "a.png", SCRATCH)
    written(folder / "annotations.xml", "<annotations/>")
    refused(lambda: read(folder), "label files of several tools: annotations.xml, a.json (allowed: of one)")


def test_a_file_alone_is_not_given(folder):
    labelme(folder / "a.json", "a.png", SCRATCH)
    refused(lambda: read(folder / "a.json"), "a.json: no list images (expected COCO: images, annotations, categories)")


def test_the_image_in_a_file_is_not_used(folder):
    file = labelme(folder / "a.json", "a.png", SCRATCH, imageData="A" * 100_000)
    assert np.array_equal(truth(read(folder)[0]["a.png"]), area(3, 2, 7, 5))
    assert json.loads(file.read_text())["imageData"]
