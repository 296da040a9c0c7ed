"""Samples: the union of their masks, the sizes of these, and images that are unlike each other."""

import numpy as np
from PIL import Image, ImageFilter

from blemish.data.outlines import Outlines
from blemish.data.samples import Sample, dim, doubtful_masks, fault_lines, read_truth, size_problems, unlike
from trees import paint, refused


def sample(path, *masks, label="cut"):
    return Sample(path, label, masks, "test", "part")


# Masks.


def test_truth_is_the_union_of_all_masks(tmp_path):
    """The grey values of MVTec LOCO name the kind of defect: whatever they are, the mask is where they are not 0."""
    expected = np.zeros((32, 40), bool)
    for name, value, area in (("0.png", 255, np.s_[2:5, 3:9]), ("1.png", 236, np.s_[4:8, 8:20])):
        mask = np.zeros((32, 40), np.uint8)
        mask[area] = value
        expected[area] = True
        Image.fromarray(mask).save(tmp_path / name)
    image = paint(tmp_path / "image.png")
    truth = read_truth(sample(image, tmp_path / "0.png", tmp_path / "1.png"))
    assert truth.dtype == bool
    assert np.array_equal(truth, expected)
    assert expected.sum() == 3 * 6 + 4 * 12 - 1
    assert read_truth(sample(image, tmp_path / "0.png")).sum() == 3 * 6


def test_a_sample_without_masks_has_no_truth(tmp_path):
    assert read_truth(sample(tmp_path / "gone.png", label="good")) is None


def test_truth_needs_masks_of_one_size(tmp_path):
    one, other = paint(tmp_path / "0.png"), paint(tmp_path / "1.png", width=41)
    assert (
        refused(lambda: read_truth(sample(tmp_path / "i.png", one, other))) == f"{other}: mask 41x32 vs 40x32 of {one}"
    )
    refused(lambda: read_truth(sample(tmp_path / "i.png", tmp_path / "gone.png")), "no such file: ")


def test_sizes_that_differ_and_files_that_cannot_be_read_are_all_listed(tmp_path):
    image = paint(tmp_path / "a" / "i.png")
    masks = [paint(tmp_path / f"{n}.png", width=40 + n) for n in range(3)]
    empty = tmp_path / "empty.png"
    empty.touch()
    samples = [
        sample(image, masks[0]),
        sample(image, masks[1]),
        sample(image, *masks),
        sample(image, empty),
        sample(empty, masks[0], masks[1]),
    ]
    assert size_problems(samples[:1], root=tmp_path) == []
    assert size_problems(samples, root=tmp_path) == [
        "3 masks of another size than the image: a/i.png (mask 41x32 vs image 40x32), "
        "a/i.png (mask 1.png 41x32 vs image 40x32), a/i.png (mask 2.png 42x32 vs image 40x32)",
        f"1 files that cannot be read: {empty}: empty file (allowed: PNG, JPEG, BMP, TIFF)",
    ]


def test_masks_that_may_not_say_what_was_meant_are_listed_by_their_doubt(tmp_path):
    square = np.zeros((32, 40), np.uint8)
    square[8:24, 8:24] = 255
    soft = np.array(Image.fromarray(square).filter(ImageFilter.BoxBlur(2)))
    labels = np.where(square > 0, 3, 0).astype(np.uint8)
    labels[7, 7:25] = labels[24, 7:25] = labels[7:25, 7] = labels[7:25, 24] = 255
    kinds = {"sound": square, "empty": square * 0, "inverted": 255 - square, "soft": soft, "voc": labels}
    for name, mask in kinds.items():
        Image.fromarray(mask).save(tmp_path / f"{name}_mask.png")
    samples = [sample(tmp_path / f"{name}.png", tmp_path / f"{name}_mask.png") for name in kinds]
    assert doubtful_masks(samples, root=tmp_path) == {
        "empty": ["empty.png"],
        "nearly all": ["inverted.png"],
        "left out": ["soft.png"],
        "void": ["voc.png"],
    }
    both = sample(tmp_path / "two.png", tmp_path / "empty_mask.png", tmp_path / "sound_mask.png")
    assert doubtful_masks([both, sample(tmp_path / "bare.png")], root=tmp_path) == {}


def test_outlines_are_doubted_like_masks(tmp_path):
    polygons = {"outside": (50, 50, 60, 50, 60, 60), "all": (0, 0, 40, 0, 40, 32, 0, 32), "sound": (1, 1, 9, 1, 9, 9)}
    samples = [
        Sample(tmp_path / name, "cut", (), "test", "part", Outlines(32, 40, (corners,)))
        for name, corners in polygons.items()
    ]
    assert doubtful_masks(samples, root=tmp_path) == {"empty": ["outside"], "nearly all": ["all"]}


# Images that are unlike each other.


def test_shapes_that_differ_are_named_once_and_the_commonest_first(tmp_path):
    paths = [paint(tmp_path / f"{n}.png") for n in range(4)]
    assert unlike(paths) == []
    paths += [paint(tmp_path / f"w{n}.png", width=50) for n in range(2)]
    assert unlike(paths) == ["images differ in shape: 4 of 40x32, 2 of 50x32; each is stretched to the same square"]
    paths += [paint(tmp_path / f"h{n}.jpg", height=60 + n // 3) for n in range(4)]
    paths += [paint(tmp_path / "tall.png", orientation=6), tmp_path / "gone.png"]
    assert unlike(paths) == [
        "images differ in shape: 4 of 40x32, 3 of 40x60, 2 of 50x32, and 2 shapes more; "
        "each is stretched to the same square"
    ]


def test_grey_images_among_those_in_colour_are_counted(tmp_path):
    paths = [paint(tmp_path / f"{n}.png") for n in range(3)]
    assert unlike(paths) == []
    for name in ("a.png", "b.jpg"):
        Image.new("RGB", (40, 32)).save(tmp_path / name)
    paths += [tmp_path / "a.png", tmp_path / "b.jpg"]
    assert unlike(paths) == ["3 grey images among 2 in colour: grey is taken as a colour"]
    assert unlike(paths[3:]) == []


def test_dark_16_bit_images_are_told_with_their_brightest_value(tmp_path):
    paths = [paint(tmp_path / "8.png", value=3), tmp_path / "gone.png"]
    assert dim(paths, bits=16) == []
    for name, value in (("a", 900), ("b", 4080)):
        paths.append(tmp_path / f"{name}.png")
        Image.fromarray(np.full((32, 40), value, np.uint16)).save(paths[-1])
    assert dim(paths, bits=16) == [
        "16-bit images come out dark: brightest value 4080 of 65535; if the camera has 12 bits: blemish fit --bits 12"
    ]
    assert dim(paths, bits=12) == []
    Image.fromarray(np.full((32, 40), 20000, np.uint16)).save(tmp_path / "c.png")
    assert dim([*paths, tmp_path / "c.png"], bits=16) == []


def test_a_line_for_each_fault_that_there_is():
    assert fault_lines({"files that cannot be read": ["a.png", "b.png"], "masks too many": []}) == [
        "2 files that cannot be read: a.png, b.png"
    ]
