"""CVAT's XML: every shape against a mask made by hand, where images may lie, and all that is refused."""

import numpy as np
import pytest

from blemish.data import datasets
from blemish.data.layouts.labels import Labels
from labelfiles import HEIGHT, WIDTH, area, cvat, drawn, element, read, runs, truth, written
from trees import paint, plant, refused

RNG = np.random.default_rng(0)


@pytest.fixture
def folder(tmp_path):
    """A flat folder: 5 images without a label, unlike each other, and a.png, b.png."""
    for number in range(5):
        paint(tmp_path / "parts" / f"g{number}.png", value=number)
    plant(tmp_path / "parts", "a.png", "b.png", value=99)
    return tmp_path / "parts"


def mask_of(folder, *elements):
    """Return what elements of a.png are read as."""
    cvat(folder / "annotations.xml", ("a.png", *elements))
    samples, _ = read(folder)
    assert samples["a.png"].label == "scratch"
    return truth(samples["a.png"])


def mask_element(patch, left, top, **fields):
    """A mask as CVAT writes it: row by row in the box of width x height px that begins at left, top."""
    values = {"rle": ", ".join(map(str, runs(patch.ravel().tolist()))), "left": left, "top": top}
    return element("mask", **values | {"width": patch.shape[1], "height": patch.shape[0]} | fields)


# What is drawn.


def test_polygons_are_filled(folder):
    assert np.array_equal(mask_of(folder, drawn(3, 2, 7, 5)), area(3, 2, 7, 5))
    expected = area(3, 2, 7, 5) | area(20, 10, WIDTH, HEIGHT)
    assert np.array_equal(mask_of(folder, drawn(3, 2, 7, 5), drawn(20, 10, 400, 300)), expected)


@pytest.mark.parametrize(("left", "top"), [(0, 0), (4, 7), (28, 23), (35, 30), (-3, -2)])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_a_mask_goes_row_by_row_in_its_box(folder, left, top, share):
    patch = RNG.random((9, 12)) < share
    around = np.zeros((60, 70), bool)
    around[10 + top : 19 + top, 10 + left : 22 + left] = patch
    found = mask_of(folder, mask_element(patch, left, top))
    assert np.array_equal(found, around[10 : 10 + HEIGHT, 10 : 10 + WIDTH])


def test_the_mask_of_the_documentation():
    """Its box is as wide as its longest row: the last column and the last row are inside."""
    text = "3, 5, 7, 7, 5, 9, 3, 11, 2, 11, 2, 12, 1, 12, 1, 26, 1, 12, 1, 12, 2, 11, 3, 9, 5, 7, 7, 5, 3"
    counts = [int(count) for count in text.split(",")]
    assert sum(counts) == 13 * 15


def test_an_ellipse_has_a_centre_half_axes_and_a_turn(folder):
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    mask = mask_of(folder, element("ellipse", cx=20, cy=16, rx="15.00", ry=5))
    distance = np.hypot((x - 20) / 15, (y - 16) / 5)
    assert mask[distance < 0.85].all()
    assert not mask[distance > 1.15].any()
    turned = mask_of(folder, element("ellipse", cx=20, cy=16, rx=15, ry=2, rotation="45.0"))
    assert turned[24, 28]  # clockwise: down and to the right
    assert not turned[8, 28]


@pytest.mark.parametrize("form", ["box", "polyline", "points", "tag", "cuboid", "skeleton"])
def test_what_has_no_area_or_is_a_box_tells_no_pixels(folder, form):
    one = element(form, xtl=1, ytl=2, xbr=3, ybr=4, points="1,2;3,4")
    assert mask_of(folder, one) is None
    assert mask_of(folder, drawn(3, 2, 7, 5), one) is None
    unknown = "which of their pixels are defective is not known"
    assert read(folder)[1][1:] == [f"1 defect has boxes, points, lines or tags beside outlines: {unknown}"]


def test_elements_within_a_shape_are_not_shapes(folder):
    inner = '<attribute name="size">3</attribute>'
    skeleton = element("skeleton").replace("></", f">{element('points', 'knee', points='1,2')}</")
    assert mask_of(folder, drawn(3, 2, 7, 5).replace("></", f">{inner}</")) is not None
    assert mask_of(folder, skeleton) is None


def test_an_image_without_shapes_has_no_label(folder):
    cvat(folder / "annotations.xml", ("a.png", drawn(3, 2, 7, 5)), ("b.png",))
    assert read(folder)[1] == ["6 unlabelled images are taken as good"]
    refused(lambda: read(folder, unlabelled=""), "6 images without a label, which makes none of them good: b.png, g0")


def test_a_tag_may_say_that_an_image_is_good(folder):
    cvat(folder / "annotations.xml", ("a.png", drawn(3, 2, 7, 5)), ("b.png", element("tag", "OK")))
    assert read(folder)[1] == ["5 unlabelled images are taken as good"]


def test_all_classes_of_the_task_are_known(folder):
    cvat(folder / "annotations.xml", ("a.png", drawn(3, 2, 7, 5)), ("b.png", drawn(3, 2, 7, 5, "roi")))
    assert read(folder, "dent")[1] == ["7 unlabelled images are taken as good (on them, and no defect: roi, scratch)"]
    line = refused(lambda: read(folder, "hidden"), "defects: no class hidden")
    assert line.endswith("(there are: dent, part, roi, scratch)")


# Where files lie.


@pytest.mark.parametrize("below", ["", "images", "some/where"])
@pytest.mark.parametrize("name", ["0.png", "x\\..\\0.png"])
def test_images_are_found_by_their_names(tmp_path, below, name):
    for number in range(5):
        paint(tmp_path / below / f"{number}.png", value=number)
    file = cvat(tmp_path / "annotations.xml", (name, drawn(3, 2, 7, 5)), ("1.png",))
    found = [f"{below}/0.png".lstrip("/")]
    for data in (tmp_path, file):
        assert [name for name, one in read(data)[0].items() if one.label != "good"] == found
    file = file.rename(tmp_path / "task 7.XML")
    assert [name for name, one in read(file)[0].items() if one.label != "good"] == found


def test_subsets_may_hold_images_of_one_name(tmp_path):
    for number, name in enumerate(("images/train/0.png", "images/val/0.png", "images/val/1.png", "images/2.png")):
        paint(tmp_path / name, value=number)
    file = cvat(tmp_path / "annotations.xml", ("0.png", drawn(3, 2, 7, 5)))
    refused(lambda: read(tmp_path), "annotations.xml: 0.png: 2 images of that name")
    file.write_text(file.read_text().replace("<image ", '<image subset="val" '))
    assert [name for name, one in read(tmp_path)[0].items() if one.label != "good"] == ["images/val/0.png"]
    file.write_text(file.read_text().replace('"val"', '"../val"'))
    refused(lambda: read(tmp_path), "../val/0.png not allowed (allowed: a path below the folder of the data set)")


@pytest.mark.parametrize("name", ["/a.png", "../a.png", "C:\\a.png", "..\\a.png", ""])
def test_names_that_lead_out_are_refused(folder, name):
    cvat(folder / "annotations.xml", (name, drawn(3, 2, 7, 5)))
    refused(lambda: read(folder), f"{folder}: annotations.xml: ", "not allowed (allowed: a path below the folder of ")


def test_an_image_that_is_not_there_is_said(folder):
    cvat(folder / "annotations.xml", ("gone.png", drawn(3, 2, 7, 5)), ("a.png",))
    assert refused(lambda: read(folder)) == f"{folder}: annotations.xml: gone.png: no such image"


# What is refused.


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (element("polygon", points="1,2;3,4"), "polygon of a.png: a polygon of 2 corners (allowed: 3 and more)"),
        (element("polygon", points=""), "polygon of a.png: nothing where numbers are expected"),
        (element("polygon"), "polygon of a.png: nothing where numbers are expected"),
        (element("polygon", points="1,2;3,4;5"), "polygon of a.png: points that are no x,y;x,y;..."),
        (element("polygon", points="1,2;3,4;5,nan"), "polygon of a.png: coordinates that are not finite"),
        (element("polygon", points="1,2;3,4;5,1e999"), "polygon of a.png: coordinates that are not finite"),
        (element("polygon", points="1,2;3,4;5,x"), "polygon of a.png: 5,x where numbers are expected"),
        (element("polygon", "", points="1,2;3,4;5,6"), "polygon of a.png: a class without a name (expected text)"),
        (element("ellipse", cx=1, cy=2, rx=3), "ellipse of a.png: nothing where numbers are expected"),
        (element("ellipse", cx=1, cy=2, rx=3, ry="4,5"), "ellipse of a.png: ry 4,5 is no number"),
        (element("ellipse", cx=1, cy=2, rx=3, ry="inf"), "ellipse of a.png: coordinates that are not finite"),
        (element("circle", cx=1, cy=2, r=3), "circle of a.png: not known (known: polygon, ellipse, mask, box, polyli"),
        (
            mask_element(area(0, 0, 2, 2), 0, 0, width=39),
            "mask of a.png: run lengths add up to 1280, not to the 1248 p",
        ),
        (mask_element(area(0, 0, 2, 2), 0, 0, width=0), "mask of a.png: a mask without width and height"),
        (mask_element(area(0, 0, 2, 2), 0, 0, width=-40), "mask of a.png: size -40x32 not allowed"),
        (mask_element(area(0, 0, 2, 2), 0.5, 0), "mask of a.png: left 0.5 is no whole number"),
        (
            mask_element(area(0, 0, 2, 2), 0, 0, rle="1279.5,0.5"),
            "mask of a.png: run lengths that are no whole numbers",
        ),
        (
            mask_element(area(0, 0, 2, 2), 0, 0, rle="1281,-1"),
            "mask of a.png: run lengths that are no whole numbers fro",
        ),
        (mask_element(area(0, 0, 2, 2), 0, 0, rle="1e14", width=10**7, height=10**7), "mask of a.png: size 10000000x1"),
        (mask_element(area(0, 0, 2, 2), 0, 0, rle=""), "mask of a.png: nothing where numbers are expected"),
    ],
)
def test_a_shape_that_is_none_is_refused(folder, one, words):
    refused(lambda: mask_of(folder, one), f"{folder}: annotations.xml: {words}")


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ("", "a.png: nothing where numbers are expected"),
        ('width="0" height="0"', "a.png: no width and height"),
        ('width="x" height="32"', "a.png: x where numbers are expected"),
        ('width="40" height="31"', "1 masks of another size than the image: a.png (drawn on 40x31 vs image 40x32)"),
    ],
)
def test_a_size_that_is_none_is_refused(folder, size, words):
    file = cvat(folder / "annotations.xml", ("a.png", drawn(3, 2, 7, 5)))
    file.write_text(file.read_text().replace('width="40" height="32"', size))
    refused(lambda: read(folder), words)


BOMB = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><annotations>&c;"""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "declares a document type (DOCTYPE), which CVAT does not write"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>', "declares a document type (DOCTYPE)"),
        ("<annotation/>", "begins with <annotation> (expected <annotations>: CVAT for images 1.1)"),
        ("<annotations><image", "line 1: not well-formed XML, or cut (unclosed token)"),
        ("<annotations>\n<image></annotations>", "line 2: not well-formed XML, or cut (mismatched tag)"),
        ("<annotations>", "line 1: not well-formed XML, or cut (no element found)"),
        ("<annotations>&c;</annotations>", "line 1: not well-formed XML, or cut (undefined entity)"),
        ("", "line 1: not well-formed XML, or cut (no element found)"),
        ("<annotations><track id='0' label='scratch'/></annotations>", "holds the tracks of a video (allowed: export"),
    ],
)
def test_a_file_that_is_no_cvat_is_refused(folder, text, words):
    file = written(folder / "annotations.xml", text)
    for data in (folder, file):
        assert refused(lambda data=data: read(data)).startswith(f"{folder}/annotations.xml: {words}")
        refused(lambda data=data: datasets.good_images(data, labels=Labels(unlabelled="good")), words)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_another_encoding_is_refused(folder, encoding):
    file = cvat(folder / "annotations.xml", ("a.png", drawn(3, 2, 7, 5, "Bruchstück")))
    assert read(folder)[0]["a.png"].label == "Bruchstück"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert read(folder)[0]["a.png"].label == "Bruchstück"
    text = file.read_text(encoding="utf-8-sig").replace('encoding="utf-8"', f'encoding="{encoding}"')
    file.write_bytes(text.encode(encoding))
    refused(lambda: read(folder), f"{folder}/annotations.xml: not UTF-8 at byte ")


def test_a_deep_file_is_no_danger(folder):
    written(folder / "annotations.xml", "<annotations>" + "<a>" * 200_000 + "</a>" * 200_000 + "</annotations>")
    assert len(read(folder)[0]) == 7
