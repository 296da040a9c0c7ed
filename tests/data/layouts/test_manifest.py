"""Tables: a manifest and the split of VisA, each with all its samples, and with all that can be wrong."""

import os
from unicodedata import normalize

import pytest

from blemish.data.layouts.manifest import read_manifest, read_visa
from trees import names, paint, plant, refused, rows

ALLOWED = "(allowed: path, label, split, mask, category, group; commas between them, or semicolons, or tabs)"


def table(folder, *lines, name="parts.csv", encoding="utf-8", end="\n"):
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(end.join([*lines, ""]).encode(encoding))
    return file


def problems(folder, *lines, header="path,label,mask,split"):
    """Return what is wrong with a manifest of these rows."""
    return read_manifest(table(folder, header, *lines))[1]


# Manifests.


def test_a_manifest(tmp_path):
    folder = tmp_path / "screws"
    plant(folder, "a/0.png", "a/1.png", "a/2.png", "a/3.JPG", "a/4.png", "m/3.png", 'a/5, "new".png')
    file = table(
        folder,
        "path,label,mask,split",
        "a/3.JPG,bent,m/3.png,test",
        "a/1.png,good,,train",
        "",
        "a/2.png,good,,validation",
        "./a/0.png, good ,,train",
        '"a/5, ""new"".png",good,,test',
        ",,,",
        "a/4.png,good,,test",
    )
    samples, wrong = read_manifest(file)
    assert wrong == []
    assert rows(samples, folder) == [
        ("a/1.png", "good", (), "train", "screws"),
        ("a/0.png", "good", (), "train", "screws"),
        ("a/2.png", "good", (), "validation", "screws"),
        ("a/3.JPG", "bent", ("m/3.png",), "test", "screws"),
        ('a/5, "new".png', "good", (), "test", "screws"),
        ("a/4.png", "good", (), "test", "screws"),
    ]
    for split, part in (("train", samples[:2]), ("validation", samples[2:3]), ("test", samples[3:])):
        assert read_manifest(file, (split,)) == (part, [])


def test_a_manifest_may_say_what_belongs_together(tmp_path):
    plant(tmp_path, "0.png", "1.png", "2.png")
    lines = "group,path,label,split", "part 7,0.png,good,train", ",1.png,good,validation", "Größe,2.png,bent,test"
    samples, wrong = read_manifest(table(tmp_path, *(normalize("NFD", line) for line in lines)))
    assert wrong == []
    assert [sample.group for sample in samples] == ["part 7", "", "Größe"]


@pytest.mark.parametrize(("encoding", "end"), [("utf-8", "\r\n"), ("utf-8-sig", "\n"), ("utf-8-sig", "\r\n")])
def test_what_spreadsheets_write_is_read(tmp_path, encoding, end):
    plant(tmp_path, "gerät.png", "m.png")
    lines = "Path,Category,Split,Label,Mask", "gerät.png,Größe 1,test,zerkratzt,m.png"
    file = table(tmp_path, *lines, encoding=encoding, end=end)
    samples, wrong = read_manifest(file)
    assert wrong == []
    assert rows(samples, tmp_path) == [("gerät.png", "zerkratzt", ("m.png",), "test", "Größe 1")]


def test_columns_that_may_be_left_out(tmp_path):
    plant(tmp_path, "0.png", "1.png")
    assert problems(tmp_path, "0.png,good,train", "1.png,good,test", header="path,label,split") == []
    samples, _ = read_manifest(tmp_path / "parts.csv")
    assert [one.category for one in samples] == [tmp_path.name] * 2
    assert problems(tmp_path, "0.png,train,good", header="path,split,label,mask") == []


def test_another_encoding_is_named_with_its_line(tmp_path):
    file = table(tmp_path, "path,label,mask,split", "0.png,good,,test", "gerät.png,good,,test", encoding="cp1252")
    told = refused(lambda: read_manifest(file))
    assert told == f"{file}: line 3 is not UTF-8 but perhaps Windows-1252; save it as UTF-8"
    refused(lambda: read_manifest(table(tmp_path, "path,label,mask,split", encoding="utf-16")), "line 1 is not UTF-8")


def test_a_manifest_says_all_that_is_wrong(tmp_path):
    plant(tmp_path, *(f"{n}.png" for n in range(9)), "m.png", "n.png")
    plant(tmp_path, "wide.png", width=41)
    (tmp_path / "empty.png").touch()
    assert problems(
        tmp_path,
        "0.png,good,,train",
        "1.png,,,test",
        "2.png",
        "3.png,good,m.png,test",
        "4.png,bent,,test",
        "5.png,bent,m.png,train",
        "5.png,good,,validation",
        "6.png,good,,val",
        "7.png,a/b,n.png,test",
        "gone.png,bent,lost.png,test",
        "8.png,bent,wide.png,test",
        "./0.png,bent,empty.png,test",
        "1.png,good,,test,more",
    ) == [
        "row 3: column label missing",
        "row 4: column label missing",
        "row 4: column split missing",
        "row 14: 5 cells, expected 4 (a comma in a name needs quotes)",
        "row 8: 5.png has row 7 already",
        "row 13: ./0.png has row 2 already",
        "row 5: a good image with a mask (allowed: none)",
        "row 7: train must hold only good images: found bent",
        "row 9: split val not allowed (allowed: train, validation, test)",
        "row 10: label a/b not allowed (allowed: no slash and no control character)",
        "row 11: no such file: gone.png",
        "row 11: no such file: lost.png",
        "1 masks of another size than the image: 8.png (mask 41x32 vs image 40x32)",
        f"1 files that cannot be read: {tmp_path}/empty.png: empty file (allowed: PNG, JPEG, BMP, TIFF)",
    ]


def test_a_defect_needs_no_mask(tmp_path):
    plant(tmp_path, "0.png", "1.png")
    samples, wrong = read_manifest(table(tmp_path, "path,label,split", "0.png,bent,test", "1.png,good,test"))
    assert wrong == []
    assert [(one.label, one.mask_paths, one.has_truth) for one in samples] == [("bent", (), False), ("good", (), True)]


@pytest.mark.parametrize("mark", [";", "\t"])
def test_what_a_spreadsheet_writes_elsewhere_is_read(tmp_path, mark):
    """Where a comma is part of numbers, cells are parted by semicolons; and Windows parts folders otherwise."""
    plant(tmp_path, "a/b/0.png", "m/0.png", "a/1.png", "a\\2.png")
    lines = ["path,label,mask,split", "a\\b\\0.png,bent,m\\0.png,test", "a/1.png,good,,test", "a\\2.png,good,,test"]
    samples, wrong = read_manifest(table(tmp_path, *(line.replace(",", mark) for line in lines)))
    assert wrong == []
    assert names([one.path for one in samples], tmp_path) == ["a/b/0.png", "a/1.png", "a\\2.png"]
    assert names(samples[0].mask_paths, tmp_path) == ["m/0.png"]


@pytest.mark.parametrize("name", ["C:\\data\\0.png", "..\\0.png", "\\\\server\\share\\0.png"])
def test_paths_of_windows_lead_nowhere_else(tmp_path, name):
    written = name.replace("\\", "/")
    assert problems(tmp_path, f"{name},good,,test") == [
        f"row 2: {written} not allowed (allowed: a path below {tmp_path})"
    ]


def test_words_for_good_are_those_of_folders(tmp_path):
    plant(tmp_path, *(f"{n}.png" for n in range(5)))
    lines = ["path,label,split", "0.png,OK,Train", "1.png,gut,test", "2.png,Good,TEST", "3.png,NG,test"]
    samples, wrong = read_manifest(table(tmp_path, *lines))
    assert wrong == []
    assert [(one.label, one.split) for one in samples] == [
        ("good", "train"), ("good", "test"), ("good", "test"), ("NG", "test")
    ]  # fmt: skip
    assert read_manifest(table(tmp_path, "path,label,split", "0.png,1,test"))[1] == [
        "row 2: label 1 means good to some and a defect to others (allowed: good, or a type of defect)"
    ]


def test_rows_keep_their_numbers_after_empty_rows(tmp_path):
    lines = ["0.png,good,,test", *[""] * 14, "1.png,,,test"]
    plant(tmp_path, "0.png")
    assert problems(tmp_path, *lines) == ["row 17: column label missing"]


def test_files_of_other_splits_need_not_be_there(tmp_path):
    plant(tmp_path, "0.png")
    file = table(tmp_path, "path,label,mask,split", "0.png,good,,train", "gone.png,bent,,test")
    assert read_manifest(file, ("train",))[1] == []
    assert read_manifest(file, ("test",))[1] == ["row 3: no such file: gone.png"]
    file = table(tmp_path, "path,label,mask,split", "0.png,good,,train", "0.png,good,,test")
    assert read_manifest(file, ("train",))[1] == ["row 3: 0.png has row 2 already"]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("path,split,mask", [f"row 1: column label missing {ALLOWED}"]),
        ("path|label|mask|split", [*(f"row 1: column {name} missing {ALLOWED}" for name in ("path", "label", "split")),
                                   f"row 1: column path|label|mask|split not known {ALLOWED}"]),
        ("path,label,split,catagory,", [f"row 1: column catagory not known {ALLOWED}",
                                        f"row 1: column without a name not known {ALLOWED}"]),
        ("path,label,split,path", ["row 1: column path given twice"]),
    ],
)  # fmt: skip
def test_a_header_says_all_that_is_wrong(tmp_path, header, expected):
    assert problems(tmp_path, "0.png,good,test", header=header) == expected


def test_tables_that_are_none(tmp_path):
    told = f"row 1: column path missing {ALLOWED}"
    assert read_manifest(table(tmp_path))[1][0] == told
    assert problems(tmp_path) == ["row 1: no rows below the header"]
    refused(
        lambda: problems(tmp_path, "0.png,good,,test", '"1.png'), "parts.csv: row 3: not CSV (unexpected end of data)"
    )
    refused(lambda: problems(tmp_path, '"0"1.png,good,,test'), "parts.csv: row 2: not CSV")
    refused(lambda: problems(tmp_path, "x" * 200_000 + ",good,,test"), "row 2: not CSV (field larger than")
    assert refused(lambda: read_manifest(tmp_path / "gone.csv")) == f"no such file: {tmp_path}/gone.csv"
    refused(lambda: read_manifest(tmp_path), ": cannot be read (Is a directory)")
    refused(lambda: read_manifest(tmp_path / "a\0.csv"), "a\\x00.csv: cannot be read")


def test_paths_stay_below_the_manifest(tmp_path):
    folder = tmp_path / "parts"
    outside = paint(tmp_path / "outside.png")
    plant(folder, "0.png")
    (folder / "out.png").symlink_to(outside)
    (folder / "in.png").symlink_to("0.png")
    (folder / "sub").symlink_to(tmp_path)
    escapes = f"path escapes dataset root {folder}; copy the image there, or follow links with --follow-links"
    assert problems(
        folder,
        "../outside.png,good,,test",
        f"{outside},good,,test",
        "out.png,good,,test",
        "in.png,good,,test",
        "sub/outside.png,good,,test",
        "sub/../0.png,good,,test",
        "0.png,bent,../outside.png,test",
        ".,good,,test",
        "x" * 300 + ",good,,test",
    ) == [
        "row 8: 0.png has row 7 already",
        f"row 2: ../outside.png not allowed (allowed: a path below {folder})",
        f"row 3: {outside} not allowed (allowed: a path below {folder})",
        f"row 4: {folder}/out.png: {escapes}",
        f"row 6: {folder}/sub/outside.png: {escapes}",
        f"row 7: sub/../0.png not allowed (allowed: a path below {folder})",
        f"row 8: ../outside.png not allowed (allowed: a path below {folder})",
        "row 9: no such file: .",
        f"row 10: no such file: {'x' * 300}",
    ]
    (nul,) = problems(folder, "a\0b,good,,test")
    assert nul.startswith(f"row 2: {folder}/a\\x00b: cannot be read (")


@pytest.mark.parametrize("name", [".", "..", "a/b", "a\\b", "a\u202eb"])
def test_labels_and_categories_could_be_names_of_files(tmp_path, name):
    plant(tmp_path, "0.png", "m.png")
    shown = name.replace("\u202e", "\\u202e")
    assert problems(tmp_path, f"0.png,{name},m.png,test,{name}", header="path,label,mask,split,category") == [
        f"row 2: {column} {shown} not allowed (allowed: no slash and no control character)"
        for column in ("label", "category")
    ]


def test_validation_holds_only_good_images(tmp_path):
    plant(tmp_path, "0.png", "m.png")
    fault = ["row 2: validation must hold only good images: found bent"]
    assert problems(tmp_path, "0.png,bent,m.png,validation") == fault
    assert problems(tmp_path, "0.png,bent,,validation") == fault


def test_accents_written_in_two_ways_are_one_name(tmp_path):
    composed, decomposed = "ger\u00e4t", "gera\u0308t"
    plant(tmp_path, "0.png", "1.png", "m.png")
    lines = (f"{n}.png,{name},m.png,test,{name}" for n, name in enumerate((composed, decomposed)))
    file = table(tmp_path, "path,label,mask,split,category", *lines)
    samples, wrong = read_manifest(file)
    assert wrong == []
    assert [(one.label, one.category) for one in samples] == [(composed, composed)] * 2
    plant(tmp_path, f"{composed}.png", f"{decomposed}.png")
    assert problems(tmp_path, f"{composed}.png,good,,test", f"{decomposed}.png,good,,train") == [
        f"row 3: {decomposed}.png has row 2 already"
    ]


def test_one_mask_may_serve_two_rows(tmp_path):
    """Two views of one part: what a person has written down row by row is not a guess."""
    plant(tmp_path, "0.png", "1.png", "m.png")
    assert problems(tmp_path, "0.png,bent,m.png,test", "1.png,bent,m.png,test") == []


# VisA.


VISA = "object,split,label,image,mask"


@pytest.fixture
def visa(tmp_path):
    """Two categories of VisA and their table."""
    root = tmp_path / "VisA"
    plant(root / "candle/Data", "Images/Normal/0000.JPG", "Images/Normal/0001.JPG", "Images/Normal/0002.JPG")
    plant(root / "candle/Data", "Images/Anomaly/000.JPG", "Images/Anomaly/001.JPG")
    plant(root / "candle/Data", "Masks/Anomaly/000.png", "Masks/Anomaly/001.png")
    plant(root / "pcb1/Data", "Images/Normal/0000.JPG", "Images/Anomaly/000.JPG", "Masks/Anomaly/000.png")
    table(
        root / "split_csv",
        VISA,
        "candle,test,anomaly,candle/Data/Images/Anomaly/001.JPG,candle/Data/Masks/Anomaly/001.png",
        "candle,train,normal,candle/Data/Images/Normal/0002.JPG,",
        "candle,train,normal,candle/Data/Images/Normal/0000.JPG,",
        "candle,test,normal,candle/Data/Images/Normal/0001.JPG,",
        "candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png",
        "pcb1,train,normal,pcb1/Data/Images/Normal/0000.JPG,",
        "pcb1,test,anomaly,pcb1/Data/Images/Anomaly/000.JPG,pcb1/Data/Masks/Anomaly/000.png",
        name="1cls.csv",
    )
    return root


def test_visa(visa, monkeypatch):
    expected = [
        ("Data/Images/Normal/0002.JPG", "good", (), "train", "candle"),
        ("Data/Images/Normal/0000.JPG", "good", (), "train", "candle"),
        ("Data/Images/Anomaly/001.JPG", "anomaly", ("Data/Masks/Anomaly/001.png",), "test", "candle"),
        ("Data/Images/Normal/0001.JPG", "good", (), "test", "candle"),
        ("Data/Images/Anomaly/000.JPG", "anomaly", ("Data/Masks/Anomaly/000.png",), "test", "candle"),
    ]
    samples, wrong = read_visa(visa / "candle")
    assert wrong == []
    assert rows(samples, visa / "candle") == expected
    assert read_visa(visa / "candle", ("train",)) == (samples[:2], [])
    assert len(read_visa(visa / "pcb1")[0]) == 2
    monkeypatch.chdir(visa / "candle")
    here = type(visa)(".")
    assert rows(read_visa(here)[0], here) == expected


def test_visa_says_all_that_is_wrong(visa):
    plant(visa / "candle/Data", "Masks/Anomaly/001.png", width=41)
    (visa / "candle/Data/Images/Normal/0000.JPG").unlink()
    with (visa / "split_csv/1cls.csv").open("a") as file:
        file.write("candle,test,anomaly,candle/Data/Images/Normal/0001.JPG,\n")
        file.write("candle,test,broken,candle/Data/Images/Normal/0001.JPG,\n")
        file.write("candle,test,normal,pcb1/Data/Images/Normal/0000.JPG,\n")
        file.write("candle,test,normal,candle/../pcb1/Data/Images/Normal/0000.JPG,\n")
        file.write("candle,test,,candle/Data/Images/Normal/0001.JPG,\n")
        file.write("pcb1,valid,normal,pcb1/Data/Images/Normal/0009.JPG,\n")
    split = "split_csv/1cls.csv: "
    assert read_visa(visa / "candle")[1] == [
        f"{split}row 13: column label missing",
        f"{split}row 10: label broken not allowed (allowed: normal, anomaly)",
        f"{split}row 11: image or mask not in candle",
        f"{split}row 9: Data/Images/Normal/0001.JPG has row 5 already",
        f"{split}row 4: no such file: Data/Images/Normal/0000.JPG",
        f"{split}row 12: ../pcb1/Data/Images/Normal/0000.JPG not allowed (allowed: a path below {visa}/candle)",
        f"{split}1 masks of another size than the image: Data/Images/Anomaly/001.JPG (mask 41x32 vs image 40x32)",
    ]


def test_a_category_that_the_split_of_visa_does_not_name(visa):
    os.rename(visa / "pcb1", visa / "pcb2")
    assert read_visa(visa / "pcb2") == ([], ["split_csv/1cls.csv: no rows for object pcb2"])
    (visa / "split_csv" / "1cls.csv").unlink()
    assert refused(lambda: read_visa(visa / "candle")) == f"no such file: {visa}/split_csv/1cls.csv"
