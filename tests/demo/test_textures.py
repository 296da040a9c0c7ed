import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from blemish.demo import textures
from blemish.demo.textures import AREAS, CATEGORIES, CROP, KINDS, make_textures, paint
from blemish.errors import InputError, StorageError

SMALL = {"train": 3, "validation": 2, "test": 2, "defects": 2}


def read(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.mode == "L"
        return np.asarray(image)


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def textured(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(60, 200, shape, dtype=np.uint8)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("textures")
    assert make_textures(root, **SMALL) == [root / category for category in CATEGORIES]
    return root


def test_layout_and_counts(made: Path) -> None:
    expected = set()
    for category in CATEGORIES:
        expected |= {f"{category}/train/good/{number:03d}.png" for number in range(3)}
        expected |= {
            f"{category}/{part}/good/{number:03d}.png" for part in ("validation", "test") for number in range(2)
        }
        for kind in ("scratch", "stain", "hole", "patch"):
            expected |= {f"{category}/test/{kind}/{number:03d}.png" for number in range(2)}
            expected |= {f"{category}/ground_truth/{kind}/{number:03d}_mask.png" for number in range(2)}
    assert set(contents(made)) == expected
    assert {read(path).shape for path in made.rglob("*.png")} == {(CROP, CROP)}


def test_default_numbers(tmp_path: Path) -> None:
    make_textures(tmp_path)
    counts = {
        folder: len(list((tmp_path / "brick").glob(f"{folder}/*.png")))
        for folder in ("train/good", "validation/good", "test/good", "test/scratch", "ground_truth/patch")
    }
    assert list(counts.values()) == [60, 24, 12, 6, 6]


def place(crop: np.ndarray, clean: np.ndarray, photograph: np.ndarray) -> tuple[int, int]:
    """Row and first column in the photograph of a crop, of which only the clean pixels count, mirrored or not."""
    for turned, pixels in ((crop, clean), (crop[:, ::-1], clean[:, ::-1])):
        rows, columns = np.nonzero(pixels)
        probe = np.linspace(0, len(rows) - 1, 60).astype(int)
        offsets = np.array(photograph.shape) - CROP + 1
        alike = np.ones(offsets, dtype=bool)
        for row, column in zip(rows[probe], columns[probe], strict=True):
            alike &= photograph[row : row + offsets[0], column : column + offsets[1]] == turned[row, column]
        for top, left in np.argwhere(alike):
            window = photograph[top : top + CROP, left : left + CROP]
            if (window[pixels] == turned[pixels]).all():
                return int(top), int(left)
    raise AssertionError("not a crop of the photograph")


def test_crops_are_of_the_photograph_and_share_no_pixel_between_the_splits(made: Path) -> None:
    originals = {"brick": data.brick(), "gravel": data.gravel(), "grass": np.rot90(data.grass(), -1)}
    for category, photograph in originals.items():
        used = np.full(photograph.shape, "", dtype=object)
        for path in sorted(made.glob(f"{category}/[tv]*/*/*.png")):
            crop, kind, split = read(path), path.parent.name, path.parent.parent.name
            mask = made / category / "ground_truth" / kind / f"{path.stem}_mask.png"
            clean = read(mask) == 0 if mask.exists() else np.ones(crop.shape, dtype=bool)
            top, left = place(crop, clean, photograph)
            window = used[top : top + CROP, left : left + CROP]
            assert set(np.unique(window.astype(str))) <= {"", split}
            window[:] = split
        assert set(np.unique(used.astype(str))) == {"", "train", "validation", "test"}


def test_crops_reach_the_borders_of_their_area_and_cross_none() -> None:
    photograph = np.zeros((512, 512), dtype=np.uint8)
    for value, area in enumerate(AREAS.values(), start=1):
        assert not photograph[area].any()
        photograph[area] = 10 * value
        photograph[area][[0, -1]] = photograph[area][:, [0, -1]] = 10 * value + 1
    parts = textures._good_parts(photograph, dict.fromkeys(AREAS, 2000), rng=np.random.default_rng(0))
    assert len(parts) == 6000
    for value, split in enumerate(AREAS, start=1):
        crops = np.stack([part for name, part in parts.items() if name.startswith(f"{split}/")])
        assert set(np.unique(crops)) == {10 * value, 10 * value + 1}
        edges = crops[:, 0, 5:-5], crops[:, -1, 5:-5], crops[:, 5:-5, 0], crops[:, 5:-5, -1]
        assert all((edge == 10 * value + 1).all(axis=1).any() for edge in edges)


def test_masks_are_black_and_white_and_of_a_sensible_size(made: Path) -> None:
    for path in made.rglob("*_mask.png"):
        mask = read(path)
        assert set(np.unique(mask)) == {0, 255}
        assert 0.003 < (mask > 0).mean() < 0.15, path


def test_same_seed_same_bytes_other_seed_other_bytes(made: Path, tmp_path: Path) -> None:
    make_textures(tmp_path / "again", **SMALL)
    assert contents(tmp_path / "again") == contents(made)
    make_textures(tmp_path / "again", **SMALL)  # over itself
    assert contents(tmp_path / "again") == contents(made)
    make_textures(tmp_path / "other", seed=1, **SMALL)
    other = contents(tmp_path / "other")
    assert other.keys() == contents(made).keys()
    assert not any(other[name] == content for name, content in contents(made).items())


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert len(make_textures(tmp_path, train=1, test=1, defects=1)) == 3


@pytest.mark.parametrize("shape", [(160, 160), (160, 160, 3), (64, 200), (300, 90, 3), (32, 32, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_paint_changes_the_mask_and_nothing_else(kind: str, shape: tuple[int, ...]) -> None:
    image = textured(shape)
    before = image.copy()
    changed, covered = 0, 0
    for seed in range(8):
        painted, mask = paint(image, kind, rng=np.random.default_rng(seed))
        assert (painted.dtype, painted.shape) == (np.uint8, shape)
        assert (mask.dtype, mask.shape) == (np.bool_, shape[:2])
        differs = (painted != image).reshape(*shape[:2], -1).any(axis=2)
        assert not (differs & ~mask).any()
        assert 0 < mask.sum() < 0.4 * mask.size
        changed, covered = changed + int(differs.sum()), covered + int(mask.sum())
    assert (image == before).all()
    # The rest has the colour of the paint already; a patch is as likely to as two textures are.
    assert changed > 0.93 * covered


@pytest.mark.parametrize("kind", KINDS)
def test_paint_is_decided_by_its_generator(kind: str) -> None:
    image = textured((96, 96))
    one, two, other = (paint(image, kind, rng=np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert (one[0] == two[0]).all()
    assert (one[1] == two[1]).all()
    assert (one[1] != other[1]).any()


def test_a_hole_is_dark_and_a_stain_lets_the_texture_through() -> None:
    image = np.full((128, 128, 3), 180, dtype=np.uint8)
    image[::2] = 120
    for seed in range(5):
        painted, mask = paint(image, "hole", rng=np.random.default_rng(seed))
        assert np.median(painted[mask]) < 60
        painted, mask = paint(image, "stain", rng=np.random.default_rng(seed))
        light, dark = painted[::2][mask[::2]], painted[1::2][mask[1::2]]
        assert (painted <= image).all()
        assert abs(light.mean() / dark.mean() - 120 / 180) < 0.03
        assert (painted[mask][:, 0] >= painted[mask][:, 2]).all()  # brownish: blue is taken away first


def test_a_scratch_is_long_and_thin_and_of_either_tone() -> None:
    image = np.full((160, 160), 120, dtype=np.uint8)
    tones = set()
    for seed in range(12):
        painted, mask = paint(image, "scratch", rng=np.random.default_rng(seed))
        rows, columns = np.nonzero(mask)
        length = np.hypot(np.ptp(rows), np.ptp(columns))
        assert 60 < length < 150
        assert mask.sum() / length < 7
        extreme = painted[mask].astype(int) - 120
        assert len(np.unique(extreme)) > 10  # smooth edges, not one flat colour
        tones.add(bool(abs(extreme.max()) > abs(extreme.min())))
    assert tones == {False, True}


@pytest.mark.parametrize("foreign_shape", [(160, 160), (400, 200, 3), (40, 40)])
def test_a_patch_is_cut_from_the_foreign_picture(foreign_shape: tuple[int, ...]) -> None:
    image = np.full((160, 160), 90, dtype=np.uint8)
    painted, mask = paint(image, "patch", rng=np.random.default_rng(1), foreign=np.full(foreign_shape, 201, np.uint8))
    assert (painted[mask] == 201).mean() > 0.75
    assert (painted[mask] > 90).mean() < 1  # with a shadow at the edge


@pytest.mark.parametrize(
    ("image", "kind", "message"),
    [
        (textured((64, 64)), "dent", "kind: 'dent' is unknown, allowed are scratch, stain, hole, patch"),
        (textured((64, 31)), "hole", "image: uint8 of shape (64, 31)"),
        (textured((64, 64, 4)), "hole", "image: uint8 of shape (64, 64, 4)"),
        (textured((64,)), "hole", "image: uint8 of shape (64,)"),
        (textured((64, 64)) / 255, "hole", "image: float64 of shape (64, 64)"),
    ],
)
def test_paint_refuses(image: np.ndarray, kind: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        paint(image, kind, rng=np.random.default_rng(0))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_a_foreign_picture_must_be_one() -> None:
    with pytest.raises(InputError, match=r"^foreign: float64 of shape \(9, 9\)"):
        paint(textured((64, 64)), "patch", rng=np.random.default_rng(0), foreign=np.zeros((9, 9)))


@pytest.mark.parametrize(("name", "number"), [("seed", -1), ("train", 0), ("test", 0), ("defects", 0)])
def test_numbers_are_bounded(tmp_path: Path, name: str, number: int) -> None:
    with pytest.raises(InputError, match=f"^{name}: {number} is not allowed"):
        make_textures(tmp_path, **{name: number})
    assert not list(tmp_path.iterdir())


def test_other_files_are_neither_mixed_in_nor_overwritten(tmp_path: Path) -> None:
    mine = tmp_path / "gravel" / "test" / "good" / "mine.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    with pytest.raises(InputError, match=r"mine\.png: not from this data set"):
        make_textures(tmp_path, **SMALL)
    assert contents(tmp_path) == {"gravel/test/good/mine.png": b"mine"}


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "brick").write_bytes(b"")
    with pytest.raises(StorageError, match=r"brick/\S+: cannot be made a folder: Not a directory"):
        make_textures(tmp_path, **SMALL)


def test_photographs_are_the_bundled_ones() -> None:
    assert {category: textures._photograph(category).shape for category in CATEGORIES} == dict.fromkeys(
        CATEGORIES, (512, 512)
    )
