"""Data sets: every layout is recognised, broken ones are told in one line, and what is learnt is good."""

import os
from pathlib import Path

import pytest

from blemish.data import datasets
from blemish.data.datasets import categories, good_images, held_out_images, is_category, read_samples, sample_root
from blemish.data.listing import find_images
from blemish.data.samples import Sample
from faults import ordinary  # noqa: F401
from trees import names, paint, plant, refused, rows


@pytest.fixture
def bottle(tmp_path):
    """A sound category: 3 images to learn from; 1 good, 2 broken and 1 bent to test."""
    folder = tmp_path / "bottle"
    plant(folder, *(f"train/good/00{n}.png" for n in range(3)), "test/good/000.png")
    plant(folder, "test/broken/000.png", "test/broken/001.png", "test/bent/000.png")
    plant(folder, "ground_truth/broken/000_mask.png", "ground_truth/broken/001_mask.png", "ground_truth/bent/000.png")
    return folder


def visa(root):
    """Two categories in the layout of VisA, each with an image to learn from and a defect."""
    lines = ["object,split,label,image,mask"]
    for name in ("candle", "pcb1"):
        good, bad, mask = (f"Data/{kind}/0.png" for kind in ("Images/Normal", "Images/Anomaly", "Masks/Anomaly"))
        plant(root / name, good, bad, mask)
        lines += [f"{name},train,normal,{name}/{good},", f"{name},test,anomaly,{name}/{bad},{name}/{mask}"]
    (root / "split_csv").mkdir()
    (root / "split_csv" / "1cls.csv").write_text("\n".join(lines))
    return root


# Every layout.


@pytest.mark.parametrize(
    ("files", "train", "validation", "test"),
    [
        ("train/good/0.png test/cut/0.png ground_truth/cut/0_mask.png", "train/good/0.png", [], "cut"),
        (
            "train/good/0.png validation/good/1.png test/logical/0.png ground_truth/logical/0/000.png",
            "train/good/0.png",
            ["validation/good/1.png"],
            "logical",
        ),
        (
            "train/good/0.png validation/good/1.png test_public/bad/0.png test_public/ground_truth/bad/0_mask.png"
            " test_private/2.png test_private_mixed/3.png",
            "train/good/0.png",
            ["validation/good/1.png"],
            "bad",
        ),
        ("train/ok/0.bmp test/ko/1.bmp ground_truth/ko/1.png", "train/ok/0.bmp", [], "ko"),
    ],
)
def test_each_layout_of_folders_is_recognised(tmp_path, files, train, validation, test):
    part = tmp_path / "part"
    plant(part, *files.split())
    assert is_category(part)
    assert categories(tmp_path) == [part]
    assert names(good_images(part), part) == [train]
    assert names(held_out_images(part), part) == validation
    assert [(one.label, len(one.mask_paths)) for one in datasets.test_samples(part)] == [(test, 1)]
    assert read_samples(part) == read_samples(tmp_path)
    assert [one.split for one in read_samples(part)] == ["train", *["validation" for _ in validation], "test"]
    refused(lambda: good_images(tmp_path), f"{tmp_path}: holds several categories, choose one of them: part")


def test_a_plain_folder_of_good_and_bad_is_recognised(tmp_path):
    part = tmp_path / "part"
    for value in range(10):
        paint(part / "good" / f"{value}.png", value=value)
    plant(part, "bad/0.png", "masks/0.png")
    assert is_category(part)
    assert categories(tmp_path) == [part]
    train, tested = good_images(part), [one.path for one in datasets.test_samples(part) if one.label == "good"]
    assert (len(train), len(tested)) == (8, 2)
    assert sorted(train + tested) == find_images(part / "good")
    assert held_out_images(part) == []
    assert len(read_samples(part)) == 11


def test_visa_is_recognised(tmp_path):
    root = visa(tmp_path)
    assert not is_category(root)
    assert categories(root) == [root / "candle", root / "pcb1"]
    assert names(good_images(root / "pcb1"), root) == ["pcb1/Data/Images/Normal/0.png"]
    assert held_out_images(root / "pcb1") == []
    mask = ("candle/Data/Masks/Anomaly/0.png",)
    assert rows(read_samples(root / "candle"), root) == [
        ("candle/Data/Images/Normal/0.png", "good", (), "train", "candle"),
        ("candle/Data/Images/Anomaly/0.png", "anomaly", mask, "test", "candle"),
    ]
    assert [one.category for one in datasets.test_samples(root)] == ["candle", "pcb1"]
    refused(lambda: good_images(root), "several categories, choose one of them: candle, pcb1")


def test_a_manifest_is_recognised(tmp_path):
    plant(tmp_path, *(f"{n}.png" for n in range(4)), "m.png")
    file = tmp_path / "Parts.CSV"
    file.write_text("path,label,mask,split\n0.png,good,,train\n1.png,good,,validation\n2.png,cut,m.png,test\n")
    assert not is_category(file)
    assert good_images(file) == [tmp_path / "0.png"]
    assert held_out_images(file) == [tmp_path / "1.png"]
    assert datasets.test_samples(file) == [
        Sample(tmp_path / "2.png", "cut", (tmp_path / "m.png",), "test", tmp_path.name)
    ]
    assert [one.split for one in read_samples(file)] == ["train", "validation", "test"]
    assert (sample_root(file), sample_root(tmp_path)) == (tmp_path, tmp_path)
    file.write_text("path,label,split,category\n0.png,good,train,a\n1.png,good,train,b\n")
    assert [one.category for one in read_samples(file)] == ["a", "b"]
    refused(lambda: good_images(file), f"{file}: holds several categories, give each a manifest: a, b")
    refused(lambda: datasets.test_samples(file), "no test images found in ")
    file.write_text("path,label,split\n0.png,good,test\n")
    refused(lambda: good_images(file), f"no images found in {file}")
    file.write_text("path,label,split\n,good,test\n")
    for read in (good_images, held_out_images, datasets.test_samples, read_samples):
        assert refused(lambda read=read: read(file)) == f"{file}: row 2: column path missing"
        refused(lambda read=read: read(tmp_path / "gone.csv"), f"no such file: {tmp_path}/gone.csv")
    (tmp_path / "folder.csv" / "train" / "good").mkdir(parents=True)
    paint(tmp_path / "folder.csv" / "train" / "good" / "0.png")
    assert len(good_images(tmp_path / "folder.csv")) == 1


# Good images.


def test_good_images_of_a_category_and_of_a_plain_folder(bottle, tmp_path):
    assert is_category(bottle)
    assert names(good_images(bottle), bottle) == [f"train/good/{name}.png" for name in ("000", "001", "002")]
    plain = tmp_path / "test" / "plain"  # where it lies does not matter
    paint(plain / "b" / "1.png")
    paint(plain / "2.jpg")
    assert not is_category(plain)
    assert names(good_images(plain), plain) == ["2.jpg", "b/1.png"]
    assert held_out_images(plain) == []
    assert rows(read_samples(plain), plain) == [
        ("2.jpg", "good", (), "train", "plain"),
        ("b/1.png", "good", (), "train", "plain"),
    ]
    refused(
        lambda: datasets.test_samples(plain), f"no test images found in {plain} (expected <root>/<class>/test/<type>)"
    )


def test_a_folder_good_alone_is_a_plain_folder(tmp_path):
    plant(tmp_path, "good/0.png", "good/1.png", "2.png")
    assert not is_category(tmp_path)
    assert names(good_images(tmp_path), tmp_path) == ["2.png", "good/0.png", "good/1.png"]


def test_defects_and_masks_are_not_learnt_as_good(bottle, tmp_path):
    refused(lambda: good_images(bottle / "test"), "holds bent", "beside its good images; give the folder of the good")
    refused(lambda: good_images(bottle / "ground_truth"), "_mask.png: a mask, not an image of a good part")


def test_results_of_predict_are_no_images(tmp_path):
    plant(tmp_path, "0.png", "out/overlays/0.png", "out/made-by-blemish-predict")
    assert names(good_images(tmp_path), tmp_path) == ["0.png"]


def test_what_is_wrong_with_the_test_does_not_stop_a_fit(bottle):
    (bottle / "ground_truth" / "bent" / "000.png").unlink()
    (bottle / "train" / "notes.txt").write_text("nothing")
    assert len(good_images(bottle)) == 3
    assert held_out_images(bottle) == []
    refused(lambda: read_samples(bottle), "1 images without a mask of their own: bent/000.png")


def test_train_must_hold_only_good_images(bottle):
    plant(bottle, "train/broken_large/0.png", "train/loose.png", "validation/good/0.png", "validation/bent/0.png")
    train = f"{bottle}: train must hold only good images: found broken_large, loose.png"
    validation = "validation must hold only good images: found bent"
    assert refused(lambda: good_images(bottle)) == train
    assert refused(lambda: held_out_images(bottle)) == f"{bottle}: {validation}"
    assert refused(lambda: read_samples(bottle)) == f"{train}; {validation}"


def test_a_category_may_keep_good_images_apart(bottle):
    assert held_out_images(bottle) == []
    kept = [paint(bottle / "validation" / "good" / f"{number}.png") for number in range(2)]
    assert held_out_images(bottle) == kept
    assert not set(kept) & set(good_images(bottle))


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
    for read in (good_images, read_samples):
        refused(lambda read=read: read(bottle), told)
        refused(lambda read=read: read(tmp_path), told)
    plant(tmp_path / "many" / "deep" / "cable", "test/good/0.png")
    refused(lambda: good_images(tmp_path / "many"), told)
    empty = tmp_path / "empty"
    (empty / "train").mkdir(parents=True)
    refused(lambda: good_images(empty), told)


@pytest.mark.parametrize("place", ["bad", "a/bad", "masks", "test/ko", "ko", "test_public/bad", "Anomaly"])
def test_folders_that_speak_of_defects_are_not_learnt_as_good(tmp_path, place):
    plant(tmp_path, "fine/0.png", f"{place}/1.png")
    refused(lambda: good_images(tmp_path), "no train/good")


def test_the_test_folder_of_a_broken_category_is_no_category(tmp_path):
    plant(tmp_path, "ground_truth/0.png", "test_public/good/0.png", "test_public/bad/0.png")
    assert categories(tmp_path) == []
    refused(lambda: good_images(tmp_path), "no train/good")


def test_no_images(tmp_path):
    (tmp_path / "a" / "train" / "good").mkdir(parents=True)
    refused(lambda: good_images(tmp_path / "a"), "no images found in train/good", ".png .jpg .jpeg .bmp .tif .tiff")
    (tmp_path / "b").mkdir()
    for read in (good_images, read_samples):
        refused(lambda read=read: read(tmp_path / "b"), f"no images found in {tmp_path / 'b'}")
        refused(lambda read=read: read(tmp_path / "c"), "no such folder: ")
        refused(lambda read=read: read(paint(tmp_path / "x.png")), "x.png: not a folder")
        refused(lambda read=read: read(tmp_path / "a\0b"), "a\\x00b: cannot be read")


def test_train_good_may_not_be_a_link_out_of_the_category(bottle, tmp_path):
    (bottle / "train" / "good").rename(tmp_path / "pool")
    (bottle / "train" / "good").symlink_to(tmp_path / "pool")
    refused(lambda: good_images(bottle), "path escapes dataset root")


# Samples.


def test_samples_of_a_category(bottle):
    test, truth = bottle / "test", bottle / "ground_truth"
    expected = [Sample(bottle / f"train/good/00{n}.png", "good", (), "train", "bottle") for n in range(3)] + [
        Sample(test / "bent/000.png", "bent", (truth / "bent/000.png",), "test", "bottle"),
        Sample(test / "broken/000.png", "broken", (truth / "broken/000_mask.png",), "test", "bottle"),
        Sample(test / "broken/001.png", "broken", (truth / "broken/001_mask.png",), "test", "bottle"),
        Sample(test / "good/000.png", "good", (), "test", "bottle"),
    ]
    assert read_samples(bottle) == expected
    assert datasets.test_samples(bottle) == expected[3:]


def test_samples_of_a_root_are_those_of_all_its_categories(bottle, tmp_path):
    plant(tmp_path / "cable", "train/ok/0.png", "test/ok/1.png")  # the layouts may differ
    samples = datasets.test_samples(tmp_path)
    assert [sample.category for sample in samples] == ["bottle"] * 4 + ["cable"]
    assert samples[:4] == datasets.test_samples(bottle)
    assert read_samples(tmp_path) == read_samples(bottle) + read_samples(tmp_path / "cable")
    refused(lambda: datasets.test_samples(tmp_path / "cable" / "train"), "no test images found in ")


def test_a_test_folder_alone_can_be_read(bottle, tmp_path):
    (bottle / "train").rename(bottle / "elsewhere")
    assert len(datasets.test_samples(bottle)) == 4
    plant(bottle, "test_public/bad/0.png")
    assert len(datasets.test_samples(bottle)) == 4
    plant(tmp_path / "03", "test/ok/0.bmp", "test/ko/1.bmp", "ground_truth/ko/1.png")
    assert [one.label for one in datasets.test_samples(tmp_path / "03")] == ["ko", "good"]


def test_all_that_is_wrong_with_all_categories_is_one_line(bottle, tmp_path):
    (bottle / "ground_truth" / "bent" / "000.png").unlink()
    plant(tmp_path / "cable", "train/good/0.png", "test/loose.png", "ground_truth/cut/0.png")
    hint = "(expected ground_truth/<type>/NAME_mask.png, NAME.png or NAME/*.png)"
    assert refused(lambda: datasets.test_samples(tmp_path)) == (
        f"{bottle}: 1 images without a mask of their own: bent/000.png {hint}; "
        f"{tmp_path}/cable: 1 in test but in no type's folder: loose.png; "
        f"1 masks without an image: cut/0.png {hint}"
    )


def test_a_damaged_mask_is_named(bottle):
    mask = bottle / "ground_truth" / "bent" / "000.png"
    mask.write_bytes(b"")
    refused(lambda: read_samples(bottle), f"1 files that cannot be read: {mask}: empty file")


@pytest.mark.parametrize("name", ["-rf", "a b;c", "new\nline", os.fsdecode(b"\xff"), "x.png", "a..b", "% {0}"])
def test_categories_of_any_name_just_work(name, tmp_path):
    folder = tmp_path / name
    plant(folder, "train/good/0.png", f"test/{name}/1.png", f"ground_truth/{name}/1_mask.png")
    assert [(sample.category, sample.label) for sample in read_samples(folder)] == [(name, "good"), (name, name)]
    (folder / "ground_truth" / name / "1_mask.png").unlink()
    refused(lambda: read_samples(folder), "1 images without a mask")


def test_the_working_folder_has_its_own_name(bottle, monkeypatch):
    monkeypatch.chdir(bottle)
    samples = read_samples(Path("."))
    assert {sample.category for sample in samples} == {"bottle"}
    assert samples[0].path == Path("train/good/000.png")
    monkeypatch.chdir(bottle / "train" / "good")
    assert good_images(Path(".")) == [Path("000.png"), Path("001.png"), Path("002.png")]
    monkeypatch.chdir(bottle.parent)
    refused(lambda: good_images(Path(".")), "several categories, choose one of them: bottle")


@pytest.mark.parametrize("closed", ["train", "train/good", "test", "test/bent", "ground_truth"])
def test_a_folder_that_may_not_be_entered_is_named(ordinary, closed):
    part = ordinary / "bottle"
    plant(part, *(f"train/good/{n}.png" for n in range(3)), "test/good/0.png", "test/bent/0.png")
    plant(part, "ground_truth/bent/0_mask.png")
    (part / closed).chmod(0)
    readers = [good_images, read_samples] if closed.startswith("train") else [datasets.test_samples, read_samples]
    for read in readers:
        assert refused(lambda read=read: read(part)) == f"permission denied: {part / closed}"


def test_one_line_stays_one_line_however_much_is_wrong(tmp_path):
    part = tmp_path / "part"
    plant(part, "train/good/0.png", "ground_truth/cut/x.png")
    (part / "test/cut").mkdir(parents=True)
    for index in range(300):
        (part / "test/cut" / f"{index:03}.png").touch()
    told = refused(lambda: datasets.test_samples(part), "300 images without a mask of their own: cut/000.png, ")
    assert "cut/009.png, and 290 more" in told
    file = tmp_path / "list.csv"
    file.write_text("path,label,split\n" + "\n".join(f"{n}.png,good,test" for n in range(300)))
    told = refused(lambda: datasets.test_samples(file), "row 2: no such file: 0.png; row 3: no such file: 1.png; ")
    assert told.endswith("row 11: no such file: 9.png; and 290 problems more")
    for index in range(30):
        plant(tmp_path / "many" / f"{index:02}", "train/good/0.png", "test/loose.png")
    told = refused(lambda: read_samples(tmp_path / "many"))
    assert told.count("loose.png") == 10
    assert told.endswith("; and 20 problems more")
