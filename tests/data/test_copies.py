"""Near copies: what counts as one photograph, measured on real and made-up pictures, and which use is told."""

import io
import time

import numpy as np
import pytest
from PIL import Image

from blemish.data import copies
from blemish.data.copies import FORGIVEN, LIMIT, Use, describe, distances, near_limit, structure, thumbnail, used_images
from blemish.data.records import DataPart, ImagePart
from blemish.data.sources import identify
from blemish.method.pyramid import read_known, read_pyramid


def flat(value):
    return bytes([value] * 256).hex()


def noise(seed, *, low=60, high=200):
    return np.random.default_rng(seed).integers(low, high, 256, dtype=np.uint8)


def picture(seed, side=200):
    """A smooth picture of its own: a photograph of some part."""
    coarse = Image.fromarray(np.random.default_rng(seed).integers(30, 220, (9, 12, 3), dtype=np.uint8))
    return coarse.resize((side * 4 // 3, side), Image.Resampling.BICUBIC)


def part(letter, small=None):
    return ImagePart(sha256=letter * 64, thumbnail=small or noise(ord(letter)).tobytes().hex())


def test_a_thumbnail_is_the_image_in_256_grey_bytes():
    image = np.zeros((160, 320, 3), np.uint8)
    image[:, 160:] = (255, 0, 0)
    small = np.frombuffer(bytes.fromhex(thumbnail(image)), np.uint8).reshape(16, 16)
    red = 76  # 0.299 * 255
    assert (small[:, :7] == 0).all()
    assert (small[:, 9:] == red).all()
    assert thumbnail(np.full((33, 47, 3), 9, np.uint8)) == flat(9)


def test_distances_are_those_of_a_slow_second_version():
    ones = [noise(seed) for seed in range(3)] + [noise(3, low=0, high=20)]
    others = [np.minimum(ones[0].astype(int) + offset, 255).astype(np.uint8) for offset in (0, 1, 2, 5)] + [noise(9)]
    found = distances([one.tobytes().hex() for one in ones], [other.tobytes().hex() for other in others])
    assert found.shape == (4, 5)
    for i, one in enumerate(ones):
        for j, other in enumerate(others):
            difference = one.astype(float) - other
            common = difference.mean()
            over = max(abs(common) - FORGIVEN, 0)
            slow = np.sqrt(((difference - common) ** 2).mean() + over**2)
            assert found[i, j] == pytest.approx(slow, abs=1e-6)
    assert found[0, :3] == pytest.approx([0, 0, 0], abs=1e-6)  # brighter by up to two levels is no difference
    assert found[0, 3] == pytest.approx(3)


def test_a_difference_in_one_place_counts_by_its_share():
    changed = bytearray([100] * 256)
    changed[7] = 132
    expected = np.sqrt((32**2 / 256) - (32 / 256) ** 2)
    assert distances([flat(100)], [changed.hex()])[0, 0] == pytest.approx(expected)


def saved_again(image, *, quality=95, scale=1.0, brighter=0):
    size = round(image.width * scale), round(image.height * scale)
    resized = image if scale == 1 else image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.clip(np.asarray(resized).astype(int) + brighter, 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
    return np.array(Image.open(stream))


def test_an_image_saved_again_is_near_and_another_is_not():
    pictures = [picture(seed) for seed in range(6)]
    small = [thumbnail(np.array(one)) for one in pictures]
    for index, one in enumerate(pictures):
        for quality, scale, brighter in [(75, 1, 0), (95, 1, 1), (75, 0.5, 1), (85, 2, 0), (75, 0.9, 1)]:
            again = thumbnail(saved_again(one, quality=quality, scale=scale, brighter=brighter))
            row = distances([again], small)[0]
            assert row[index] < LIMIT / 1.5
            assert np.delete(row, index).min() > 5 * LIMIT
        assert distances([thumbnail(np.array(one)[:, ::-1])], small).min() > LIMIT  # mirrored: another one


def test_crops_that_share_most_of_a_texture_are_not_near():
    from blemish.demo.textures import _photograph

    for name in ("brick", "grass", "gravel"):
        photograph = np.repeat(_photograph(name)[..., None], 3, axis=2)
        crops = [thumbnail(photograph[row : row + 160, 40:200]) for row in (100, 103, 108, 150)]
        found = distances(crops, crops)
        assert found[~np.eye(4, dtype=bool)].min() > 1.5 * LIMIT


def test_the_limit_shrinks_where_good_images_are_all_alike():
    far = [noise(seed).tobytes().hex() for seed in range(10)]
    assert near_limit(far) == LIMIT
    assert near_limit(far[:1]) == near_limit([]) == near_limit([far[0], far[0]]) == LIMIT
    base = np.full(256, 100, np.uint8)
    rigid = []
    for index in range(10):  # from each other: two pixels that differ by 8
        one = base.copy()
        one[index] = 108
        rigid.append(one.tobytes().hex())
    between = np.sqrt(2 * 64 / 256)
    assert near_limit(rigid) == pytest.approx(between / 2)
    assert near_limit(rigid * 3) == pytest.approx(between / 2)  # the same file twice is no neighbour


def test_a_photograph_of_a_part_in_a_fixture_is_no_copy():
    rng = np.random.default_rng(0)
    shot = np.asarray(picture(3).resize((64, 64))).astype(float)

    def photograph():
        return thumbnail(np.clip(np.rint(shot + rng.normal(0, 2, shot.shape)), 0, 255).astype(np.uint8))

    good = [ImagePart(sha256=f"{index:064x}", thumbnail=photograph()) for index in range(30)]
    new = [ImagePart(sha256=f"{index:064x}", thumbnail=photograph()) for index in range(100, 110)]
    nearest = distances([image.thumbnail for image in new], [image.thumbnail for image in good]).min(axis=1)
    assert nearest.max() < LIMIT
    assert used_images(new, DataPart(train=good, held_out=[])) == []
    same = [ImagePart(sha256="f" * 64, thumbnail=good[4].thumbnail), good[5]]
    data = DataPart(train=good[:20], held_out=good[20:])
    assert used_images(same, data) == [Use(0, "train", False), Use(1, "train", True)]


def test_each_use_is_told_with_the_same_picture_first():
    data = DataPart(train=[part("a"), part("b")], held_out=[part("c")], weighed=[part("d")], tested=[part("e")])
    near = {letter: noise(ord(letter)) + np.uint8(1) for letter in "abcde"}
    images = [
        part("0"),
        part("b"),
        part("1", near["c"].tobytes().hex()),
        part("2", near["d"].tobytes().hex()),
        part("e"),
        part("d", near["a"].tobytes().hex()),  # weighed as this file, trained as a copy: the file counts
    ]
    expected = [Use(1, "train", True), Use(2, "held_out", False), Use(3, "weighed", False), Use(5, "weighed", True)]
    assert used_images(images, data) == expected
    assert used_images(images, data, kinds=("tested",)) == [Use(4, "tested", True)]
    assert used_images(images, data, kinds=("train", "tested")) == [
        Use(1, "train", True), Use(4, "tested", True), Use(5, "train", False)]  # fmt: skip
    assert used_images(images, data, kinds=()) == []
    assert used_images([], data) == []
    assert used_images(images, DataPart(train=[], held_out=[])) == []


def test_a_file_used_twice_has_the_earlier_use():
    data = DataPart(train=[part("a")], held_out=[], weighed=[part("a"), part("b")], tested=[part("b")])
    uses = used_images([part("a"), part("b")], data, kinds=copies.WORDS)
    assert uses == [Use(0, "train", True), Use(1, "weighed", True)]


def test_uses_are_counted_by_kind_with_an_example():
    uses = [Use(0, "weighed", False), Use(1, "train", False), Use(2, "train", True), Use(3, "train", True)]
    names = ["a.png", "b\n.png", "c.png", "d.png"]
    assert describe(uses, names) == (
        "2 trained (same picture), such as c.png; 1 trained (near copy), such as b\\n.png; "
        "1 weighed (near copy), such as a.png"
    )
    assert describe([], names) == ""


def test_many_images_take_no_time_and_blocks_change_nothing(monkeypatch):
    data = np.random.default_rng(0).integers(0, 256, (1000, 256), dtype=np.uint8)
    known = [ImagePart(sha256=f"{index:064x}", thumbnail=row.tobytes().hex()) for index, row in enumerate(data)]
    new = [ImagePart(sha256="f" * 64, thumbnail=(row ^ 1).tobytes().hex()) for row in data]
    started = time.process_time()
    uses = used_images(new, DataPart(train=known, held_out=[]))
    assert time.process_time() - started < 2
    assert uses == [Use(index, "train", False) for index in range(1000)]
    limit = near_limit([image.thumbnail for image in known[:20]])
    monkeypatch.setattr(copies, "BLOCK", 7)
    assert near_limit([image.thumbnail for image in known[:20]]) == limit
    assert used_images(new[:20], DataPart(train=known[:20], held_out=[])) == uses[:20]


def test_files_and_arrays_are_identified_by_content_in_one_decode(tmp_path, monkeypatch):
    picture(1, side=60).save(tmp_path / "a.png")
    array = np.array(picture(2, side=60))
    given = [tmp_path / "a.png", array]
    decoded = []
    whole = np.array(picture(1, side=60))
    monkeypatch.setattr("blemish.method.pyramid.load", lambda one, bits, roi: decoded.append(one) or whole)
    known, _, _, pyramid = read_known(given, [64, 96])
    assert len(decoded) == 2
    assert {size: tuple(images.shape) for size, images in pyramid.items()} == {
        64: (2, 3, 64, 64), 96: (2, 3, 96, 96)}  # fmt: skip
    monkeypatch.undo()
    known, looks, shapes, pyramid = read_known(given, [64])
    assert known == identify(given)
    assert shapes == [(60, 80), (60, 80)]
    assert looks.shape == (2, 64, 64)
    assert known[1].thumbnail == thumbnail(array)
    assert known[0].sha256 != known[1].sha256
    assert bool((pyramid[64] == read_pyramid(given, [64])[64]).all())


def sheet(seed):
    """A plain sheet: one grey, shaded by a lamp that stands elsewhere each time, and the noise of a camera."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:96, 0:96] / 48 - 1
    light = 128 + rng.normal() + rng.normal() * x + rng.normal() * y
    return np.clip(light + rng.normal(0, 0.5, light.shape), 0, 255).astype(np.uint8)


def test_plain_sheets_are_no_copies_of_each_other():
    """Nothing of them can be told again but the picture itself."""
    pictures = [np.repeat(sheet(seed)[..., None], 3, axis=2) for seed in range(60)]
    small = [thumbnail(one) for one in pictures]
    known = [ImagePart(sha256=f"{index:064x}", thumbnail=one) for index, one in enumerate(small)]
    good, new = known[:36], known[36:]
    nearest = distances(small[36:], small[:36]).min(axis=1)
    assert (nearest < near_limit(small[:36])).any()  # what would call them near copies
    data = DataPart(train=good, held_out=[])
    assert used_images(new, data) == []
    assert used_images([new[0], good[7]], data) == [Use(1, "train", True)]


def test_structure_is_what_no_smooth_surface_is():
    y, x = np.mgrid[0:16, 0:16]
    smooth = np.clip(90 + 3 * x - 2 * y + 0.2 * x * y, 0, 255)
    assert structure(np.rint(smooth).astype(np.uint8).tobytes().hex()) < 0.4  # the rounding
    stripes = smooth + np.where(x % 2, 8, -8)
    assert structure(np.rint(stripes).astype(np.uint8).tobytes().hex()) == pytest.approx(8, abs=0.2)
