"""Tiles from the fit to the bundle: what they find, that no seam shows, that everything else counts images."""

import resource
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from blemish import Detector
from blemish.data.sources import identify
from blemish.errors import InputError
from blemish.images.roi import Interest
from blemish.images.tiles import grid
from blemish.method.learning import fitting, training
from blemish.model.arguments import Arguments
from blemish.model.fit import fit
from blemish.model.header import Header
from blemish.runtime import Runtime

SIZES, LEVELS = (64, 128), (2, 3)
TALL, WIDE, TILE = 192, 480, 128


@pytest.fixture(scope="module", autouse=True)
def quick():
    """Steps enough to find a defect; `few` are enough for all else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(training.RECIPES, "fast", replace(training.RECIPES["fast"], steps=100, warm_steps=50))
        yield


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setitem(training.RECIPES, "fast", replace(training.RECIPES["fast"], steps=4, warm_steps=4))


def sheet(seed, *, height=TALL, width=WIDE):
    """A woven sheet, (H, W, 3): fine threads, which a squashed image loses, and the noise of a camera."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] + random.uniform(0, 12, 2)[:, None, None]
    grey = 130 + 25 * np.sin(2 * np.pi * x / 6) * np.sin(2 * np.pi * y / 6) + random.normal(0, 5, (height, width))
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def spotted(image, top, left, *, side=8):
    """The same with a knot of 8 px, as bright as the sheet, but without threads."""
    found = image.copy()
    found[top : top + side, left : left + side] = 130
    return found


@pytest.fixture(scope="module")
def sheets():
    """Nine that train and five that are held out."""
    return [sheet(seed) for seed in range(14)]


@pytest.fixture(scope="module")
def tiled(sheets):
    return Detector(sizes=SIZES, levels=LEVELS, tiles=(TILE, "25%"), seed=1).fit(sheets[:9], held_out=sheets[9:])


@pytest.fixture(scope="module")
def bundle(tiled, sheets, tmp_path_factory):
    path = tmp_path_factory.mktemp("tiled") / "bundle"
    tiled.export(path, to="onnx", good=sheets)
    return path


PLACES = [(20, 40), (90, 105), (90, 70), (150, 300), (180, 468)]  # one lies where four tiles meet, one in a corner


def test_a_small_defect_is_found_where_a_squashed_image_loses_it(tiled, sheets):
    squashed = Detector(sizes=SIZES, levels=LEVELS, tiles=None, seed=1).fit(sheets[:9], held_out=sheets[9:])
    images = [spotted(sheet(100 + index), *place) for index, place in enumerate(PLACES)]
    for detector, found in ((tiled, True), (squashed, False)):
        predictions = detector.predict(images)
        hits = []
        for prediction, (top, left) in zip(predictions, PLACES, strict=True):
            y, x = np.unravel_index(prediction.score_map.argmax(), prediction.score_map.shape)
            hits.append(prediction.verdict != "OK" and abs(y - top - 4) < 12 and abs(x - left - 4) < 12)
        assert all(hits) if found else not any(hits), (found, hits)
    good = [prediction.score for prediction in tiled.predict([sheet(200 + index) for index in range(4)])]
    assert max(good) < min(prediction.score for prediction in tiled.predict(images))


def test_regions_are_where_the_defect_is(tiled):
    (prediction,) = tiled.predict([spotted(sheet(300), 90, 240)])
    region = max(prediction.regions, key=lambda one: one.peak)
    x, y, width, height = region.box
    assert x - 12 <= 240 <= 248 <= x + width + 12
    assert y - 12 <= 90 <= 98 <= y + height + 12
    assert width <= 40
    assert height <= 40


def test_no_seam_shows_against_shifted_grids(tiled):
    """The map of an image and that of the same pixels in an image cut 60 px later, whose tiles lie elsewhere.

    Each has its seams where the other has none: at the seams they differ no more than in between.
    """
    image = sheet(400, width=WIDE + 60)
    header = tiled.header_
    (_, _, whole), (_, _, shifted) = tiled.references([image[:, :WIDE], image[:, 60:]])
    levels = [header.scale.levels(one.map) for one in (whole, shifted)]
    scale = WIDE / header.reference_size
    centres = (np.arange(header.reference_size) + 0.5) * scale
    there = np.stack([np.interp(centres - 60, centres, row) for row in levels[1]])
    both = (centres > 60 + 20) & (centres < WIDE - 20)
    difference = np.abs(levels[0] - there)[:, both]
    spread = header.calibration.limit - header.calibration.good
    begins = sorted({left for _, left, _ in grid(TALL, WIDE, header.tiles)})
    edges = np.array([*begins[1:], *(begin + TILE for begin in begins[:-1])])
    edges = np.concatenate([edges, edges + 60])
    near = (np.abs(centres[both][:, None] - edges) < 4).any(axis=1)
    assert 0.1 < near.mean() < 0.6
    assert difference[:, near].mean() < 1.15 * difference[:, ~near].mean()
    assert difference.mean() < 0.1 * spread
    steps = np.abs(np.diff(levels[0], axis=1))
    at = (np.abs((centres[1:] - scale / 2)[:, None] - edges[: len(edges) // 2]) < scale).any(axis=1)
    assert steps[:, at].mean() < 1.15 * steps[:, ~at].mean()


def test_header_hashes_and_held_out_scores_are_of_images(tiled, sheets):
    header = tiled.header_
    assert (header.tiles.size, header.tiles.overlap, header.tiles.map_size) == (TILE, 0.25, 128)
    assert header.reference_size == 480  # 480 px at 128 px for 128
    hashes = [one.sha256 for one in identify(sheets)]
    assert sorted(one.sha256 for one in header.data.train) == sorted(hashes[:9])
    held_out = header.calibration.held_out
    assert sorted(one.sha256 for one in held_out) == sorted(hashes[9:])
    known = dict(zip(hashes, sheets, strict=True))
    for image in held_out:
        ((_, _, found),) = tiled.references([known[image.sha256]])
        assert found.map.shape == (480, 480)
        assert image.score == pytest.approx(found.score(), abs=1e-6)


def test_where_few_are_held_out_others_score_images_by_their_tiles(few, sheets, monkeypatch):
    learnt = []
    train = fitting.fit_modules
    monkeypatch.setattr(
        fitting,
        "fit_modules",
        lambda teacher, pyramid, **rest: learnt.append(pyramid) or train(teacher, pyramid, **rest),
    )
    header = Detector(sizes=(64,), levels=(2,), tiles=TILE).fit(sheets[:9]).header_
    assert (len(header.data.held_out), header.calibration.crossed) == (3, 3)
    assert {one.sha256 for one in header.calibration.held_out} == {one.sha256 for one in identify(sheets[:9])}
    assert [len(pyramid[64]) for pyramid in learnt] == [60, 60]  # ten tiles of the three held out and of three more
    tiles = [{tile.numpy().tobytes() for tile in pyramid[64]} for pyramid in learnt]
    assert len(tiles[0] & tiles[1]) == 30


def test_model_file_and_bundle_score_alike(tiled, bundle, tmp_path):
    tiled.save(tmp_path / "m.safetensors")
    again, runtime = Detector.load(tmp_path / "m.safetensors"), Runtime.load(bundle, threads=2, streams=2)
    assert again.tiles == (TILE, 0.25)
    assert again.header_.tiles == runtime.header_.tiles == tiled.header_.tiles
    images = [sheet(1), spotted(sheet(2), 100, 100), sheet(3)[:, :300], sheet(5, height=64, width=64)]
    for expected, same, near in zip(*(one.predict(images) for one in (tiled, again, runtime)), strict=True):
        assert np.array_equal(same.score_map, expected.score_map)
        np.testing.assert_allclose(near.score_map, expected.score_map, atol=1e-5)
        assert near.score == pytest.approx(expected.score, abs=1e-5)
        assert near.verdict == same.verdict == expected.verdict


def test_a_header_without_tiles_says_nothing_of_them(detector, tiled):
    assert "tiles" not in detector.header_.model_dump()
    assert "tiles" not in detector.header_.model_dump_json()
    assert Header.model_validate_json(tiled.header_.model_dump_json()) == tiled.header_
    assert Header.model_validate(tiled.header_.model_dump()) == tiled.header_


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reference_size": 96}, "must be at least the map_size of tiles, 128"),
        ({"tiles": None}, "must be one of sizes, 64, 128"),
        ({"tiles": {"map_size": 256}}, "map_size must be one of sizes, 64, 128, got 256"),
        ({"tiles": {"size": 0}}, "Input should be greater than or equal to 32"),
        ({"tiles": {"overlap": float("nan")}}, "Input should be a finite number"),
    ],
)
def test_header_and_tiles_have_to_agree(tiled, change, message):
    fields = tiled.header_.model_dump()
    for name, value in change.items():
        fields[name] = fields[name] | value if isinstance(value, dict) else value
    with pytest.raises(ValueError, match=message):
        Header.model_validate(fields)


def test_a_draw_of_tiles_is_seeded_and_said(few, sheets):
    def fitted(seed, cache_gb):
        said = []
        options = Detector(sizes=(64,), levels=(2,), tiles=(TILE, 0.25), seed=seed).get_params()
        found = fit(Arguments(**options), sheets[:4], held_out=sheets[4:6], workspace=None, report=None,
                    say=said.append, cache_gb=cache_gb)  # fmt: skip
        return said[0], found.model.modules[0].mean

    (every, _), (some, one), (_, same), (_, other) = (fitted(*way) for way in ((0, 1), (0, 3e-3), (0, 3e-3), (1, 3e-3)))
    assert every == "40 tiles of 4 images train"
    assert some.endswith(" of 40 tiles train: what --cache-gb carries, drawn with seed 0")
    assert 5 < int(some.split()[0]) < 40
    assert bool((one == same).all())
    assert not bool((one == other).all())


def test_a_region_of_interest_is_of_the_image(few, sheets):
    """The left half of the image counts, not of each tile: what lies beyond it changes no statistics."""
    left = np.zeros((TALL, WIDE), bool)
    left[:, : WIDE // 2] = True
    detector = Detector(sizes=(64,), levels=(2,), tiles=(TILE, 0.25)).fit(
        sheets[:5], held_out=sheets[5:8], roi=left, ignore_border="3%"
    )
    inside = detector.header_.roi.inside
    assert inside.shape == (256, 256)
    assert not inside[:, 128:].any()
    assert not inside[:7].any()
    before, there, here = detector.predict(
        [sheet(90), spotted(sheet(90), 80, 400), spotted(sheet(90), 80, 100, side=30)]
    )
    assert not there.score_map[:, WIDE // 2 :].any()
    assert there.score == before.score
    assert here.score > before.score
    with pytest.raises(InputError, match=r"^image 192x192 vs 480x192 of the mask roi array"):
        detector.predict([sheet(0, width=TALL)])


def test_tiles_beyond_the_region_of_interest_are_not_learnt(few, sheets):
    """Of columns at 0, 88, 176, 264 and 352 the first three see the left 48 %."""
    left = np.zeros((TALL, WIDE), bool)
    left[:, :230] = True
    said = []
    options = Detector(sizes=(64,), levels=(2,), tiles=(TILE, 0.25)).get_params()
    fit(Arguments(**options), sheets[:4], held_out=sheets[4:6], workspace=None, report=None, say=said.append,
        cache_gb=1, interest=Interest(roi=left))  # fmt: skip
    assert said[0] == "24 tiles of 4 images train"


def test_calibrate_takes_tiles_too(tiled, tmp_path):
    fresh = [sheet(500 + index) for index in range(3)]
    other = Detector.load(_saved(tiled, tmp_path)).calibrate(fresh)
    for image, given in zip(other.header_.calibration.held_out, fresh, strict=True):
        ((_, _, found),) = tiled.references([given])
        assert image.score == pytest.approx(found.score(), abs=1e-6)
    assert other.header_.tiles == tiled.header_.tiles
    assert Detector.load(_saved(tiled, tmp_path)).calibrate(fresh, ignore_border=0.25).header_.roi.share < 0.3


def test_weigh_takes_tiles_too(tiled, sheets, tmp_path):
    root = tmp_path / "data"
    for index in range(4):
        image, mask = spotted(sheet(600 + index), 90, 100 * index, side=12), np.zeros((TALL, WIDE), np.uint8)
        mask[90:102, 100 * index : 100 * index + 12] = 255
        for path, one in ((root / "test" / "knot", image), (root / "ground_truth" / "knot", mask)):
            path.mkdir(parents=True, exist_ok=True)
            Image.fromarray(one).save(path / f"{index}{'_mask' if one is mask else ''}.png")
    (root / "test" / "good").mkdir()
    Image.fromarray(sheet(700)).save(root / "test" / "good" / "0.png")
    (root / "train" / "good").mkdir(parents=True)
    Image.fromarray(sheet(701)).save(root / "train" / "good" / "0.png")
    weighed = Detector.load(_saved(tiled, tmp_path)).weigh(root, good=sheets, keep=2)
    assert len(weighed.modules_) == 2
    assert weighed.header_.tiles == tiled.header_.tiles
    assert weighed.predict([spotted(sheet(800), 90, 105)])[0].verdict != "OK"


def _saved(detector, folder):
    path = folder / "saved.safetensors"
    detector.save(path)
    return path


def test_auto_is_the_default_and_leaves_small_square_images_alone(detector):
    assert Detector().tiles == "auto"
    assert detector.header_.tiles is None
    with pytest.raises(InputError, match=r"^tiles: 481 px is larger than the images, the median is 480x192; expected "):
        Detector(sizes=(64,), levels=(2,), tiles=481).fit([sheet(0), sheet(1), sheet(2)])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss is in kilobytes there")
def test_memory_does_not_grow_with_the_image(tiled):
    """Scoring nine times as many tiles takes no more than the larger image and its maps do."""
    small, large = sheet(0), sheet(0, height=3 * TALL, width=3 * WIDE)
    list(tiled.references([small]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    list(tiled.references([large]))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < 4 * large.nbytes + 50_000_000
