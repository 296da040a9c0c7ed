"""Images that are given: found, named, and kept apart from what is written."""

import os
from pathlib import Path

import pytest
from PIL import Image

from blemish.data.datasets import good_images
from blemish.data.inputs import check_apart, check_outside, name_images
from blemish.data.listing import follow_links
from blemish.errors import InputError
from blemish.results.folder import prepare_folder
from blemish.results.write import write
from stubs import (
    Stub,
    names,
    paint,
    parts,  # noqa: F401
)


def test_names_mirror_the_folder_that_is_given(parts):
    assert name_images([parts]) == [(parts / "dull.png", "dull"), (parts / "sub" / "bright.png", "sub/bright")]
    assert name_images([parts / "sub" / "bright.png"]) == [(parts / "sub" / "bright.png", "bright")]


def test_names_of_several_folders_start_with_the_folder(parts, tmp_path):
    paint(tmp_path / "more" / "dull.png")
    assert names(parts, tmp_path / "more") == ["parts/dull", "parts/sub/bright", "more/dull"]


def test_a_folder_given_as_a_dot_has_its_own_name(parts, monkeypatch):
    monkeypatch.chdir(parts / "sub")
    assert names(Path(), Path("..")) == ["sub/bright", "parts/dull", "parts/sub/bright"]
    assert [path for path, _ in name_images([Path()])] == [Path("bright.png")]


def test_names_of_equal_stems_differ_by_suffix_or_number(tmp_path):
    for name in ("a.jpg", "a.png", "A.bmp", "b/a.png", "b/a.jpg.png"):
        paint(tmp_path / name)
    assert names(tmp_path) == ["A.bmp", "a.jpg", "a", "b/a.jpg", "b/a"]
    one, two = tmp_path / "a.png", tmp_path / "b" / "a.png"
    assert names(one, two, one) == ["a", "a-2", "a-3"]
    assert names(tmp_path / "a.jpg", tmp_path / "b" / "a.jpg.png") == ["a.jpg", "a.jpg-2"]


def test_names_differ_even_where_case_does_not_count(tmp_path):
    paint(tmp_path / "x" / "Part.png")
    paint(tmp_path / "y" / "part.PNG")
    assert names(tmp_path / "x" / "Part.png", tmp_path / "y" / "part.PNG") == ["Part", "part-2"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("new\nline.png", r"new\nline"),
        ("right\u202eleft.png", r"right\u202eleft"),
        (os.fsdecode(b"byte\xff.png"), r"byte\udcff"),
        ("..png", "."),
        ("...png", ".."),
        ("ä" * 120 + ".png", "ä" * 100),
    ],
)
def test_names_are_printable_and_short_and_stay_inside(tmp_path, name, expected):
    path = paint(tmp_path / name)
    assert names(path) == [expected]
    out = tmp_path / "out"
    prepare_folder(out, overwrite=False)
    (record,) = write(Stub(), name_images([path]), out)
    assert record["overlay"] == f"overlays/{expected}.png"
    assert [file.relative_to(out).as_posix() for file in out.rglob("*.png")] == [record["overlay"]]


def test_a_folder_without_images_is_an_error(tmp_path):
    with pytest.raises(InputError, match=rf"^no images found in {tmp_path} \(allowed: .png"):
        name_images([tmp_path])


def test_a_result_is_not_written_among_the_inputs(parts, tmp_path):
    (tmp_path / "link").symlink_to(parts)
    for out in (parts, parts / "out", parts / "new" / "out", parts / "sub" / ".." / "out", tmp_path / "link" / "out"):
        with pytest.raises(InputError, match="lies in the input folder"):
            check_outside(out, parts)
    for out in (tmp_path, tmp_path / "parts-out", parts / ".." / "out"):
        check_outside(out, parts)
    check_outside(parts / "out", parts / "dull.png")  # a file has no folder of inputs


def test_an_input_is_not_in_the_way_of_the_result(parts, tmp_path):
    (tmp_path / "link").symlink_to(parts)
    for out, given in (
        (tmp_path, parts),
        (tmp_path, parts / "dull.png"),
        (parts, parts / "sub" / "bright.png"),
        (tmp_path / "link", parts / "dull.png"),
        (parts, tmp_path / "link" / "dull.png"),
        (tmp_path / "parts" / "sub", parts / "sub" / "bright.png"),
    ):
        with pytest.raises(InputError, match=f"^{given}: lies in the output folder {out}; choose another place$"):
            check_apart([out], [tmp_path.parent / "elsewhere.png", None, given])
    with pytest.raises(InputError, match="lies in the input folder"):
        check_apart([parts / "out"], [parts])
    check_apart([tmp_path / "out"], [parts, parts / "dull.png", tmp_path / "out-of-here.png"])


def test_a_manifest_stands_for_the_images_of_its_rows(parts, tmp_path):
    """One column is enough, and an image that is gone is for predict to tell: the others must not wait for it."""
    file = parts / "list.csv"
    file.write_text("path\nsub/bright.png\ngone.png\ndull.png\n")
    assert name_images([file]) == [
        (parts / "sub" / "bright.png", "sub/bright"),
        (parts / "gone.png", "gone"),
        (parts / "dull.png", "dull"),
    ]
    file.write_text("path,label,mask,split\ndull.png,scratch,,test\n")
    assert name_images([file, parts / "sub"]) == [
        (parts / "dull.png", "parts/dull"),
        (parts / "sub" / "bright.png", "sub/bright"),
    ]
    file.write_text("path\n../x.png\n")
    with pytest.raises(InputError, match=r"list.csv: row 2: ../x.png not allowed"):
        name_images([file])
    file.write_text("image\ndull.png\n")
    with pytest.raises(InputError, match="row 1: column path missing"):
        name_images([file])


def test_masks_beside_their_images_are_no_parts(parts):
    for index in range(3):
        Image.effect_noise((40, 32), 80).save(parts / f"Part{index}.jpg")
        Image.new("L", (40, 32)).save(parts / f"Part{index}_label.bmp")
    with pytest.raises(InputError) as caught:
        name_images([parts])
    assert str(caught.value) == (
        f"{parts}: 3 of its images are masks of others, such as {parts}/Part0_label.bmp; "
        "give a folder of photographs alone"
    )
    with pytest.raises(InputError, match=r"Part0_label.bmp: a mask, not an image of a good part"):
        good_images(parts)


def test_a_file_beside_is_not_taken_for_a_data_set(tmp_path):
    """The list of what a model was tested on ends in .json; what lies around it is nobody's input."""
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "x.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "m.tested.json").write_text("{}")
    check_apart([tmp_path / "r.json"], [], files=[tmp_path / "m.tested.json", tmp_path / "m.xml"])
    with pytest.raises(InputError, match=r"m.tested.json: is the input"):
        check_apart([tmp_path / "m.tested.json"], [], files=[tmp_path / "m.tested.json"])


def test_with_links_followed_what_they_lead_to_is_an_input_too(parts, tmp_path):
    outside = paint(tmp_path / "other" / "sub" / "zz.png")
    (parts / "link").symlink_to(outside.parent)
    follow_links(True)
    try:
        for out in (outside, outside.parent / "new.png"):
            with pytest.raises(InputError, match="lies in the input folder"):
                check_apart([out], [parts])
        check_apart([tmp_path / "other" / "new.png"], [parts])
    finally:
        follow_links(False)
