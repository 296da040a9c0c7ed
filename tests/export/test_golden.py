"""Golden images: a PNG and a JPEG for every bundle, and the user's own photographs as they are."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from blemish.data.copies import thumbnail
from blemish.data.records import ImagePart
from blemish.export.golden import HEIGHT, LARGEST, PHOTOGRAPHS, WIDTH, blotted, golden_files
from blemish.images.read import read_image
from tiny import tiny_detector

SHADES = np.add.outer(np.arange(190), np.arange(250)).astype(np.uint8)


def header_of(*thumbnails):
    """The header of a model whose held-out images look like that."""
    header = tiny_detector(["64/2"], sizes=[64])[0].header_
    parts = [ImagePart(sha256=f"{index:064x}", thumbnail=one) for index, one in enumerate(thumbnails)]
    return header.model_copy(update={"data": header.data.model_copy(update={"held_out": parts})})


def decoded(files, folder):
    """What the reader of images makes of each file."""
    found = []
    for name, data in files:
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        found.append(read_image(path))
    return found


def test_two_are_painted_over_what_the_model_knows(tmp_path):
    flat, ramp = "c8" * 256, bytes(range(256)).hex()
    files = golden_files(header_of(flat, "10" * 256, ramp), [])
    assert [name for name, _ in files] == ["golden/0.png", "golden/1.jpg"]
    kinds = [Image.open(BytesIO(data)).format for _, data in files]
    assert kinds == ["PNG", "JPEG"]
    plain, spoilt = decoded(files, tmp_path)
    assert plain.shape == spoilt.shape == (HEIGHT, WIDTH, 3) == (190, 250, 3)
    assert plain.mean() == pytest.approx(0xC8 - 0.5, abs=0.1)  # cut, not rounded
    assert plain.std() == pytest.approx(6, abs=0.2)
    # The second looks like the last of the held-out ones, but for the blot.
    small = np.frombuffer(bytes.fromhex(thumbnail(spoilt)), np.uint8).reshape(16, 16).astype(int)
    away = np.ones((16, 16), bool)
    away[4:8, 4:9] = False
    assert np.abs(small - np.arange(256).reshape(16, 16))[away].max() <= 12
    blot = spoilt[66:80, 86:104].reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(blot, [20, 25, 30], atol=3)


def test_they_are_the_same_every_time_and_none_is_like_the_other():
    header = header_of("80" * 256)
    first, second = golden_files(header, []), golden_files(header, [])
    assert first == second
    plain, spoilt = (np.asarray(Image.open(BytesIO(data)), int) for _, data in first)
    assert np.abs(plain - spoilt)[:60].mean() > 4  # other noise


def test_a_model_that_names_no_image_has_grey_ones(tmp_path):
    plain, _ = decoded(golden_files(header_of(), []), tmp_path)
    assert plain.mean() == pytest.approx(0x80 - 0.5, abs=0.1)


def test_photographs_are_taken_as_they_are(tmp_path):
    saved = []
    for kind in ("JPEG", "BMP", "TIFF", "PNG"):
        saved.append(tmp_path / f"{kind}.png")  # whatever the name says
        Image.fromarray(SHADES).save(saved[-1], kind)
    files = golden_files(header_of(), saved)
    assert len(files) == 2 + PHOTOGRAPHS + 1 == 5
    assert [name for name, _ in files[2:]] == ["golden/2.jpg", "golden/3.bmp", "golden/4.png"]
    for (_, data), path in zip(files[2:4], saved, strict=False):
        assert data == path.read_bytes()
    *_, first, second, spoilt = decoded(files, tmp_path)
    np.testing.assert_array_equal(first, read_image(saved[0]))
    np.testing.assert_array_equal(second, read_image(saved[1]))
    np.testing.assert_array_equal(spoilt, blotted(first, seed=2))


def test_a_large_photograph_is_made_small(tmp_path):
    path = tmp_path / "large.jpg"
    Image.fromarray(np.resize(SHADES, (700, 2 * LARGEST))).save(path)
    files = golden_files(header_of(), [path])
    assert [name for name, _ in files[2:]] == ["golden/2.png", "golden/3.png"]
    assert [found.shape for found in decoded(files, tmp_path)[2:]] == [(350, LARGEST, 3)] * 2


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_an_array_becomes_a_png(tmp_path, channels):
    array = np.resize(SHADES, (64, 80, *channels))
    files = golden_files(header_of(), [array])
    assert [name for name, _ in files] == ["golden/0.png", "golden/1.jpg", "golden/2.png", "golden/3.png"]
    found = decoded(files, tmp_path)[2]
    np.testing.assert_array_equal(found, np.broadcast_to(array.reshape(64, 80, -1), (64, 80, 3)))


def test_blots_are_rectangles_of_one_colour_on_a_copy():
    image = np.full((100, 200, 3), 128, np.uint8)
    found = blotted(image, seed=3)
    assert (image == 128).all()
    assert found.shape == image.shape
    changed = (found != 128).any(axis=2)
    assert 4 * 10 * 20 // 4 <= changed.sum() <= 4 * 33 * 66
    assert 1 <= len(np.unique(found[changed], axis=0)) <= 4
    assert np.array_equal(blotted(image, seed=3), found)
    assert not np.array_equal(blotted(image, seed=4), found)
