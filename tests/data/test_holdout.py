"""Content hashes, and what is held out by them."""

import hashlib

import numpy as np

from blemish.data.holdout import array_fingerprint, fingerprints, held_out_count, hold_out, split_good
from faults import ordinary  # noqa: F401
from trees import paint, refused

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


def test_as_many_are_held_out_as_no_single_one_can_rule():
    wanted = {6: 2, 7: 2, 8: 3, 30: 10, 31: 10, 32: 11, 59: 20, 60: 20, 119: 40, 120: 40, 266: 40, 270: 40, 274: 41}
    assert {count: held_out_count(count) for count in wanted} == wanted
    assert held_out_count(2000) == 300
    assert all(held_out_count(count + 1) - held_out_count(count) in (0, 1) for count in range(6, 400))


def test_split_takes_what_is_kept_apart_or_a_third():
    hashes = [f"{number:064x}" for number in range(20)]
    train, held = split_good(hashes, apart=0)
    assert held == hold_out(hashes, share=7 / 20, least=2)
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


def test_a_file_that_may_not_be_read_has_no_fingerprint(ordinary):
    file = paint(ordinary / "x.png")
    file.chmod(0)
    refused(lambda: fingerprints([file]), "x.png: cannot be read (Permission denied)")
