"""A fit keeps together what belongs together, says so, and counts it once."""

import io

import numpy as np
import pytest
from PIL import Image

from blemish import Detector
from blemish.data.sources import identify
from blemish.errors import InputError
from commands import SIZES, run

OPTIONS = {"sizes": (64,), "levels": (2,)}


def smooth(random, side, *, cells):
    coarse = Image.fromarray(random.normal(0, 1, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((side, side), Image.Resampling.BICUBIC), np.float64)


def jpeg(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=85)
    return np.array(Image.open(stream))


@pytest.fixture(scope="module")
def parts():
    """Twelve parts that look different: grey, 96 x 96."""
    random = np.random.default_rng(5)
    return [np.clip(120 + 30 * smooth(random, 96, cells=14), 0, 255).astype(np.uint8) for _ in range(12)]


def hashes(images):
    return [part.sha256 for part in identify(images)]


@pytest.fixture
def folder(tmp_path, parts):
    for index, part in enumerate(parts):
        place = tmp_path / "parts" / f"item {index // 2}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(part).save(place / f"{index:02}.png")
    return tmp_path / "parts"


def test_twins_are_on_one_side_and_count_once(short, parts):
    alone = Detector(**OPTIONS).fit(parts).header_
    again = [jpeg(part) for part in parts]
    both = Detector(**OPTIONS).fit([*parts, *again]).header_
    unit = {name: index % 12 for index, name in enumerate(hashes([*parts, *again]))}
    train, held = ({unit[part.sha256] for part in side} for side in (both.data.train, both.data.held_out))
    assert not train & held
    assert len(train) == 8
    assert len(held) == len(both.data.held_out) == 4
    assert len(both.data.train) == 16
    assert len(both.calibration.scores) == len(alone.calibration.scores) == 12
    assert {unit[image.sha256] for image in both.calibration.held_out} == set(range(12))
    assert {image.group for image in both.calibration.held_out} == {""}


def test_groups_are_on_one_side_and_count_by_their_highest(short, parts):
    groups = [f"item {index // 2}" for index in range(12)]
    header = Detector(**OPTIONS).fit(parts, groups=groups).header_
    group = dict(zip(hashes(parts), groups, strict=True))
    held = header.calibration.held_out
    assert [image.group for image in held] == [group[image.sha256] for image in held]
    apart = {group[part.sha256] for part in header.data.held_out}
    assert apart.isdisjoint(group[part.sha256] for part in header.data.train)
    assert (len(apart), len(header.data.held_out), len(held)) == (2, 4, 12)
    highest = [max(image.score for image in held if image.group == name) for name in {one.group for one in held}]
    assert sorted(header.calibration.scores) == sorted(highest)
    assert len(highest) == 6
    assert header.calibration.review == sorted(highest)[-2]


def test_a_rule_a_column_and_a_list_say_the_same(short, parts, folder, tmp_path):
    images = sorted(folder.rglob("*.png"))
    rows = [f"parts/{path.relative_to(folder).as_posix()},good,train,{path.parent.name}" for path in images]
    (tmp_path / "parts.csv").write_text("\n".join(["path,label,split,group", *rows]))
    expected = Detector(**OPTIONS).fit(parts, groups=[f"item {index // 2}" for index in range(12)]).header_
    for given, groups in (
        (folder, "folder"),
        (folder, r"item \d"),
        (images, r"(item \d)/"),
        (tmp_path / "parts.csv", None),
    ):
        header = Detector(**OPTIONS).fit(given, groups=groups).header_
        assert header.data == expected.data
        found = [(image.sha256, image.group) for image in header.calibration.held_out]
        assert found == [(image.sha256, image.group) for image in expected.calibration.held_out]


def test_what_is_wrong_with_groups_is_said_in_one_line(short, parts, folder):
    for images, groups, message in (
        (parts, ["a"] * 12, "groups: need >= 3 groups of good images"),
        (parts, ["a"] * 5, "groups: 5 for 12 images"),
        (parts, "folder", "groups: image 1 has no path to find its group in"),
        (folder, "(", "group by: ( is no regular expression"),
        (folder, "kos", "group by: kos finds no group in 12 images: item 0/00.png, "),
    ):
        with pytest.raises(InputError) as caught:
            Detector(**OPTIONS).fit(images, groups=groups)
        assert str(caught.value).startswith(message)
        assert len(str(caught.value).splitlines()) == 1


def test_the_command_says_what_belongs_together(capsys, monkeypatch, short, parts, folder, tmp_path):
    Image.fromarray(jpeg(parts[0])).save(folder / "item 0" / "again.png")
    code, _, err = run(capsys, "fit", folder, "--out", tmp_path / "m.safetensors", *SIZES, "--group-by", r"item \d")
    assert code == 0, err
    lines = err.splitlines()
    assert "1 image has a twin (one photograph saved twice): kept together, counted once, such as " in err
    assert r"grouped by item \d: 6 groups, 2 held out; the promise is about a new group" in lines
    for rule, message in (("[", "group by: [ is no regular expression"), ("parts", "finds no group in 13 images")):
        code, _, err = run(capsys, "fit", folder, "--out", tmp_path / "n.safetensors", *SIZES, "--group-by", rule)
        assert code == 2
        assert message in err
        assert not (tmp_path / "n.safetensors").exists()
