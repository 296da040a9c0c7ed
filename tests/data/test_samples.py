"""Samples: the union of their masks, the sizes of these, content hashes, and what is held out."""

import hashlib
import os

import numpy as np
import pytest
from PIL import Image

from blemish.data.samples import (
    Sample,
    array_fingerprint,
    fingerprints,
    hold_out,
    read_truth,
    size_problems,
    split_good,
    unlike,
)
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


def test_too_few_images_are_told_how_many_it_takes():
    for count in range(6):
        message = refused(lambda count=count: split_good(hashes_of(count) * 3, apart=0))
        assert message == f"need >= 6 different images of good parts, found {count}"
    train, held = split_good(hashes_of(6), apart=0)
    assert (len(train), len(held)) == (4, 2)


def test_copies_of_one_image_are_one_image_to_train_on():
    message = "need >= 4 different images of good parts beside those held out, found "
    assert refused(lambda: split_good([*"abc", "x", "y"], apart=2)) == f"{message}3"
    assert refused(lambda: split_good([*"aaaa", "x", "y"], apart=2)) == f"{message}1"
    assert split_good([*"aabcd", "x", "y"], apart=2) == ([0, 1, 2, 3, 4], [5, 6])


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


def test_a_file_that_may_not_be_read_has_no_fingerprint(tmp_path):
    file = paint(tmp_path / "x.png")
    file.chmod(0)
    if os.access(file, os.R_OK):
        pytest.skip("this user may read everything")
    refused(lambda: fingerprints([file]), "x.png: cannot be read (Permission denied)")
