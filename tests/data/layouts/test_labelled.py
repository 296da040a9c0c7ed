"""What labels and folders say together: flat folders and trees, in the words of all three tools; options; notes."""

import numpy as np
import pytest

from blemish.data import datasets
from blemish.data.inputs import check_apart, name_images
from blemish.data.layouts.labels import Labels
from labelfiles import BOX, area, coco, corners, cvat, drawn, element, labelme, polygons, read, ring, shape, truth
from trees import paint, plant, refused

RECTANGLE = (3, 2, 7, 5)
UNKNOWN = "which of their pixels are defective is not known"
TOOLS = pytest.mark.parametrize("tool", ["coco", "labelme", "cvat"])


def label(tool, folder, **images):
    """Write what a tool does of images, NAME=[(class, rectangle or None for a box)]; __ stands for / in a name."""
    named = {f"{name.replace('__', '/')}.png": shapes for name, shapes in images.items()}
    classes = sorted({kind for shapes in named.values() for kind, _ in shapes} | {"roi"})
    if tool == "coco":
        annotations = [
            (name, kind, BOX if area is None else polygons(ring(*area)))
            for name, shapes in named.items()
            for kind, area in shapes
        ]
        coco(folder / "annotations" / "instances.json", list(named), *annotations, classes=classes)
    elif tool == "labelme":
        for name, shapes in named.items():
            made = [
                shape(kind, "rectangle" if area is None else "polygon", corners(*(area or RECTANGLE)))
                for kind, area in shapes
            ]
            labelme((folder / name).with_suffix(".json"), name.rpartition("/")[2], *made)
    else:
        cvat(folder / "annotations.xml", *(
            (name, *(element("box", kind) if area is None else drawn(*area, kind) for kind, area in shapes))
            for name, shapes in named.items()
        ), labels=classes)  # fmt: skip


def labelled(samples):
    return {name: one.label for name, one in samples.items() if one.label != "good"}


def goods(folder, *places, count=5):
    for number in range(count):
        for index, place in enumerate(places):
            paint(folder / place / f"g{number}.png", value=10 * index + number)


# Flat folders.


@TOOLS
def test_a_flat_folder_is_split_by_content(tmp_path, tool):
    goods(tmp_path, "", count=10)
    plant(tmp_path, "a.png", "b.png", value=99)
    label(tool, tmp_path, a=[("scratch", RECTANGLE)], b=[("dent", None)])
    samples, said = read(tmp_path)
    assert said == [
        "10 unlabelled images are taken as good",
        f"1 defect has boxes, points, lines or tags only: {UNKNOWN}",
    ]
    assert labelled(samples) == {"a.png": "scratch", "b.png": "dent"}
    assert {one.category for one in samples.values()} == {tmp_path.name}
    assert np.array_equal(truth(samples["a.png"]), area(*RECTANGLE))
    assert truth(samples["b.png"]) is None
    train = datasets.good_images(tmp_path, labels=Labels(unlabelled="good"))
    tested = datasets.test_samples(tmp_path, labels=Labels(unlabelled="good"))
    assert len(train) == 8
    assert [one.label for one in tested] == ["scratch", "dent", "good", "good"]
    assert {path.name for path in train} | {one.path.name for one in tested} == set(samples)
    assert datasets.held_out_images(tmp_path, labels=Labels(unlabelled="good")) == []


@TOOLS
def test_a_missing_label_makes_no_image_good(tmp_path, tool):
    goods(tmp_path, "", count=4)
    plant(tmp_path, "a.png", value=99)
    label(tool, tmp_path, a=[("scratch", RECTANGLE)], g0=[])
    ways = "(put good ones into a folder named good, or pass --unlabelled good)"
    line = f"{tmp_path}: 4 images without a label, which makes none of them good: g0.png, g1.png, g2.png, g3.png {ways}"
    for reading in (datasets.good_images, datasets.test_samples, datasets.read_samples):
        assert refused(lambda reading=reading: reading(tmp_path)) == line


@TOOLS
@pytest.mark.parametrize("place", ["good", "images/OK", "i.O. Bilder/deep"])
def test_in_a_flat_folder_a_folder_may_say_what_is_good(tmp_path, tool, place):
    goods(tmp_path, place)
    plant(tmp_path, "a.png", "more/b.png", value=99)
    label(tool, tmp_path, a=[("scratch", RECTANGLE)], more__b=[("dent", RECTANGLE)])
    samples, said = read(tmp_path, unlabelled="")
    assert (labelled(samples), said) == ({"a.png": "scratch", "more/b.png": "dent"}, [])
    assert len(datasets.good_images(tmp_path)) == 4
    plant(tmp_path, f"{place}/c.png", value=98)
    label(tool, tmp_path, **{f"{place}/c": [("dent", RECTANGLE)]}, a=[("scratch", RECTANGLE)], more__b=[("x", None)])
    fault = "1 image whose folder and label contradict each other"
    assert refused(lambda: read(tmp_path)) == f"{tmp_path}: {fault}: {place}/c.png (labelled dent)"


def test_a_folder_named_good_may_be_the_one_that_is_given(tmp_path):
    goods(tmp_path / "good", "")
    label("labelme", tmp_path / "good", g0=[("roi", RECTANGLE)])
    refused(lambda: read(tmp_path / "good"), "1 image whose folder and label contradict each other: g0.png (labelled r")
    label("labelme", tmp_path / "good", g1=[])
    (tmp_path / "good" / "g0.json").unlink()
    assert read(tmp_path / "good", unlabelled="")[1] == []


@TOOLS
def test_in_a_flat_folder_a_folder_may_say_what_is_bad(tmp_path, tool):
    goods(tmp_path, "")
    plant(tmp_path, "NG/a.png", "NG/b.png", "x/OK/NG/c.png", "y/NG/OK/d.png", value=99)
    label(tool, tmp_path, NG__a=[("scratch", RECTANGLE)])
    samples, said = read(tmp_path)
    assert labelled(samples) == {"NG/a.png": "scratch", "NG/b.png": "NG", "x/OK/NG/c.png": "NG"}
    assert said == ["5 unlabelled images are taken as good", f"2 defects have no label: {UNKNOWN}"]
    label(tool, tmp_path, NG__a=[("ok", RECTANGLE)])
    refused(lambda: read(tmp_path), "whose folder and label contradict each other: NG/a.png (labelled good)")


@TOOLS
def test_masks_beside_labels_are_not_taken_as_good(tmp_path, tool):
    goods(tmp_path, "images")
    plant(tmp_path, "masks/a.png", "images/a.png", value=99)
    label(tool, tmp_path, images__a=[("scratch", RECTANGLE)])
    assert refused(lambda: read(tmp_path)) == f"{tmp_path}: 1 mask among the images: masks/a.png"
    plant(tmp_path, "images/a_mask.png", "images/g0_gt.png", value=255)
    names = "images/a_mask.png, images/g0_gt.png, masks/a.png"
    assert refused(lambda: read(tmp_path)) == f"{tmp_path}: 3 masks among the images: {names}"


def test_without_a_good_image_nothing_is_learnt(tmp_path):
    plant(tmp_path, "a.png", "b.png")
    label("cvat", tmp_path, a=[("scratch", RECTANGLE)], b=[("scratch", RECTANGLE)])
    fault = "no image of a good part: all are labelled as defects"
    assert refused(lambda: datasets.good_images(tmp_path)) == f"{tmp_path}: {fault}"
    assert [one.label for one in datasets.test_samples(tmp_path)] == ["scratch", "scratch"]
    plant(tmp_path, "c.png")
    refused(lambda: read(tmp_path), "good images: need >= 2 training images of different content, found 1")


# Classes.


@TOOLS
def test_several_classes_are_one_type(tmp_path, tool):
    goods(tmp_path, "")
    plant(tmp_path, "a.png", value=99)
    label(tool, tmp_path, a=[("scratch", RECTANGLE), ("dent", (20, 20, 30, 30)), ("scratch", (0, 0, 1, 1))])
    samples, _ = read(tmp_path)
    assert labelled(samples) == {"a.png": "dent+scratch"}
    expected = area(*RECTANGLE) | area(20, 20, 30, 30) | area(0, 0, 1, 1)
    assert np.array_equal(truth(samples["a.png"]), expected)


@TOOLS
def test_only_the_named_classes_are_defects(tmp_path, tool):
    goods(tmp_path, "")
    plant(tmp_path, "a.png", "b.png", value=99)
    both = [("roi", (0, 0, 40, 32)), ("scratch", RECTANGLE), ("roi", None)]
    label(tool, tmp_path, a=both, b=[("roi", (0, 0, 40, 32))])
    samples, said = read(tmp_path, " scratch ")
    taken = "6 unlabelled images are taken as good (on them, and no defect: roi)"
    assert (labelled(samples), said) == ({"a.png": "scratch"}, [taken])
    assert np.array_equal(truth(samples["a.png"]), area(*RECTANGLE))
    assert labelled(read(tmp_path)[0]) == {"a.png": "roi+scratch", "b.png": "roi"}
    refused(lambda: read(tmp_path, "scratch", unlabelled=""), "6 images without a label", "b.png, g0.png")
    line = f"{tmp_path}: defects: no class Scratch, hole (there are: roi, scratch)"
    assert refused(lambda: read(tmp_path, "Scratch", "scratch", "hole")) == line


@TOOLS
def test_accents_of_classes_may_be_encoded_in_two_ways(tmp_path, tool):
    goods(tmp_path, "")
    plant(tmp_path, "a.png", value=99)
    label(tool, tmp_path, a=[("bru\u0308che", RECTANGLE)])
    for wanted in ((), ("br\u00fcche",), ("bru\u0308che",)):
        assert labelled(read(tmp_path, *wanted)[0]) == {"a.png": "br\u00fcche"}


@TOOLS
def test_a_class_whose_name_means_good_is_no_defect(tmp_path, tool):
    goods(tmp_path, "")
    plant(tmp_path, "a.png", "b.png", value=99)
    label(tool, tmp_path, a=[("OK", (0, 0, 40, 32)), ("scratch", RECTANGLE)], b=[("OK", None)])
    for wanted in ((), ("scratch",)):
        samples, said = read(tmp_path, *wanted)
        assert (labelled(samples), said) == ({"a.png": "scratch"}, ["5 unlabelled images are taken as good"])
        assert np.array_equal(truth(samples["a.png"]), area(*RECTANGLE))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"unlabelled": "bad"}, "unlabelled: bad is not allowed, expected good"),
        ({"defects": ("scratch", "")}, "defects: a name is missing, expected names such as scratch,dent"),
        ({"defects": ("scratch", "i.O.")}, "defects: i.O. means good, expected names of defects"),
    ],
)
def test_options_are_checked(options, words):
    assert refused(lambda: Labels(**options)) == words


def test_defects_are_named_of_labels_only(tmp_path):
    goods(tmp_path / "plain", "")
    goods(tmp_path / "tree", "good")
    plant(tmp_path / "tree", "bad/0.png", "masks/0.png")
    (tmp_path / "m.csv").write_text("path,label,split\nplain/g0.png,good,train\n")
    for data in (tmp_path / "plain", tmp_path / "tree", tmp_path / "m.csv"):
        refused(lambda data=data: read(data, "scratch"), f"{data}: no labels of a labelling tool are found here")
    for data in (tmp_path / "tree", tmp_path / "m.csv"):
        read(data)  # with --unlabelled good there is nothing to refuse: folders and tables say what is good


# Trees.


@TOOLS
@pytest.mark.parametrize("names", [("good", "bad"), ("OK", "NG"), ("images/good", "images/bad")])
def test_folders_of_good_and_bad_take_their_truth_from_labels(tmp_path, tool, names):
    good, bad = names
    goods(tmp_path, good)
    plant(tmp_path, f"{bad}/a.png", f"{bad}/cut/b.png", f"{bad}/c.png", f"{bad}/d.png", value=99)
    shapes = {f"{bad}/a": [("scratch", RECTANGLE)], f"{bad}/cut/b": [("dent", RECTANGLE)], f"{bad}/c": [("dent", None)]}
    label(tool, tmp_path, **shapes)
    samples, said = read(tmp_path, unlabelled="")
    kind = bad.rpartition("/")[2]
    assert labelled(samples) == {
        f"{bad}/a.png": kind,
        f"{bad}/c.png": kind,
        f"{bad}/d.png": kind,
        f"{bad}/cut/b.png": "cut",
    }
    for name, known in (("a", True), ("cut/b", True), ("c", False), ("d", False)):
        found = truth(samples[f"{bad}/{name}.png"])
        assert np.array_equal(found, area(*RECTANGLE)) if known else found is None
    assert said == [f"1 defect has no label: {UNKNOWN}", f"1 defect has boxes, points, lines or tags only: {UNKNOWN}"]
    assert {one.category for one in samples.values()} == {tmp_path.name}
    assert len(datasets.good_images(tmp_path)) == 4


@TOOLS
@pytest.mark.parametrize("train", ["train/good", "Train/OK"])
def test_a_tree_of_types_takes_its_truth_from_labels(tmp_path, tool, train):
    goods(tmp_path, train, "test/good", "validation/good")
    plant(tmp_path, "test/cut/a.png", value=99)
    label(tool, tmp_path, test__cut__a=[("scratch", RECTANGLE), ("roi", (0, 0, 40, 32))])
    samples, said = read(tmp_path, "scratch", unlabelled="")
    assert (labelled(samples), said) == ({"test/cut/a.png": "cut"}, [])
    assert np.array_equal(truth(samples["test/cut/a.png"]), area(*RECTANGLE))
    assert (len(datasets.good_images(tmp_path)), len(datasets.held_out_images(tmp_path))) == (5, 5)


@TOOLS
@pytest.mark.parametrize("place", ["train/good", "test/good", "validation/good", "good"])
def test_a_defect_in_a_folder_of_good_parts_is_refused(tmp_path, tool, place):
    if place == "good":
        goods(tmp_path, "good")
        plant(tmp_path, "bad/a.png", value=99)
    else:
        goods(tmp_path, "train/good", "test/good", "validation/good")
        plant(tmp_path, "test/cut/a.png", value=99)
    label(tool, tmp_path, **{f"{place}/g0": [("scratch", RECTANGLE)]})
    fault = f"1 images in a folder of good parts, but labelled as defects: {place}/g0.png (scratch)"
    assert refused(lambda: read(tmp_path)) == f"{tmp_path}: {fault}"
    label(tool, tmp_path, **{f"{place}/g0": [("ok", RECTANGLE)]})
    assert len(read(tmp_path)[0]) > 5
    reading = {"train/good": datasets.good_images, "validation/good": datasets.held_out_images}
    label(tool, tmp_path, **{f"{place}/g0": [("scratch", None)]})
    refused(lambda: reading.get(place, datasets.test_samples)(tmp_path), fault) if place != "good" else None


@TOOLS
def test_a_good_label_in_a_folder_of_defects_is_refused(tmp_path, tool):
    goods(tmp_path, "good")
    plant(tmp_path, "bad/a.png", value=99)
    label(tool, tmp_path, bad__a=[("good", RECTANGLE)])
    fault = "1 images in a folder of defects, but labelled as good: bad/a.png"
    assert refused(lambda: read(tmp_path)) == f"{tmp_path}: {fault}"


@TOOLS
def test_a_mask_and_a_label_are_refused(tmp_path, tool):
    goods(tmp_path, "good")
    plant(tmp_path, "bad/a.png", "bad/b.png", "masks/a.png", value=99)
    label(tool, tmp_path, bad__a=[("scratch", RECTANGLE)])
    fault = "1 images with a mask and a label, of which one must go: bad/a.png"
    assert refused(lambda: read(tmp_path)) == f"{tmp_path}: {fault}"
    if tool == "labelme":
        (tmp_path / "bad" / "a.json").unlink()
    label(tool, tmp_path, bad__b=[("scratch", RECTANGLE)])
    samples, said = read(tmp_path)
    assert truth(samples["bad/a.png"]) is not None
    assert truth(samples["bad/b.png"]) is None
    assert said == ["1 defect with a label but no mask: labels are not used where there are masks"]


@TOOLS
def test_sizes_are_compared_in_trees_too(tmp_path, tool):
    goods(tmp_path, "good")
    paint(tmp_path / "bad" / "a.png", width=41)
    label(tool, tmp_path, bad__a=[("scratch", RECTANGLE)])
    line = refused(lambda: read(tmp_path), "1 masks of another size than the image")
    assert line.endswith("bad/a.png (drawn on 40x32 vs image 41x32)")
    assert len(datasets.good_images(tmp_path)) == 4  # what is wrong with the test does not stop a fit


@pytest.mark.parametrize("place", ["labels", "json", "annotations"])
def test_label_files_may_lie_in_a_folder_beside_the_images(tmp_path, place):
    goods(tmp_path, "OK")
    plant(tmp_path, "NG/a.png", value=99)
    labelme(tmp_path / place / "NG" / "a.json", "..\\..\\NG\\a.png", shape("scratch", "polygon", corners(*RECTANGLE)))
    samples, said = read(tmp_path, unlabelled="")
    assert (labelled(samples), said) == ({"NG/a.png": "NG"}, [])
    assert np.array_equal(truth(samples["NG/a.png"]), area(*RECTANGLE))


# Many categories.


@pytest.mark.parametrize("tool", ["coco", "cvat"])
def test_a_root_may_hold_categories_with_labels(tmp_path, tool):
    for name in ("bolt", "nut"):
        goods(tmp_path / name, "")
        plant(tmp_path / name, "a.png", value=99)
        label(tool, tmp_path / name, a=[("scratch", RECTANGLE)])
        assert datasets.is_category(tmp_path / name)
    goods(tmp_path / "pin", "train/good")
    assert [folder.name for folder in datasets.categories(tmp_path)] == ["bolt", "nut", "pin"]
    samples, said = read(tmp_path)
    assert labelled(samples) == {"bolt/a.png": "scratch", "nut/a.png": "scratch"}
    assert said == ["5 unlabelled images are taken as good"] * 2
    cvat(tmp_path / "annotations.xml", ("bolt/a.png", drawn(*RECTANGLE)))
    line = f"{tmp_path}/annotations.xml: labels of several categories, give each its own: pin"
    assert refused(lambda: read(tmp_path)) == line


# Who else meets label files.


@TOOLS
def test_images_with_labels_are_judged_like_others(tmp_path, tool):
    goods(tmp_path, "good")
    plant(tmp_path, "bad/a.png", value=99)
    label(tool, tmp_path, bad__a=[("scratch", RECTANGLE)])
    assert len(name_images([tmp_path])) == 6
    plant(tmp_path, "x/masks/a.png")
    refused(lambda: name_images([tmp_path]), f"{tmp_path}: a data set, with masks; give a folder of images in it")


def test_no_output_takes_the_place_of_a_label_file_or_of_its_images(tmp_path):
    goods(tmp_path, "images")
    label("coco", tmp_path, images__g0=[])
    file = tmp_path / "annotations" / "instances.json"
    for out in (file, tmp_path / "images" / "g1.png"):
        refused(lambda out=out: check_apart([out], [file]), f"{out}: is the input {out}; choose another place")
    check_apart([tmp_path / "out.json"], [file])


def test_sub_folders_of_a_labelled_folder_are_said(tmp_path):
    goods(tmp_path, "x", "y")
    label("labelme", tmp_path, x__g0=[])
    images = datasets.good_images(tmp_path, labels=Labels(unlabelled="good"))
    (line,) = datasets.together(tmp_path, images)
    assert line.startswith("sub-folders are learnt together: ")
    (tmp_path / "x" / "g0.json").unlink()
    label("cvat", tmp_path, x__g0=[])
    for data in (tmp_path, tmp_path / "annotations.xml"):
        assert datasets.together(data, images) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("Annotations/0.xml", "<annotation><object><name>dent</name></object></annotation>"),
        ("labels/0.txt", "0 0.5 0.5 0.1 0.1"),
        ("images/0.txt", ""),
        ("notes/deep/x.json", '{"images": [], "annotations": [], "categories": []}'),
    ],
)
def test_labels_that_are_not_read_make_no_image_good(tmp_path, name, content):
    """Those of Pascal VOC and YOLO, and label files where nobody looks for them."""
    for index in range(3):
        paint(tmp_path / "images" / f"{index}.png", value=index)
    (tmp_path / "readme.txt").write_text("nothing")
    (tmp_path / "settings.json").write_text("{}")
    assert len(datasets.good_images(tmp_path)) == 3
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(content)
    refused(lambda: datasets.good_images(tmp_path), "its images have labels that are not read: ", name)


@pytest.mark.parametrize("name", ["annotations/annotations.xml", "task_12.xml", "labels/job_3.xml"])
def test_labels_of_cvat_have_many_places_and_names(tmp_path, name):
    for index in range(3):
        paint(tmp_path / "images" / f"{index}.png", value=index)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(
        '<annotations><image name="0.png" width="40" height="32"><tag label="dent"/></image></annotations>'
    )
    refused(lambda: datasets.good_images(tmp_path), "2 images without a label")
    refused(lambda: datasets.good_images(tmp_path / "images"), "labels that are not read") if "/" in name else None
    taken = Labels(unlabelled="good")
    assert {path.name for path in datasets.good_images(tmp_path, labels=taken)} < {"1.png", "2.png"}
    assert "0.png" in {one.path.name for one in datasets.test_samples(tmp_path, labels=taken)}


def test_unlabelled_good_needs_labels_to_be_found(tmp_path):
    """Else all images would be good, and nobody would know why."""
    plant(tmp_path, "0.png", "1.png")
    refused(lambda: datasets.good_images(tmp_path, labels=Labels(unlabelled="good")), "no labels of a labelling tool")
