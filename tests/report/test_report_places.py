"""Links of the page, and paths of its images in a CSV manifest."""

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from blemish.data.listing import path_text
from blemish.report.places import folder_of, full_link, link, row_path, written_path
from pages import paint


@pytest.mark.parametrize(
    "name", ["a b.png", "100%25.png", "a#b?c.png", "sub/ü.png", "http:x.png", "../up.png", "a\nb.png"]
)
def test_a_link_leads_to_its_file_from_the_page(tmp_path, name):
    target = tmp_path / "site" / name
    found = link(target, page=tmp_path / "site" / "report.html")
    parts = urlsplit(found)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    assert os.path.normpath(tmp_path / "site" / unquote(parts.path)) == os.path.normpath(target)
    assert found.isascii()


def test_bytes_that_are_no_text_are_kept_in_a_link(tmp_path):
    assert link(tmp_path / os.fsdecode(b"\xff.png"), page=tmp_path / "report.html") == "./%FF.png"


def test_only_what_browsers_show_and_what_is_there_is_linked(tmp_path):
    page = tmp_path / "report.html"
    assert full_link(paint(tmp_path / "a.png"), page=page) == "./a.png"
    (tmp_path / "b.tif").touch()
    assert full_link(tmp_path / "b.tif", page=page) is None
    assert full_link(tmp_path / "c.png", page=page) is None


def test_the_folder_of_a_csv_is_the_deepest_that_holds_all_images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [Path("data/good/1.png"), tmp_path / "data" / "bad" / "sub" / "2.png"]
    assert folder_of(paths) == tmp_path / "data"
    assert folder_of(paths[:1]) == tmp_path / "data" / "good"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sub/a.png", "sub/a.png"),
        (" a, b.png", " a, b.png"),
        ("a\n\u202eb.png", "a\n\u202eb.png"),
        ("ends with a space ", None),
        (os.fsdecode(b"\xff.png"), None),
        ("../other.png", None),
    ],
)
def test_paths_that_a_csv_can_hold(tmp_path, name, expected):
    assert row_path(tmp_path / name, folder=tmp_path) == expected


@pytest.mark.parametrize("name", ["a.png", os.fsdecode(b"\xff\x80.png"), "ü.png"])
def test_a_path_of_results_is_found_again(tmp_path, name):
    path = tmp_path / name
    assert written_path(path_text(path)) == path


def test_a_file_that_is_called_so_is_no_other(tmp_path):
    path = paint(tmp_path / r"\udcff.png")
    assert written_path(str(path)) == path
