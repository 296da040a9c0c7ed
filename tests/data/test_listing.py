"""Listing folders: which files are images, and what may not be followed."""

import os

import pytest

from blemish.data.datasets import good_images, is_category, read_samples
from blemish.data.listing import (
    check_inside,
    find_images,
    folder_name,
    follow_links,
    is_folder,
    list_images,
    listed,
    passed_over,
)
from faults import ordinary  # noqa: F401
from trees import names, paint, refused


def test_images_are_found_at_any_depth_sorted_and_the_rest_is_ignored(tmp_path):
    wanted = ["A.PNG", "a/b/c.JPeG", "a/z.tif", "a-1.bmp", "b.tiff", "b.x.jpg", "folder.png/d.png"]
    stray = [
        "Thumbs.db",
        ".DS_Store",
        "._A.png",
        ".hidden/x.png",
        "__MACOSX/._x.png",
        "c.webp",
        "notes.txt",
        "png",
        ".png",
    ]
    for name in wanted + stray:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.png")
    assert names(find_images(tmp_path), tmp_path) == sorted(wanted)
    assert find_images(tmp_path)[0] == tmp_path / "A.PNG"


def test_odd_names_just_work(tmp_path):
    odd = [b"new\nline.png", b"\xff\xfe.png", b"-rf.png", b"\xe2\x80\xae.png", b"..png.png", b"a" * 251 + b".png"]
    for name in odd:
        (tmp_path / os.fsdecode(name)).write_bytes(b"")
    found = find_images(tmp_path)
    assert sorted(os.fsencode(path.name) for path in found) == sorted(name for name in odd if name[:1] != b".")


def test_links_may_not_leave_the_root_nor_dangle(tmp_path):
    root, outside = tmp_path / "root", paint(tmp_path / "outside" / "x.png")
    inside = paint(root / "pool" / "y.png")
    (root / "y2.png").symlink_to(inside)
    assert names(find_images(root), root) == ["pool/y.png", "y2.png"]
    for name, target, told in [
        ("out.png", outside, "out.png: path escapes dataset root"),
        ("out", outside.parent, "out: path escapes dataset root"),
        ("up", root.parent, "up: path escapes dataset root"),
        ("loop", root, "link to a folder not followed (--follow-links follows it)"),
        ("gone.png", root / "nothing.png", "gone.png: dangling link"),
        ("self.png", root / "self.png", "self.png: dangling link"),
    ]:
        (root / name).symlink_to(target)
        refused(lambda: find_images(root), told)
        (root / name).unlink()
    (tmp_path / "alias").symlink_to(root)  # the root itself may be a link
    assert len(find_images(tmp_path / "alias")) == 2
    sibling = tmp_path / "root2"  # a name that only begins like the root's
    paint(sibling / "z.png")
    (root / "z.png").symlink_to(sibling / "z.png")
    refused(lambda: find_images(root), "path escapes dataset root")


def test_folders_that_cannot_be_read(tmp_path):
    assert refused(lambda: find_images(tmp_path / "gone")).startswith("no such folder: ")
    refused(lambda: find_images(paint(tmp_path / "x.png")), "x.png: not a folder")
    refused(lambda: find_images(tmp_path / "a\0b"), "a\\x00b: cannot be read")


def test_permission_denied(ordinary):
    paint(ordinary / "0.png")
    locked = ordinary / "deep" / "locked"
    paint(locked / "1.png")
    assert len(find_images(ordinary)) == 2
    locked.chmod(0)
    assert refused(lambda: find_images(ordinary)) == f"permission denied: {locked}"
    assert refused(lambda: is_folder(locked / "more" / "x")) == f"permission denied: {locked}"
    assert is_folder(locked)
    assert not is_folder(ordinary / "0.png")
    assert not is_folder(ordinary / "gone")


def test_folders_of_systems_are_passed_over_and_said(ordinary):
    """Some of them nobody but the system may enter; a part may be called so all the same."""
    paint(ordinary / "a" / "0.png")
    for name in ("lost+found", "a/@eaDir", "$RECYCLE.BIN", "System Volume Information"):
        paint(ordinary / name / "1.png")
    (ordinary / "lost+found").chmod(0)
    assert names(find_images(ordinary), ordinary) == ["a/0.png"]
    assert passed_over(ordinary) == [
        "passed over: folders of the system: $RECYCLE.BIN, System Volume Information, a/@eaDir, lost+found"
    ]


def test_pictures_of_other_kinds_are_counted(tmp_path):
    paint(tmp_path / "0.png")
    for name in ("1.WEBP", "a/2.webp", "a/3.jfif", "notes.txt", ".4.webp", "5"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert passed_over(tmp_path) == [
        "passed over: 1 .jfif, 2 .webp files (allowed: .png .jpg .jpeg .bmp .tif .tiff)",
    ]
    assert passed_over(tmp_path / "gone") == []


def test_of_many_names_the_first_are_said(tmp_path):
    assert listed(map(str, range(10))) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert listed(map(str, range(3000))) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, and 2990 more"


def test_a_folder_without_images_is_refused_or_an_empty_list(tmp_path):
    (tmp_path / "notes.txt").touch()
    assert list_images(tmp_path, root=tmp_path) == []
    assert refused(lambda: find_images(tmp_path)) == (
        f"no images found in {tmp_path} (allowed: .png .jpg .jpeg .bmp .tif .tiff)"
    )


def test_the_root_decides_what_lies_outside(tmp_path):
    pool = paint(tmp_path / "pool" / "0.png")
    (tmp_path / "part" / "good").mkdir(parents=True)
    link = tmp_path / "part" / "good" / "0.png"
    link.symlink_to(pool)
    assert list_images(tmp_path / "part", root=tmp_path) == [link]
    refused(lambda: list_images(tmp_path / "part" / "good", root=tmp_path / "part"), "path escapes dataset root")
    refused(lambda: list_images(tmp_path / "pool", root=tmp_path / "part"), "path escapes dataset root")
    check_inside(link, str(tmp_path))
    refused(lambda: check_inside(link, str(tmp_path / "part")), f"{link}: path escapes dataset root")


def test_a_folder_has_its_own_name_from_wherever_it_is_seen(tmp_path, monkeypatch):
    part = tmp_path / "a" / "geraet"
    part.mkdir(parents=True)
    monkeypatch.chdir(part)
    assert folder_name(part / ".") == folder_name(part.relative_to(part)) == "geraet"
    assert folder_name(part / "..") == "a"
    assert folder_name(part / "gera\u0308t") == "ger\u00e4t"


def test_names_in_messages_are_of_one_line():
    assert listed(["b\n", "a"]) == "b\\n, a"


@pytest.fixture
def followed():
    follow_links(True)
    yield
    follow_links(False)


def test_links_are_followed_where_that_is_asked_for(tmp_path, followed):
    """To folders, out of the root, twice to the same place; one that leads back ends there, a dangling one is told."""
    root, pool = tmp_path / "root", tmp_path / "pool"
    paint(pool / "a" / "0.png")
    paint(tmp_path / "x.png")
    root.mkdir()
    for name, target in (("1", pool), ("2", pool / "a"), ("y.png", tmp_path / "x.png"), ("up", tmp_path)):
        (root / name).symlink_to(target)
    (pool / "back").symlink_to(root)
    assert names(find_images(root), root) == ["1/a/0.png", "2/0.png", "up/pool/a/0.png", "up/x.png", "y.png"]
    (root / "gone.png").symlink_to(root / "nothing.png")
    refused(lambda: find_images(root), "gone.png: dangling link")


def test_links_that_lead_nowhere_or_into_a_closed_folder_are_one_line(ordinary):
    """Whatever looks at them first: labels, a layout, or the list of images."""
    part = ordinary / "part"
    paint(part / "0.png")
    paint(ordinary / "closed" / "x.png")
    (part / "loop").symlink_to("loop")
    for read in (find_images, good_images, read_samples, is_category):
        refused(lambda read=read: read(part), "loop: dangling link") if read is not is_category else read(part)
    (part / "loop").unlink()
    (part / "l.png").symlink_to(ordinary / "closed" / "x.png")
    (ordinary / "closed").chmod(0)
    for read in (find_images, good_images, read_samples):
        refused(lambda read=read: read(part), "permission denied: ")
