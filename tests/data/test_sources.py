"""What stands for one image and what for many: arrays, files, folders and manifests."""

import hashlib
import json

import numpy as np
import pytest

from blemish import Labels
from blemish.data.records import DataPart
from blemish.data.sources import all_sources, good_sources, held_out_sources, identify, load, sources
from blemish.errors import InputError
from labelfiles import BOX, coco
from tiny import tiny_detector
from trees import names, paint, pixel_hashes, plant, refused

ARRAY = np.zeros((32, 40), np.uint8)


@pytest.fixture
def manifest(tmp_path):
    """Two images that train, one kept apart, a scratch with its mask."""
    plant(tmp_path, "a/0.png", "a/1.png", "a/2.png", "a/3.png", "m/3.png")
    file = tmp_path / "Parts.CSV"
    file.write_text(
        "path,label,mask,split\na/1.png,good,,train\na/0.png,good,,train\na/2.png,good,,validation\n"
        "a/3.png,scratch,m/3.png,test\n"
    )
    return file


@pytest.mark.parametrize("kind", [str, lambda path: path, lambda path: [path], lambda path: iter([str(path)])])
def test_a_manifest_stands_for_its_good_images(manifest, kind):
    train, apart = good_sources(kind(manifest))
    assert names(train, manifest.parent) == ["a/1.png", "a/0.png"]
    assert names(apart, manifest.parent) == ["a/2.png"]


def test_data_sets_images_and_arrays_can_be_mixed(manifest, tmp_path):
    plant(tmp_path / "part", "train/good/7.png", "validation/good/8.png")
    single = paint(tmp_path / "9.png")
    train, apart = good_sources([ARRAY, tmp_path / "part", single, manifest])
    assert train[0] is ARRAY
    assert names(train[1:], tmp_path) == ["part/train/good/7.png", "9.png", "a/1.png", "a/0.png"]
    assert names(apart, tmp_path) == ["part/validation/good/8.png", "a/2.png"]


def test_what_is_wrong_with_a_manifest_is_said(manifest):
    refused(lambda: good_sources(manifest.with_name("none.csv")), "none.csv")
    manifest.write_text("path,label,split\na/1.png,scratch,train\n")
    refused(lambda: good_sources(manifest), "Parts.CSV", "row 2")
    manifest.write_text("path,label,split\na/9.png,good,train\n")
    refused(lambda: good_sources([manifest]), "row 2", "a/9.png")


def test_all_images_of_a_manifest_or_a_folder(manifest):
    everything = ["a/1.png", "a/0.png", "a/2.png", "a/3.png"]
    assert names(all_sources(str(manifest)), manifest.parent) == everything
    assert names(all_sources([manifest, manifest.parent / "m"]), manifest.parent) == [*everything, "m/3.png"]


def test_a_label_file_stands_for_the_images_of_its_folder(tmp_path):
    for number in range(5):
        paint(tmp_path / "images" / f"{number}.png", value=number)
    file = coco(tmp_path / "annotations" / "l.json", ["0.png"], ("0.png", "scratch", BOX))
    everything = [f"images/{number}.png" for number in range(5)]
    assert names(all_sources(file), tmp_path) == everything
    refused(lambda: good_sources(file), "4 images without a label")
    for given in (file, tmp_path):
        train, apart = good_sources(given, labels=Labels(unlabelled="good"))
        assert (len(train), apart) == (3, [])
        assert set(names(train, tmp_path)) < set(everything[1:])


def test_elsewhere_a_manifest_is_a_file_like_any_other(manifest):
    assert sources(manifest) == [manifest]
    assert names(sources(manifest.parent / "a"), manifest.parent) == [f"a/{index}.png" for index in range(4)]
    for find in (sources, all_sources, good_sources):
        with pytest.raises(
            InputError,
            match=r"^images: int is not allowed, expected paths, numpy arrays and pictures of PIL, one or several$",
        ):
            find([3])


def test_the_images_that_set_a_threshold_are_found_by_their_content(tmp_path):
    paths = [paint(tmp_path / f"{value}.png", value=value) for value in (10, 20, 30)]
    good = [*paths, ARRAY, ARRAY + 50]
    known = identify(good)
    header = tiny_detector(["64/2"], sizes=[64])[0].header_
    held_out = [known[index] for index in (0, 2, 4)]
    header = header.model_copy(
        update={"data": DataPart(train=[known[1], known[3]], held_out=held_out, told_by="pixels")}
    )
    hashes = [one.sha256 for one in known]
    renamed = paths[0].rename(tmp_path / "renamed.png")
    found = held_out_sources(header.data, [good[4], paths[1], paths[2], renamed, ARRAY])
    assert pixel_hashes(found) == [hashes[index] for index in (0, 2, 4)]  # in the order in which the model holds them
    for source, expected in zip(found, (renamed, paths[2], good[4]), strict=True):
        np.testing.assert_array_equal(load(source), load(expected))
    for given, count in (([], 3), ([renamed, paths[1], ARRAY], 2), ([renamed, paths[2]], 1)):
        with pytest.raises(InputError) as caught:
            held_out_sources(header.data, given)
        assert str(caught.value) == (
            f"good: {count} of the 3 good images that set the threshold are not among those given; "
            "give those that the model was fitted on, and those held out since (--good FOLDER, as often as needed)"
        )


def test_a_file_and_the_array_read_from_it_are_one_image(tmp_path):
    """And so is the same picture in another file, and with another suffix; by the rule of old models they are not."""
    file, again = paint(tmp_path / "a.png", value=9), paint(tmp_path / "b.bmp", value=9)
    assert file.read_bytes() != again.read_bytes()
    one, two, three = identify([file, again, load(file)])
    assert one == two == three
    assert identify([paint(tmp_path / "c.png", value=8)])[0].sha256 != one.sha256
    by_bytes = identify([file, again, load(file)], told_by="bytes")
    assert by_bytes[0].sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert by_bytes[1].sha256 == hashlib.sha256(again.read_bytes()).hexdigest()
    assert by_bytes[2].sha256 == one.sha256


def test_models_of_before_find_their_images_by_the_bytes_of_their_files(tmp_path):
    file = paint(tmp_path / "a.png", value=9)
    old = DataPart.model_validate_json(
        json.dumps({"train": [], "held_out": [part.model_dump() for part in identify([file], told_by="bytes")]})
    )
    assert old.told_by == "bytes"
    assert held_out_sources(old, [file]) == [file]
    with pytest.raises(InputError, match="1 of the 1 good images that set the threshold are not among those given"):
        held_out_sources(old, [load(file)])
