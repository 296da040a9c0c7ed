"""Folders of good parts and of defects, by the words of the field: a defect is never learnt as good."""

from pathlib import Path

import pytest

from blemish.data.datasets import good_images, is_category, read_samples, together
from blemish.data.inputs import name_images
from blemish.data.words import meaning
from trees import plant, refused

PAIRS = [("OK", "NG"), ("ok", "ng"), ("normal", "abnormal"), ("Good", "Bad"), ("pass", "fail"), ("gut", "schlecht"),
         ("normal_dir", "abnormal_dir"), ("i.O.", "n.i.O."), ("good", "defective"), ("Accepted", "Rejected"),
         ("OK-Bilder", "NOK-Bilder"), ("bon", "défaut"), ("合格", "不合格"), ("GOOD PARTS", "BAD PARTS")]  # fmt: skip


def several(folder, name, count, start=0):
    for index in range(count):
        plant(folder, f"{name}/{index}.png", value=start + index)


@pytest.mark.parametrize(("good", "bad"), PAIRS)
def test_a_pair_of_words_is_read_as_good_and_bad(tmp_path, good, bad):
    several(tmp_path, good, 10)
    several(tmp_path, bad, 3, start=100)
    several(tmp_path, "mask_dir" if "_dir" in good else "Masks", 3, start=200)
    assert is_category(tmp_path)
    found = good_images(tmp_path)
    assert {path.parent.name for path in found} == {good}
    assert len(found) == 8  # two of ten serve the test
    samples = read_samples(tmp_path)
    assert [(one.label, one.path.parent.name) for one in samples if one.label != "good"] == [(bad, bad)] * 3


def test_case_does_not_count_in_the_layout_of_mvtec(tmp_path):
    several(tmp_path, "Train/Good", 6)
    several(tmp_path, "Test/Bad", 2, start=100)
    several(tmp_path, "Test/OK", 2, start=50)
    several(tmp_path, "Ground_Truth/Bad", 2, start=200)
    assert [path.relative_to(tmp_path).as_posix() for path in good_images(tmp_path)] == [
        f"Train/Good/{index}.png" for index in range(6)
    ]
    tested = [one for one in read_samples(tmp_path) if one.split == "test"]
    assert [(one.label, len(one.mask_paths)) for one in tested] == [("Bad", 1), ("Bad", 1), ("good", 0), ("good", 0)]


@pytest.mark.parametrize("pair", [("positive", "negative"), ("0", "1"), ("Pos", "Neg"), ("true", "false")])
def test_words_with_two_meanings_are_refused_with_both_and_the_line_to_type(tmp_path, pair):
    for name in pair:
        several(tmp_path, name, 4)
    first, second = sorted(pair)
    refused(
        lambda: good_images(tmp_path), f"of {first}, {second} some may be defects", f"blemish fit {tmp_path / first}"
    )


@pytest.mark.parametrize("bad", ["NG", "Defects", "schlechtteile", "scratch/NG"])
def test_a_bad_word_beside_unknown_ones_is_refused_with_both(tmp_path, bad):
    several(tmp_path, "line1", 4)
    several(tmp_path, bad, 2, start=100)
    refused(lambda: good_images(tmp_path), bad.rpartition("/")[2], "line1", f"blemish fit {tmp_path / 'line1'}")


def test_other_sub_folders_are_learnt_together_and_said(tmp_path):
    several(tmp_path, "monday", 3)
    several(tmp_path, "tuesday", 5, start=50)
    found = good_images(tmp_path)
    assert len(found) == 8
    assert together(tmp_path, found) == ["sub-folders are learnt together: 3 in monday, 5 in tuesday"]
    assert together(tmp_path / "monday", good_images(tmp_path / "monday")) == []


@pytest.mark.parametrize("masks", ["masks", "Mask", "ground_truth", "Ground-Truth", "mask_dir"])
def test_predict_does_not_score_masks_as_parts(tmp_path, masks):
    several(tmp_path, "OK", 2)
    several(tmp_path, "NG", 2)
    assert len(name_images([tmp_path])) == 4  # without masks, good and bad are parts like any
    several(tmp_path, masks, 2)
    refused(lambda: name_images([tmp_path]), "a data set, with masks")


def test_predict_does_not_score_a_root_of_data_sets(tmp_path):
    several(tmp_path / "cable", "train/good", 2)
    several(tmp_path / "cable", "ground_truth/bent", 2)
    refused(lambda: name_images([tmp_path]), "a data set, with masks")


@pytest.mark.parametrize(
    ("name", "said"),
    [("OK", "good"), ("\uff4f\uff4b", "good"),
     ("good_parts", "good"), ("NOK", "bad"), ("not_ok", "bad"), ("Not OK", "bad"),
     ("Ground_Truth", "masks"), ("1", "unclear"), ("scratch", ""), ("images", ""), ("goodyear", ""), ("bang", ""),
     ("fine", ""), ("broken", ""), ("", "")],
)  # fmt: skip
def test_what_a_name_says(name, said):
    assert meaning(name) == said


def test_no_word_has_two_meanings():
    from blemish.data import words

    sets = [words.GOOD, words.BAD, words.MASKS, words.UNCLEAR]
    assert sum(map(len, sets)) == len(frozenset().union(*sets))
    assert all(Path(word).name == word and word == word.casefold() for one in sets for word in one)
