"""Layouts: a tiny example of each with the complete list of its samples, and one with all that can be wrong."""

import hashlib
import unicodedata

import numpy as np
import pytest
from PIL import Image

from blemish.data.layouts.trees import pair_masks, read_btad, read_mvtec, read_mvtec_ad2, read_plain
from trees import names, paint, plant, refused, rows

HINT = "(expected ground_truth/<type>/NAME_mask.png, NAME.png or NAME/*.png)"


# MVTec AD.


def test_mvtec_ad(tmp_path):
    part = tmp_path / "bottle"
    plant(part, "train/good/001.png", "train/good/000.png", "test/good/000.png", "test/bent/000.png")
    plant(part, "test/broken/000.png", "test/broken/001.png", "ground_truth/bent/000.png")
    plant(part, "ground_truth/broken/001_mask.png", "ground_truth/broken/000_mask.png", "validation/good/9.png")
    (part / "readme.txt").touch()
    samples, problems = read_mvtec(part)
    assert problems == []
    assert rows(samples, part) == [
        ("train/good/000.png", "good", (), "train", "bottle"),
        ("train/good/001.png", "good", (), "train", "bottle"),
        ("validation/good/9.png", "good", (), "validation", "bottle"),
        ("test/bent/000.png", "bent", ("ground_truth/bent/000.png",), "test", "bottle"),
        ("test/broken/000.png", "broken", ("ground_truth/broken/000_mask.png",), "test", "bottle"),
        ("test/broken/001.png", "broken", ("ground_truth/broken/001_mask.png",), "test", "bottle"),
        ("test/good/000.png", "good", (), "test", "bottle"),
    ]
    assert read_mvtec(part, ("train",)) == (samples[:2], [])
    assert read_mvtec(part, ("validation",)) == (samples[2:3], [])
    assert read_mvtec(part, ("test",)) == (samples[3:], [])


def test_mvtec_ad_says_all_that_is_wrong(tmp_path):
    part = tmp_path / "bottle"
    plant(part, "train/good/0.png", "train/bent/0.png", "train/loose.png", "validation/bent/0.png")
    plant(part, "test/loose.png", "test/bent/0.png", "test/bent/1.png", "test/bent/2.png", "test/bent/3.png")
    plant(part, "ground_truth/bent/1_mask.png", "ground_truth/bent/1.png", "ground_truth/gone/5_mask.png")
    plant(part, "ground_truth/bent/2_mask.png", width=512, height=256)
    (part / "ground_truth/bent/3.png").touch()
    samples, problems = read_mvtec(part)
    assert problems == [
        "train must hold only good images: found bent, loose.png",
        "no validation/good (expected <root>/<class>/validation/good)",
        "1 in test but in no type's folder: loose.png",
        "1 images without a mask of their own: bent/0.png",
        f"2 masks without an image: bent/1.png, gone/5_mask.png {HINT}",
        "1 masks of another size than the image: bent/2.png (mask 512x256 vs image 40x32)",
        f"1 files that cannot be read: {part}/ground_truth/bent/3.png: empty file (allowed: PNG, JPEG, BMP, TIFF)",
    ]
    assert names([one.path for one in samples if one.split == "train"], part) == ["train/good/0.png"]
    assert read_mvtec(part, ("train",))[1] == problems[:1]
    assert read_mvtec(part, ("test",))[1] == problems[2:]


def test_what_is_empty_or_missing_is_said(tmp_path):
    part = tmp_path / "bottle"
    (part / "train" / "good").mkdir(parents=True)
    (part / "validation" / "good").mkdir(parents=True)
    allowed = "(allowed: .png .jpg .jpeg .bmp .tif .tiff)"
    assert read_mvtec(part) == (
        [],
        [f"no images found in train/good {allowed}", f"no images found in validation/good {allowed}"],
    )
    assert read_mvtec(tmp_path) == ([], ["no train/good (expected <root>/<class>/train/good)"])


def test_masks_of_good_images_are_not_used(tmp_path):
    plant(tmp_path, "train/good/0.png", "test/good/000.png", "ground_truth/good/000_mask.png")
    samples, problems = read_mvtec(tmp_path, ("test",))
    assert ([one.mask_paths for one in samples], problems) == ([()], [])
    plant(tmp_path, "ground_truth/good/001_mask.png")
    assert read_mvtec(tmp_path, ("test",))[1] == [f"1 masks without an image: good/001_mask.png {HINT}"]


def test_sizes_are_compared_upright(tmp_path):
    for kind in ("png", "jpg"):
        part = tmp_path / kind
        plant(part, "ground_truth/cut/0.png", width=32, height=40)
        plant(part, f"test/cut/0.{kind}", orientation=6)
        assert read_mvtec(part, ("test",))[1] == []
        plant(part, f"test/cut/0.{kind}", orientation=1)
        fault = f"1 masks of another size than the image: cut/0.{kind} (mask 32x40 vs image 40x32)"
        assert read_mvtec(part, ("test",))[1] == [fault]


# MVTec LOCO.


def test_mvtec_loco(tmp_path):
    part = tmp_path / "pushpins"
    plant(part, "train/good/000.png", "validation/good/000.png", "test/good/000.png")
    plant(part, "test/logical_anomalies/000.png", "test/logical_anomalies/001.png")
    plant(part, "test/structural_anomalies/000.png")
    plant(part / "ground_truth/logical_anomalies", "000/001.png", "000/000.png", "001/000.png")
    plant(part / "ground_truth/structural_anomalies", "000/000.png")
    (part / "defects_config.json").touch()
    samples, problems = read_mvtec(part)
    assert problems == []
    logical, structural = "ground_truth/logical_anomalies", "ground_truth/structural_anomalies"
    assert rows(samples, part) == [
        ("train/good/000.png", "good", (), "train", "pushpins"),
        ("validation/good/000.png", "good", (), "validation", "pushpins"),
        ("test/good/000.png", "good", (), "test", "pushpins"),
        (
            "test/logical_anomalies/000.png",
            "logical_anomalies",
            (f"{logical}/000/000.png", f"{logical}/000/001.png"),
            "test",
            "pushpins",
        ),
        ("test/logical_anomalies/001.png", "logical_anomalies", (f"{logical}/001/000.png",), "test", "pushpins"),
        (
            "test/structural_anomalies/000.png",
            "structural_anomalies",
            (f"{structural}/000/000.png",),
            "test",
            "pushpins",
        ),
    ]


def test_mvtec_loco_says_all_that_is_wrong(tmp_path):
    plant(tmp_path, "test/logical/000.png", "test/logical/001.png", "test/logical/002.png", "test/logical/002.jpg")
    plant(tmp_path, "ground_truth/logical/000/000.png", "ground_truth/logical/000/001.png", width=9)
    plant(tmp_path, "ground_truth/logical/002/000.png", "ground_truth/logical/1/000.png", "ground_truth/logical/9.png")
    assert read_mvtec(tmp_path, ("test",))[1] == [
        "2 images without a mask of their own: logical/001.png, logical/002.png",
        f"2 masks without an image: logical/1/000.png, logical/9.png {HINT}",
        "2 masks of another size than the image: logical/000.png (mask 000.png 9x32 vs image 40x32), "
        "logical/000.png (mask 001.png 9x32 vs image 40x32)",
    ]


# MVTec AD 2.


def test_mvtec_ad_2(tmp_path):
    part = tmp_path / "vial"
    plant(part, "train/good/000_regular.png", "validation/good/001_regular.png", "test_private/000_regular.png")
    plant(part / "test_public", "good/000_regular.png", "bad/000_regular.png", "bad/000_shift_1.png")
    plant(part / "test_public/ground_truth/bad", "000_regular_mask.png", "000_shift_1_mask.png")
    plant(part, "test_private_mixed/000_mixed.png")
    samples, problems = read_mvtec_ad2(part)
    assert problems == []
    truth = "test_public/ground_truth/bad"
    assert rows(samples, part) == [
        ("train/good/000_regular.png", "good", (), "train", "vial"),
        ("validation/good/001_regular.png", "good", (), "validation", "vial"),
        ("test_public/bad/000_regular.png", "bad", (f"{truth}/000_regular_mask.png",), "test", "vial"),
        ("test_public/bad/000_shift_1.png", "bad", (f"{truth}/000_shift_1_mask.png",), "test", "vial"),
        ("test_public/good/000_regular.png", "good", (), "test", "vial"),
    ]


def test_mvtec_ad_2_says_all_that_is_wrong(tmp_path):
    plant(tmp_path / "test_public", "0.png", "bad/0.png", "ground_truth/bad/1_mask.png", "ground_truth/2.png")
    hint = HINT.replace("ground_truth", "test_public/ground_truth")
    assert read_mvtec_ad2(tmp_path)[1] == [
        "no train/good (expected <root>/<class>/train/good)",
        "1 in test_public but in no type's folder: 0.png",
        "1 images without a mask of their own: bad/0.png",
        f"2 masks without an image: 2.png, bad/1_mask.png {hint}",
    ]


# BTAD.


def test_btad(tmp_path):
    part = tmp_path / "03"
    plant(part, "train/ok/0001.bmp", "train/ok/0000.bmp", "test/ok/0002.bmp", "test/ko/0003.bmp", "test/ko/0004.png")
    plant(part, "ground_truth/ko/0004.bmp", "ground_truth/ko/0003.png")
    samples, problems = read_btad(part)
    assert problems == []
    assert rows(samples, part) == [
        ("train/ok/0000.bmp", "good", (), "train", "03"),
        ("train/ok/0001.bmp", "good", (), "train", "03"),
        ("test/ko/0003.bmp", "ko", ("ground_truth/ko/0003.png",), "test", "03"),
        ("test/ko/0004.png", "ko", ("ground_truth/ko/0004.bmp",), "test", "03"),
        ("test/ok/0002.bmp", "good", (), "test", "03"),
    ]


def test_btad_says_all_that_is_wrong(tmp_path):
    plant(tmp_path, "train/ok/0.bmp", "train/ko/1.bmp", "test/ko/2.bmp", "test/ko/4.bmp", "ground_truth/ko/3.png")
    plant(tmp_path, "ground_truth/ko/4.png", height=31)
    assert read_btad(tmp_path)[1] == [
        "train must hold only good images: found ko",
        "1 images without a mask of their own: ko/2.bmp",
        f"1 masks without an image: ko/3.png {HINT}",
        "1 masks of another size than the image: ko/4.bmp (mask 40x31 vs image 40x32)",
    ]


# Plain folders.


def salted(path):
    pixels = np.repeat(np.array(Image.open(path))[..., None], 3, axis=2)
    content = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
    return hashlib.sha256(b"blemish hold-out " + content.encode()).hexdigest()


def test_a_plain_folder(tmp_path):
    part = tmp_path / "screws"
    good = [paint(part / "good" / f"{value}.png", value=value) for value in range(10)]
    plant(part, "bad/0.jpg", "bad/bent/0.png", "bad/bent/deep/0.png", "bad/cut/7.png", "masks/0.png")
    plant(part, "masks/bent/0_mask.png", "masks/bent/deep/0.png", "masks/cut/7/a.png", "masks/cut/7/b.png")
    tested = sorted(sorted(good, key=salted)[:2])
    samples, problems = read_plain(part)
    assert problems == []
    assert rows(samples, part) == [
        *((f"good/{path.name}", "good", (), "train", "screws") for path in good if path not in tested),
        ("bad/0.jpg", "bad", ("masks/0.png",), "test", "screws"),
        ("bad/bent/0.png", "bent", ("masks/bent/0_mask.png",), "test", "screws"),
        ("bad/bent/deep/0.png", "bent", ("masks/bent/deep/0.png",), "test", "screws"),
        ("bad/cut/7.png", "cut", ("masks/cut/7/a.png", "masks/cut/7/b.png"), "test", "screws"),
        *((f"good/{path.name}", "good", (), "test", "screws") for path in tested),
    ]
    assert read_plain(part, ("train",)) == (samples[:8], [])
    assert read_plain(part, ("validation",)) == ([], [])


def test_copies_of_a_good_image_are_never_learnt_and_tested(tmp_path):
    for name in ("a", "b", "c"):
        for copy in range(3):
            paint(tmp_path / "good" / name / f"{copy}.png", value=ord(name))
    plant(tmp_path, "bad/0.png", "masks/0.png")
    samples, problems = read_plain(tmp_path)
    good = {(one.path.parent.name, one.split) for one in samples if one.label == "good"}
    assert problems == []
    assert sorted(name for name, _ in good) == ["a", "b", "c"]
    assert sum(one.split == "test" for one in samples) == 3 + 1


def test_a_plain_folder_says_all_that_is_wrong(tmp_path):
    for value in range(5):
        paint(tmp_path / "good" / f"{value}.png", value=value)
    plant(tmp_path, "bad/0.png", "bad/good/1.png", "bad/cut/2.png", "masks/cut/3.png")
    plant(tmp_path, "masks/cut/2.png", width=41)
    assert read_plain(tmp_path)[1] == [
        "1 in bad, in a folder named good: good/1.png",
        "1 images without a mask of their own: 0.png",
        "1 masks without an image: cut/3.png (expected masks/[<type>/]NAME_mask.png, NAME.png or NAME/*.png)",
        "1 masks of another size than the image: cut/2.png (mask 41x32 vs image 40x32)",
    ]


def test_a_plain_folder_needs_good_images_to_learn_from_and_to_test(tmp_path):
    (tmp_path / "good").mkdir()
    plant(tmp_path, "bad/0.png")
    none = "no images found in good (allowed: .png .jpg .jpeg .bmp .tif .tiff)"
    assert read_plain(tmp_path)[1] == [none]
    plant(tmp_path, "good/0.png", "good/1.png")
    few = "good: need >= 2 training images of different content, found 1"
    assert read_plain(tmp_path)[1] == [few]
    assert read_plain(tmp_path, ("train",))[1] == [few]
    assert read_plain(tmp_path, ("validation",)) == ([], [])


# Pairs.


def pairs(folder, images, masks):
    """Return {image: masks} of names alone; nothing is read."""
    test, truth = folder / "test", folder / "truth"
    found = pair_masks([test / name for name in images], [truth / name for name in masks], test=test, truth=truth)
    return {names([image], test)[0]: names(own, truth) for image, own in found.items()}


def test_masks_belong_by_name_never_by_order(tmp_path):
    """Sorted as text 10 comes before 2."""
    images = ["cut/10.JPG", "cut/2.JPG", "cut/9.JPG", "cut/deep/2.png"]
    masks = ["cut/10.png", "cut/2_mask.png", "cut/9.bmp", "cut/deep/2_mask.png"]
    expected = dict(zip(images, ([mask] for mask in masks), strict=True))
    assert pairs(tmp_path, images, masks) == expected
    assert pairs(tmp_path, images, masks[::-1]) == expected
    assert pairs(tmp_path, images[::-1], masks) == expected


def test_no_mask_serves_two_images(tmp_path):
    assert pairs(tmp_path, ["t/1.jpg", "t/1.png"], ["t/1.png"]) == {"t/1.jpg": ["t/1.png"], "t/1.png": []}
    assert pairs(tmp_path, ["t/1.jpg", "t/1.png"], ["t/1/0.png"]) == {"t/1.jpg": ["t/1/0.png"], "t/1.png": []}
    both = pairs(tmp_path, ["t/1.jpg", "t/1.png"], ["t/1.png", "t/1_mask.png"])
    assert both == {"t/1.jpg": ["t/1_mask.png"], "t/1.png": []}  # which belongs to which nobody can tell
    assert pairs(tmp_path, ["t/a.png", "t/a_mask.png"], ["t/a.png", "t/a_mask.png"])["t/a_mask.png"] == []


def test_a_stray_mask_beside_other_images_masks_is_not_taken_for_one_of_several(tmp_path):
    images, masks = ["cut.png", "cut/1.png", "cut/2.png"], ["cut/1.png", "cut/3.png"]
    assert pairs(tmp_path, images, masks) == {"cut.png": [], "cut/1.png": ["cut/1.png"], "cut/2.png": []}


def test_accents_written_in_two_ways_are_one_name(tmp_path):
    composed, decomposed = unicodedata.normalize("NFC", "gerät"), unicodedata.normalize("NFD", "gerät")
    assert composed != decomposed
    folder = tmp_path / decomposed
    plant(folder, f"test/{decomposed}/{decomposed}.png", f"test/{composed}/b.png")
    plant(folder, f"ground_truth/{composed}/{composed}_mask.png", f"ground_truth/{decomposed}/b/0.png")
    samples, problems = read_mvtec(folder, ("test",))
    assert problems == []
    assert [(one.label, one.category) for one in samples] == [(composed, composed)] * 2


def test_links_out_of_the_category_are_refused_in_every_part(tmp_path):
    pool = paint(tmp_path / "pool" / "0.png")
    for place in ("train/good", "validation/good", "test/cut", "ground_truth/cut"):
        part = tmp_path / place.replace("/", "-")
        plant(part, "train/good/0.png", "validation/good/0.png", "test/cut/0.png", "ground_truth/cut/0.png")
        (part / place / "1.png").symlink_to(pool)
        refused(lambda part=part: read_mvtec(part), f"{place}/1.png: path escapes dataset root")


def test_a_plain_folder_needs_no_masks(tmp_path):
    """A defect that nobody has drawn is a defect; beside a mask that belongs to none, a slip of the pen is likelier."""
    for value in range(5):
        paint(tmp_path / "OK" / f"{value}.png", value=value)
    plant(tmp_path, "NG/0.png", "NG/1.png", "NG/2.png")
    samples, problems = read_plain(tmp_path, ("test",))
    assert problems == []
    assert [(one.label, one.mask_paths, one.has_truth) for one in samples[:3]] == [("NG", (), False)] * 3
    plant(tmp_path, "masks/1.png")
    samples, problems = read_plain(tmp_path, ("test",))
    assert problems == []
    assert [one.has_truth for one in samples[:3]] == [False, True, False]
    plant(tmp_path, "masks/2_msk.png")
    assert read_plain(tmp_path, ("test",))[1] == [
        "2 images without a mask of their own: 0.png, 2.png",
        "1 masks without an image: 2_msk.png (expected masks/[<type>/]NAME_mask.png, NAME.png or NAME/*.png)",
    ]


def test_a_tree_without_any_masks_has_labels_alone(tmp_path):
    plant(tmp_path, "train/good/0.png", "test/good/0.png", "test/cut/0.png")
    samples, problems = read_mvtec(tmp_path, ("test",))
    assert problems == []
    assert [(one.label, one.has_truth) for one in samples] == [("cut", False), ("good", True)]
    (tmp_path / "ground_truth").mkdir()
    assert read_mvtec(tmp_path, ("test",))[1] == [f"1 images without a mask of their own: cut/0.png {HINT}"]


# Masks that lie or are called otherwise.


@pytest.mark.parametrize("tail", ["-mask", "_GT", ".label", " seg", "_ground_truth", "-masks"])
def test_masks_have_many_words_behind_their_images_name(tmp_path, tail):
    plant(tmp_path, "train/good/9.png", "test/cut/0.png", "test/cut/1.png", "test/cut/1x.png")
    plant(tmp_path, f"ground_truth/cut/0{tail}.png", f"ground_truth/cut/1{tail}.png", "ground_truth/cut/1x_mask.png")
    samples, problems = read_mvtec(tmp_path, ("test",))
    assert problems == []
    assert [names(one.mask_paths, tmp_path / "ground_truth/cut") for one in samples] == [
        [f"0{tail}.png"], [f"1{tail}.png"], ["1x_mask.png"]
    ]  # fmt: skip
    plant(tmp_path, "ground_truth/cut/0_mask.png")  # the usual name comes first
    assert read_mvtec(tmp_path, ("test",))[1] == [f"1 masks without an image: cut/0{tail}.png {HINT}"]


def photograph(path):
    """A picture of many values, as no mask has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(32 * 40, dtype=np.uint8).reshape(32, 40)).save(path)


def test_masks_among_defects_are_no_defects(tmp_path):
    for value in range(5):
        paint(tmp_path / "OK" / f"{value}.png", value=value)
    photograph(tmp_path / "NG/0.png")
    photograph(tmp_path / "NG/0_label.png")  # a label on a bottle is no mask
    assert read_plain(tmp_path, ("test",))[1] == []
    plant(tmp_path, "NG/0_mask.png", "NG/masks/0.png")
    assert read_plain(tmp_path, ("test",))[1] == ["2 masks in NG (expected in masks): 0_mask.png, masks/0.png"]
    plant(tmp_path / "part", "train/good/9.png", "train/good/9_gt.png", "test/cut/0.png", "test/ground_truth/cut/0.png")
    assert read_mvtec(tmp_path / "part")[1] == [
        "1 masks in train/good: 9_gt.png",
        "1 masks in test (expected in ground_truth): ground_truth/cut/0.png",
    ]


def test_one_picture_in_two_files_is_never_both_learnt_and_tested(tmp_path):
    """What serves the test is drawn by pixels: another suffix is no other picture."""
    for value in range(12):
        paint(tmp_path / "good" / f"{value:02}.png", value=20 * value)
        paint(tmp_path / "good" / f"x{value:02}.bmp", value=20 * value)
    plant(tmp_path, "bad/0.png")
    samples, problems = read_plain(tmp_path)
    assert problems == []
    stems = {split: {one.path.stem.lstrip("x") for one in samples if one.split == split} for split in ("train", "test")}
    assert stems["train"] & stems["test"] == set()
    assert len(stems["train"]) == 10


def test_defects_inside_a_folder_of_good_parts_are_not_learnt(tmp_path):
    for value in range(5):
        paint(tmp_path / "OK" / f"{value}.png", value=value)
    plant(tmp_path, "NG/0.png")
    paint(tmp_path / "OK/2024/NG/1.png", value=9)
    assert read_plain(tmp_path)[1] == ["1 in OK, but in a folder of defects or masks: 2024/NG/1.png"]
    plant(tmp_path / "part", "train/good/9.png", "train/good/bad/1.png")
    assert read_mvtec(tmp_path / "part", ("train",))[1] == ["1 in good, but in a folder of defects or masks: bad/1.png"]
