"""What belongs together as only the user can say it: folders, regular expressions, a column, a list."""

from pathlib import Path

import numpy as np
import pytest

from blemish.data.together.groups import LONGEST, Grouping, check_rule, find_groups
from trees import plant, refused

WAYS = "expected folder, or a regular expression that finds the group in an image's path"


def paths(*names, root="/data"):
    return [Path(root, name) for name in names]


@pytest.fixture
def folder(tmp_path):
    plant(tmp_path, "good/kos01_Part0.png", "good/kos01_Part1.png", "good/kos02/kos02_Part0.png", "top.png")
    return tmp_path


def found(folder, rule):
    images = sorted(folder.rglob("*.png"))
    return dict(
        zip([path.name[:-4] for path in images], find_groups(images, given=[folder], groups=rule).names, strict=True)
    )


def test_a_folder_is_that_of_the_image_below_the_data(folder):
    assert found(folder, "folder") == {
        "kos01_Part0": "good", "kos01_Part1": "good", "kos02_Part0": "good/kos02", "top": ".",
    }  # fmt: skip
    inner = sorted((folder / "good").rglob("*.png"))
    assert find_groups(inner, given=[folder, folder / "good"], groups="folder").names == [".", ".", "kos02"]


def test_a_group_is_what_the_first_parentheses_hold_or_all_that_is_found(folder):
    (folder / "top.png").unlink()
    names = ["kos01_Part0", "kos01_Part1", "kos02_Part0"]
    for rule, groups in {
        r"(kos\d+)_Part": ["kos01", "kos01", "kos02"],
        r"kos\d+": ["kos01", "kos01", "kos02"],
        r"^good/(?:kos)?(..)": ["01", "01", "02"],
        r"Part(\d)\.png$": ["0", "1", "0"],
        r"(/k)?os02|k(os)": None,
    }.items():
        if groups:
            assert found(folder, rule) == dict(zip(names, groups, strict=True)), rule
        else:
            refused(lambda rule=rule: found(folder, rule), "finds no group in 2 images")


def test_accents_count_alike_however_they_are_encoded():
    images = paths("gro\u0308\u00dfe 1.png", "gr\u00f6\u00dfe 1.png")
    assert find_groups(images, given=[], groups="gro\u0308\u00dfe.\\d").names == ["gr\u00f6\u00dfe 1"] * 2


def test_images_in_which_nothing_is_found_are_named(folder):
    message = refused(lambda: found(folder, r"kos(\d+)"))
    assert message == r"group by: kos(\d+) finds no group in 1 images: top.png"
    refused(lambda: found(folder, r"x*"), "finds no group in 4 images")  # nothing is no name


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("", "group by: an empty text is not allowed"),
        ("(", "group by: ( is no regular expression (missing ), unterminated subpattern at position 0)"),
        ("a\n(", "group by: a\\n( is no regular expression"),
        ("x{99999999999999999999}", "is no regular expression"),
        ("x" * (LONGEST + 1), f"group by: 201 characters is not allowed, {WAYS}, at most 200 characters"),
    ],
)
def test_a_rule_that_is_none_is_refused(rule, words):
    assert WAYS in refused(lambda: check_rule(rule), words)
    refused(lambda: find_groups(paths("a.png"), groups=rule), words)


def test_groups_may_be_given_one_by_one():
    arrays = [np.zeros((4, 4), np.uint8)] * 3
    assert find_groups(arrays, groups=["a", "", "b"]) == Grouping(["a", "", "b"], "grouped as given")
    assert find_groups(arrays, groups=("a", "a", "b\n")).names == ["a", "a", "b\\n"]
    assert find_groups(arrays) is None
    refused(lambda: find_groups(arrays, groups=["a", "b"]), "groups: 2 for 3 images; give one for each")
    refused(lambda: find_groups(arrays, groups=[1, 2, 3]), "groups: [1, 2, 3] is not allowed, expected a text")
    refused(lambda: find_groups(arrays, groups=7), "groups: 7 is not allowed")
    message = refused(lambda: find_groups([*paths("a/b.png"), *arrays], groups="folder"))
    assert message == "groups: image 2 has no path to find its group in; give the group of each image"


def test_a_column_of_a_manifest_says_it(folder):
    file = folder / "parts.csv"
    file.write_text(
        "path,label,split,group\ngood/kos01_Part0.png,good,train,a\ngood/kos01_Part1.png,good,validation,\n"
    )
    images = [folder / "good/kos01_Part0.png", folder / "good/kos01_Part1.png", folder / "top.png"]
    assert find_groups(images, given=[file]) == Grouping(["a", "", ""], "grouped by the column group")
    message = refused(lambda: find_groups(images[:2], given=[file], groups="folder"))
    assert message == f"group by: {file} has a column group; leave the option away, or the column"
    file.write_text("path,label,split,group\ngood/kos01_Part0.png,good,train,\n")
    assert find_groups(images, given=[file]) is None
    assert find_groups(images, given=[file], groups="folder") == Grouping(["good", "good", "."], "grouped by folder")
