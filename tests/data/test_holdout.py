"""Content hashes, and what is held out by them."""

import hashlib

import numpy as np

from blemish.data.holdout import array_fingerprint, count_units, fingerprints, held_out_count, hold_out, split_good
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


def parts(split):
    return split.train, split.held_out


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
    wanted = {
        6: 2,
        7: 2,
        8: 3,
        30: 10,
        31: 10,
        32: 11,
        59: 20,
        60: 20,
        119: 40,
        120: 40,
        160: 40,
        266: 66,
        270: 68,
        300: 75,
    }
    assert {count: held_out_count(count) for count in wanted} == wanted
    assert held_out_count(2000) == 500
    assert all(held_out_count(count + 1) - held_out_count(count) in (0, 1) for count in range(6, 400))


def test_split_takes_what_is_kept_apart_or_a_third():
    hashes = [f"{number:064x}" for number in range(20)]
    split = split_good(hashes, apart=0)
    assert split.held_out == hold_out(hashes, share=7 / 20, least=2)
    assert sorted(split.train + split.held_out) == list(range(20))
    assert (split.groups, split.count, split.units, split.beside) == ([""] * 7, 7, 20, 0)
    assert parts(split_good(hashes, apart=4)) == (list(range(16)), [16, 17, 18, 19])


def test_copies_among_held_out_images_do_not_count():
    hashes = [*"abcdef", "x", "a", "y", "x"]  # the last four are held out: a trains too, x comes twice
    split = split_good(hashes, apart=4)
    assert parts(split) == ([0, 1, 2, 3, 4, 5], [6, 8])
    assert split.beside == 1
    refused(lambda: split_good([*"abcd", "x", "x", "a"], apart=3), "need >= 2 held-out images", "found 1")


def test_too_few_images_are_told_how_many_it_takes():
    for count in range(6):
        message = refused(lambda count=count: split_good(hashes_of(count) * 3, apart=0))
        assert message == f"need >= 6 different images of good parts, found {count}"
    train, held = parts(split_good(hashes_of(6), apart=0))
    assert (len(train), len(held)) == (4, 2)


def test_copies_of_one_image_are_one_image_to_train_on():
    message = "need >= 4 different images of good parts beside those held out, found "
    assert refused(lambda: split_good([*"abc", "x", "y"], apart=2)) == f"{message}3"
    assert refused(lambda: split_good([*"aaaa", "x", "y"], apart=2)) == f"{message}1"
    assert parts(split_good([*"aabcd", "x", "y"], apart=2)) == ([0, 1, 2, 3, 4], [5, 6])


def test_a_file_that_may_not_be_read_has_no_fingerprint(ordinary):
    file = paint(ordinary / "x.png")
    file.chmod(0)
    refused(lambda: fingerprints([file]), "x.png: cannot be read (Permission denied)")


# Twins and groups.


def by_hash(indices, hashes):
    return sorted(indices, key=lambda index: hashes[index])


def test_twins_are_never_parted_and_count_once():
    hashes = hashes_of(40)  # 20 photographs, each saved twice
    twins = [(index, index + 20) for index in range(20)]
    split = split_good(hashes, apart=0, twins=twins)
    smaller = [min(hashes[index], hashes[index + 20]) for index in range(20)]
    drawn = hold_out(smaller, share=7 / 20, least=2)
    assert split.units == 20
    assert [hashes[index] for index in split.held_out] == sorted(smaller[index] for index in drawn)
    assert split.train == by_hash([i for i in range(40) if i % 20 not in drawn], hashes)
    assert (split.groups, split.count) == ([""] * 7, 7)


def test_a_chain_of_twins_is_one_image():
    hashes = hashes_of(9)
    split = split_good(hashes, apart=0, twins=[(0, 1), (1, 2), (3, 2)])
    assert split.units == 6
    assert len({0, 1, 2, 3} & set(split.train)) in (0, 4)


def test_a_twin_of_what_trains_is_no_evidence():
    hashes = hashes_of(12)
    split = split_good(hashes, apart=4, twins=[(2, 8), (9, 10)])
    assert split.train == by_hash(range(8), hashes)
    assert split.held_out == by_hash([min((9, 10), key=hashes.__getitem__), 11], hashes)
    assert split.beside == 1


def test_groups_are_held_out_whole_and_drawn_by_their_smallest_hash():
    hashes = hashes_of(60)
    groups = [f"part {index % 12}" for index in range(60)]
    split = split_good(hashes, apart=0, groups=groups)
    smallest = [min(hashes[index] for index in range(60) if index % 12 == group) for group in range(12)]
    drawn = set(hold_out(smallest, share=1 / 3, least=2))
    assert len(drawn) == 4
    assert split.held_out == by_hash([i for i in range(60) if i % 12 in drawn], hashes)
    assert split.train == by_hash([i for i in range(60) if i % 12 not in drawn], hashes)
    assert split.groups == [groups[index] for index in split.held_out]
    assert (split.count, split.units) == (4, 12)
    renamed = split_good(hashes, apart=0, groups=[f"{11 - index % 12:02}" for index in range(60)])
    assert parts(renamed) == parts(split)


def test_of_120_groups_40_are_held_out():
    hashes = hashes_of(240)
    assert split_good(hashes, apart=0, groups=[str(index // 2) for index in range(240)]).count == 40
    assert split_good(hashes, apart=0, groups=[str(index // 24) for index in range(240)]).count == 3


def test_twins_join_their_groups_and_images_without_a_group_count_alone():
    hashes = hashes_of(12)
    groups = [*"aabbccdd", "", "", "", ""]
    split = split_good(hashes, apart=6, twins=[(7, 6), (6, 8), (10, 11)], groups=groups)
    assert split.train == by_hash(range(6), hashes)
    named = dict(zip(split.held_out, split.groups, strict=True))
    lone = min((10, 11), key=hashes.__getitem__)
    assert named == {6: "d", 7: "d", 8: "d", 9: "", lone: ""}
    assert (split.count, split.units) == (3, 6)
    joined = split_good(hashes, apart=6, twins=[(7, 4)], groups=groups)
    assert joined.beside == 2  # d belongs to c now, which trains
    assert set(joined.groups) == {""}
    far = split_good(hashes_of(15), apart=9, twins=[(6, 8), (8, 10), (10, 12)], groups=[*"aabbccwwxxyyzz", ""])
    assert sorted(far.groups) == ["", *["w + x + y + 1 more"] * 8]


def test_groups_that_leave_one_side_empty_are_refused():
    hashes = hashes_of(20)
    for names in (["a"] * 20, [*"ab" * 10]):
        refused(
            lambda names=names: split_good(hashes, apart=0, groups=names),
            f"groups: need >= 3 groups of good images, as 2 of them are held out and the others train, found "
            f"{len(set(names))}",
        )
    few = ["a"] * 9 + ["b"] * 9 + ["c", "d"]
    message = refused(
        lambda: [split_good(hashes_of(count), apart=0, groups=few[-count:]) for count in range(20, 5, -1)]
    )
    assert message.startswith("groups: need >= 4 different images to train beside groups held out, found ")
    message = refused(lambda: split_good(hashes, apart=6, groups=["a"] * 8 + ["b"] * 12))
    assert message == "need >= 2 held-out groups that do not train, found 0"
    message = refused(lambda: split_good(hashes, apart=6, groups=["a"] * 14 + ["b"] * 6))
    assert message == "need >= 2 held-out groups that do not train, found 1"


# Folds, where few are held out.


def test_what_trains_is_dealt_into_two_folds_where_few_are_held_out():
    hashes = hashes_of(30)
    split = split_good(hashes, apart=0)
    one, other = split.folds
    assert (len(split.held_out), len(one.scored), len(other.scored)) == (10, 10, 10)
    assert (one.scored, other.scored) == (other.learnt, one.learnt)
    assert sorted(one.scored + other.scored) == sorted(split.train)
    assert one.groups == other.groups == [""] * 10
    order = np.random.default_rng(1).permutation(30)
    shuffled = [hashes[index] for index in order]
    again = split_good(shuffled, apart=0)
    for old, new in zip(split.folds, again.folds, strict=True):
        assert [hashes[index] for index in old.scored] == [shuffled[index] for index in new.scored]
    assert [len(split_good(hashes_of(count), apart=0).folds) for count in (6, 58, 59, 60, 200)] == [2, 2, 0, 0, 0]
    assert split_good(hashes, apart=4).folds == []


def test_nothing_that_belongs_together_is_scored_and_learnt():
    hashes = hashes_of(40)
    twins = [(index, index + 20) for index in range(20)]
    for fold in split_good(hashes, apart=0, twins=twins).folds:
        scored, learnt = ({index % 20 for index in part} for part in (fold.scored, fold.learnt))
        assert not scored & learnt
        assert len(fold.scored) == len(scored)
    groups = [f"part {index % 10}" for index in range(40)]
    folds = split_good(hashes, apart=0, groups=groups).folds
    for fold in folds:
        assert fold.groups == [groups[index] for index in fold.scored]
        assert not set(fold.groups) & {groups[index] for index in fold.learnt}
        assert len(fold.scored) == 4 * len(set(fold.groups))
    assert [len(set(fold.groups)) for fold in folds] == [4, 3]
    few = split_good(hashes, apart=0, groups=[f"part {index % 5}" for index in range(40)])
    assert (few.count, few.folds) == (2, [])  # three groups train: one fold would have a single one


def test_units_are_groups_and_images_in_none():
    assert [count_units(groups) for groups in ([], ["", "", ""], ["a", "", "b", "a", ""])] == [0, 3, 4]
