"""Data sets: which files belong to what, and one line for every broken layout."""

import hashlib
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blemish import datasets
from blemish.datasets import (
    Sample,
    array_fingerprint,
    categories,
    find_images,
    fingerprints,
    good_images,
    held_out_images,
    hold_out,
    is_category,
    read_category,
    split_good,
)
from blemish.errors import InputError


def paint(path, *, width=40, height=32, value=0, orientation=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    kind = "JPEG" if path.suffix.lower() in (".jpg", ".jpeg") else "PNG"
    Image.fromarray(np.full((height, width), value, np.uint8)).save(path, kind, exif=exif)
    return path


@pytest.fixture
def bottle(tmp_path):
    """A sound category: 3 images to learn from; 1 good, 2 broken and 1 bent to test."""
    folder = tmp_path / "bottle"
    for name in ("000", "001", "002"):
        paint(folder / "train" / "good" / f"{name}.png")
    paint(folder / "test" / "good" / "000.png")
    for name in ("000", "001"):
        paint(folder / "test" / "broken" / f"{name}.png")
        paint(folder / "ground_truth" / "broken" / f"{name}_mask.png")
    paint(folder / "test" / "bent" / "000.png")
    paint(folder / "ground_truth" / "bent" / "000.png")
    return folder


def refused(action, *words):
    with pytest.raises(InputError) as caught:
        action()
    text = str(caught.value)
    assert len(text.splitlines()) == 1, text
    for word in words:
        assert word in text, text
    return text


def names(paths, folder):
    return [path.relative_to(folder).as_posix() for path in paths]


# Finding files.


def test_images_are_found_at_any_depth_sorted_and_the_rest_is_ignored(tmp_path):
    wanted = ["A.PNG", "a/b/c.JPeG", "a/z.tif", "a-1.bmp", "b.tiff", "b.x.jpg", "folder.png/d.png"]
    stray = [
        "Thumbs.db",
        ".DS_Store",
        "._A.png",
        ".hidden/x.png",
        "__MACOSX/._x.png",
        "c.webp",
        "notes.txt",
        "png",
        ".png",
    ]
    for name in wanted + stray:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.png")
    assert names(find_images(tmp_path), tmp_path) == sorted(wanted)
    assert find_images(tmp_path)[0] == tmp_path / "A.PNG"


def test_odd_names_just_work(tmp_path):
    odd = [b"new\nline.png", b"\xff\xfe.png", b"-rf.png", b"\xe2\x80\xae.png", b"..png.png", b"a" * 251 + b".png"]
    for name in odd:
        (tmp_path / os.fsdecode(name)).write_bytes(b"")
    found = find_images(tmp_path)
    assert sorted(os.fsencode(path.name) for path in found) == sorted(name for name in odd if name[:1] != b".")


def test_links_may_not_leave_the_root_nor_dangle(tmp_path):
    root, outside = tmp_path / "root", paint(tmp_path / "outside" / "x.png")
    inside = paint(root / "pool" / "y.png")
    (root / "y2.png").symlink_to(inside)
    assert names(find_images(root), root) == ["pool/y.png", "y2.png"]
    for name, target, told in [
        ("out.png", outside, "out.png: path escapes dataset root"),
        ("out", outside.parent, "out: path escapes dataset root"),
        ("up", root.parent, "up: path escapes dataset root"),
        ("loop", root, "link to a folder not followed"),
        ("gone.png", root / "nothing.png", "gone.png: dangling link"),
        ("self.png", root / "self.png", "self.png: dangling link"),
    ]:
        (root / name).symlink_to(target)
        refused(lambda: find_images(root), told)
        (root / name).unlink()
    (tmp_path / "alias").symlink_to(root)  # the root itself may be a link
    assert len(find_images(tmp_path / "alias")) == 2
    sibling = tmp_path / "root2"  # a name that only begins like the root's
    paint(sibling / "z.png")
    (root / "z.png").symlink_to(sibling / "z.png")
    refused(lambda: find_images(root), "path escapes dataset root")


def test_folders_that_cannot_be_read(tmp_path):
    assert refused(lambda: find_images(tmp_path / "gone")).startswith("no such folder: ")
    refused(lambda: find_images(paint(tmp_path / "x.png")), "x.png: not a folder")
    refused(lambda: find_images(tmp_path / "a\0b"), "a\\x00b: cannot be read")


def test_permission_denied(tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0)
    if os.access(locked, os.R_OK):
        pytest.skip("this user may read everything")
    refused(lambda: find_images(tmp_path), f"permission denied: {locked}")
    file = paint(tmp_path / "x.png")
    file.chmod(0)
    refused(lambda: fingerprints([file]), "x.png: cannot be read (Permission denied)")


# Good images.


def test_good_images_of_a_category_and_of_a_plain_folder(bottle, tmp_path):
    assert is_category(bottle)
    assert names(good_images(bottle), bottle) == [f"train/good/{name}.png" for name in ("000", "001", "002")]
    plain = tmp_path / "test" / "plain"  # where it lies does not matter
    paint(plain / "b" / "1.png")
    paint(plain / "2.jpg")
    assert not is_category(plain)
    assert names(good_images(plain), plain) == ["2.jpg", "b/1.png"]
    refused(lambda: read_category(plain), "no train/good (expected <root>/<class>/train/good)")


def test_train_must_hold_only_good_images(bottle):
    (bottle / "train" / "notes.txt").write_text("nothing")
    assert len(good_images(bottle)) == 3
    paint(bottle / "train" / "broken_large" / "0.png")
    paint(bottle / "train" / "loose.png")
    refused(lambda: good_images(bottle), "train must hold only good images: found broken_large, loose.png")


def test_a_category_may_keep_good_images_apart(bottle, tmp_path):
    assert held_out_images(bottle) == []
    kept = [paint(bottle / "validation" / "good" / f"{number}.png") for number in range(2)]
    assert held_out_images(bottle) == kept
    assert not set(kept) & set(good_images(bottle))
    paint(bottle / "validation" / "broken" / "0.png")
    refused(lambda: held_out_images(bottle), "validation must hold only good images: found broken")
    plain = paint(tmp_path / "plain" / "0.png").parent
    assert held_out_images(plain) == []


def test_a_root_of_many_names_its_categories(bottle, tmp_path):
    paint(tmp_path / "cable" / "train" / "good" / "0.png")
    (tmp_path / "readme.txt").write_text("nothing")
    (tmp_path / "empty").mkdir()
    assert categories(tmp_path) == [tmp_path / "bottle", tmp_path / "cable"]
    assert categories(bottle) == []
    refused(lambda: good_images(tmp_path), "several categories, choose one of them: bottle, cable")
    (tmp_path / "elsewhere").symlink_to(bottle.parent.parent)
    refused(lambda: categories(tmp_path), "elsewhere: path escapes dataset root")


def test_missing_train_good_is_told_rather_than_defects_learnt(bottle, tmp_path):
    told = "expected <root>/<class>/train/good"
    (bottle / "train" / "good").rename(bottle / "train" / "fine")
    refused(lambda: good_images(bottle), told)
    refused(lambda: read_category(bottle), told)
    refused(lambda: good_images(tmp_path), told)
    paint(tmp_path / "many" / "deep" / "cable" / "test" / "good" / "0.png")
    refused(lambda: good_images(tmp_path / "many"), told)
    empty = tmp_path / "empty"
    (empty / "train").mkdir(parents=True)
    refused(lambda: good_images(empty), told)


def test_no_images(tmp_path):
    (tmp_path / "a" / "train" / "good").mkdir(parents=True)
    refused(lambda: good_images(tmp_path / "a"), "no images found in ", ".png .jpg .jpeg .bmp .tif .tiff")
    (tmp_path / "b").mkdir()
    refused(lambda: good_images(tmp_path / "b"), f"no images found in {tmp_path / 'b'}")
    refused(lambda: good_images(tmp_path / "c"), "no such folder: ")


def test_train_good_may_not_be_a_link_out_of_the_category(bottle, tmp_path):
    (bottle / "train" / "good").rename(tmp_path / "pool")
    (bottle / "train" / "good").symlink_to(tmp_path / "pool")
    refused(lambda: good_images(bottle), "path escapes dataset root")


# Samples and masks.


def test_samples_of_a_category(bottle):
    test, truth = bottle / "test", bottle / "ground_truth"
    expected = [Sample(bottle / f"train/good/00{n}.png", "good", None, "train", "bottle") for n in range(3)] + [
        Sample(test / "bent/000.png", "bent", truth / "bent/000.png", "test", "bottle"),
        Sample(test / "broken/000.png", "broken", truth / "broken/000_mask.png", "test", "bottle"),
        Sample(test / "broken/001.png", "broken", truth / "broken/001_mask.png", "test", "bottle"),
        Sample(test / "good/000.png", "good", None, "test", "bottle"),
    ]
    assert read_category(bottle) == expected
    assert datasets.test_samples(bottle) == expected[3:]


def test_samples_of_a_root_are_those_of_all_its_categories(bottle, tmp_path):
    paint(tmp_path / "cable" / "train" / "good" / "0.png")
    paint(tmp_path / "cable" / "test" / "good" / "1.png")
    samples = datasets.test_samples(tmp_path)
    assert [sample.category for sample in samples] == ["bottle"] * 4 + ["cable"]
    assert samples[:4] == datasets.test_samples(bottle)
    refused(lambda: datasets.test_samples(tmp_path / "cable" / "train"), "no test images found in ")


def test_masks_belong_by_name_never_by_order(tmp_path):
    folder = tmp_path / "part"
    (folder / "train" / "good").mkdir(parents=True)
    for name in ("2", "10", "9"):  # sorted as text: 10, 2, 9
        paint(folder / "test" / "cut" / f"{name}.JPG")
        paint(folder / "ground_truth" / "cut" / f"{name}{'_mask' if name == '2' else ''}.png")
    paint(folder / "test" / "cut" / "deep" / "2.png")
    paint(folder / "ground_truth" / "cut" / "deep" / "2_mask.png")
    found = {names([sample.path], folder)[0]: sample.mask_path for sample in datasets.test_samples(folder)}
    truth = folder / "ground_truth" / "cut"
    assert found == {
        "test/cut/10.JPG": truth / "10.png",
        "test/cut/2.JPG": truth / "2_mask.png",
        "test/cut/9.JPG": truth / "9.png",
        "test/cut/deep/2.png": truth / "deep" / "2_mask.png",
    }


def test_all_missing_and_all_stray_masks_are_listed_in_one_line(bottle):
    (bottle / "ground_truth" / "broken" / "000_mask.png").rename(bottle / "ground_truth" / "broken" / "0_mask.png")
    (bottle / "ground_truth" / "bent" / "000.png").unlink()
    paint(bottle / "ground_truth" / "broken" / "001.png")  # beside 001_mask.png
    paint(bottle / "ground_truth" / "gone" / "5_mask.png")
    paint(bottle / "test" / "loose.png")
    refused(
        lambda: read_category(bottle),
        f"{bottle}: 1 in test but in no type's folder: loose.png; ",
        "2 images without a mask of their own: bent/000.png, broken/000.png; ",
        "3 masks without an image: broken/001.png, broken/0_mask.png, gone/5_mask.png (expected",
    )


def test_one_mask_does_not_serve_two_images(bottle):
    paint(bottle / "test" / "broken" / "001.jpg")
    refused(lambda: read_category(bottle), "1 images without a mask of their own: broken/001.png")


def test_masks_of_good_images_are_not_used(bottle):
    paint(bottle / "ground_truth" / "good" / "000_mask.png")
    assert [sample.mask_path for sample in datasets.test_samples(bottle) if sample.label == "good"] == [None]
    paint(bottle / "ground_truth" / "good" / "001_mask.png")
    refused(lambda: datasets.test_samples(bottle), "1 masks without an image: good/001_mask.png")


def test_sizes_are_compared_upright_and_all_that_differ_are_listed(bottle):
    paint(bottle / "ground_truth" / "broken" / "000_mask.png", width=512, height=256)
    paint(bottle / "ground_truth" / "broken" / "001_mask.png", width=32, height=40)
    refused(
        lambda: read_category(bottle),
        "2 masks of another size than the image: broken/000.png (mask 512x256 vs image 40x32), "
        "broken/001.png (mask 32x40 vs image 40x32)",
    )
    for kind in ("png", "jpg"):
        (bottle / "test" / "broken" / "001.png").unlink(missing_ok=True)
        paint(bottle / "test" / "broken" / f"001.{kind}", orientation=6)
        refused(lambda: read_category(bottle), "1 masks of another size")


def test_a_damaged_mask_is_named(bottle):
    mask = bottle / "ground_truth" / "bent" / "000.png"
    mask.write_bytes(b"")
    assert refused(lambda: read_category(bottle)).startswith(f"{mask}: empty file")


def test_accents_written_in_two_ways_are_one_name(tmp_path):
    composed, decomposed = unicodedata.normalize("NFC", "gerät"), unicodedata.normalize("NFD", "gerät")
    assert composed != decomposed
    folder = tmp_path / decomposed
    paint(folder / "train" / "good" / "0.png")
    paint(folder / "test" / decomposed / f"{decomposed}.png")
    paint(folder / "ground_truth" / composed / f"{composed}_mask.png")
    (sample,) = datasets.test_samples(folder)
    assert (sample.label, sample.category) == (composed, composed)


@pytest.mark.parametrize("name", ["-rf", "a b;c", "new\nline", os.fsdecode(b"\xff"), "x.png", "a..b", "% {0}"])
def test_categories_of_any_name_just_work(name, tmp_path):
    folder = tmp_path / name
    paint(folder / "train" / "good" / "0.png")
    paint(folder / "test" / name / "1.png")
    paint(folder / "ground_truth" / name / "1_mask.png")
    assert [(sample.category, sample.label) for sample in read_category(folder)] == [(name, "good"), (name, name)]
    (folder / "ground_truth" / name / "1_mask.png").unlink()
    refused(lambda: read_category(folder), "1 images without a mask")


def test_the_working_folder_has_its_own_name(bottle, monkeypatch):
    monkeypatch.chdir(bottle)
    samples = read_category(Path("."))
    assert {sample.category for sample in samples} == {"bottle"}
    assert samples[0].path == Path("train/good/000.png")
    monkeypatch.chdir(bottle / "train" / "good")
    assert good_images(Path(".")) == [Path("000.png"), Path("001.png"), Path("002.png")]
    monkeypatch.chdir(bottle / "test")
    monkeypatch.chdir(bottle.parent)
    refused(lambda: good_images(Path(".")), "several categories, choose one of them: bottle")


# Content hashes.


def test_fingerprints_are_the_sha256_of_the_bytes(tmp_path):
    paths = [tmp_path / name for name in ("a", "b", "c")]
    for path, content in zip(paths, (b"", b"abc", b"x" * 3_000_000), strict=True):
        path.write_bytes(content)
    assert fingerprints(paths) == [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        hashlib.sha256(b"x" * 3_000_000).hexdigest(),
    ]
    refused(lambda: fingerprints([tmp_path / "gone"]), "gone: cannot be read (No such file or directory)")


def test_array_fingerprints_tell_shape_and_pixels():
    image = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert array_fingerprint(image) == hashlib.sha256(b"(2, 4, 3)" + bytes(range(24))).hexdigest()
    assert array_fingerprint(image) == array_fingerprint(np.asfortranarray(image))
    assert array_fingerprint(image) != array_fingerprint(image.reshape(4, 2, 3))
    assert array_fingerprint(image) != array_fingerprint(image[::-1])


def hashes_of(count):
    return [hashlib.sha256(str(n).encode()).hexdigest() for n in range(count)]


def test_held_out_are_the_smallest_salted_hashes():
    hashes = hashes_of(50)
    salted = [hashlib.sha256(b"blemish hold-out " + text.encode()).hexdigest() for text in hashes]
    held = hold_out(hashes, share=0.2, least=3)
    assert held == sorted(sorted(range(50), key=salted.__getitem__)[:10])
    assert len(hold_out(hashes, share=0.0, least=3)) == 3
    assert hold_out(hashes, share=0.0, least=0) == []


def test_held_out_depend_on_neither_order_nor_duplicates():
    hashes = hashes_of(50)
    chosen = {hashes[index] for index in hold_out(hashes, share=0.2, least=3)}
    order = np.random.default_rng(1).permutation(50)
    shuffled = [hashes[index] for index in order]
    assert {shuffled[index] for index in hold_out(shuffled, share=0.2, least=3)} == chosen
    doubled = shuffled + hashes + hashes[:7]
    held = hold_out(doubled, share=0.2, least=3)
    assert [index for index, text in enumerate(doubled) if text in chosen] == held


def test_one_more_image_moves_at_most_one_other():
    hashes = hashes_of(80)
    for count in range(20, 80):
        before = {hashes[index] for index in hold_out(hashes[:count], share=0.15, least=3)}
        after = {hashes[index] for index in hold_out(hashes[: count + 1], share=0.15, least=3)}
        assert len((before ^ after) - {hashes[count]}) <= 1


def test_something_must_be_left_to_train_on():
    hashes = hashes_of(4)
    assert len(hold_out(hashes, share=0.1, least=3)) == 3
    refused(lambda: hold_out(hashes[:3], share=0.1, least=3), "need >= 4 training images of different content, found 3")
    refused(
        lambda: hold_out(hashes[:1] * 9, share=0.1, least=1), "need >= 2 training images of different content, found 1"
    )
    refused(lambda: hold_out([], share=0.1, least=0), "need >= 1 training images of different content, found 0")
    for share in (1.0, -0.1, float("nan")):
        refused(lambda share=share: hold_out(hashes, share=share, least=1), "share held out: ", "0 <= share < 1")


def test_split_takes_what_is_kept_apart_or_a_share():
    hashes = [f"{number:064x}" for number in range(20)]
    train, held = split_good(hashes, apart=0)
    assert held == hold_out(hashes, share=0.15, least=2)
    assert sorted(train + held) == list(range(20))
    assert split_good(hashes, apart=4) == (list(range(16)), [16, 17, 18, 19])


def test_copies_among_held_out_images_do_not_count():
    hashes = [*"abcdef", "x", "a", "y", "x"]  # the last four are held out: a trains too, x comes twice
    assert split_good(hashes, apart=4) == ([0, 1, 2, 3, 4, 5], [6, 8])
    refused(lambda: split_good([*"abcd", "x", "x", "a"], apart=3), "need >= 2 held-out images", "found 1")
    refused(lambda: split_good(["a", "b", "c", "x", "y"], apart=2), "need >= 4 images of good parts, found 3")
    refused(lambda: split_good([*"abcde"], apart=0), "need >= 6 images of good parts, found 5")
