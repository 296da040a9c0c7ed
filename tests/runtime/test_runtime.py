"""The runtime: the detector's scores without torch, its self-test, many threads, bounded memory."""

import json
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest

from blemish.cli.app import main
from blemish.data import sources as pyramid
from blemish.errors import InputError, ModelFileError
from blemish.images.read import read_image
from blemish.runtime import Runtime, engines
from blemish.runtime import runtime as runtime_module
from bundles import copied, edit, fields, refusal, seal

HEAVY = ("torch", "torchvision", "timm", "scipy", "skimage", "matplotlib", "onnx", "onnxscript")

WITHOUT = """
import json, sys
from pathlib import Path

HEAVY = set(sys.argv[1].split(","))

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HEAVY:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
bundle, images, arrays, out, model = map(Path, sys.argv[2:])

import numpy as np
from blemish.cli.app import main
from blemish.runtime import Runtime

runtime = Runtime.load(bundle, threads=1)
given = list(np.load(arrays).values())
found = runtime.predict(given) + runtime.predict(images)
said = [[str(one.path), one.score, one.verdict, [[*r.box, r.area, r.peak] for r in one.regions]] for one in found]
np.savez(out / "maps.npz", *(one.score_map for one in found))
(out / "said.json").write_text(json.dumps(said))
code = main(["predict", str(bundle), str(images), "--out", str(out / "results")])
refused = main(["predict", str(model), str(images), "--out", str(out / "none")])
print(json.dumps([code, refused, sorted(HEAVY & set(sys.modules))]))
"""


@pytest.fixture
def runtime(bundle):
    return Runtime.load(bundle, threads=1, self_test=False)


@pytest.fixture(scope="module")
def arrays(brick):
    """Images in memory: in colour, grey, with alpha, of 16 bits, of another shape."""
    first, second = (read_image(path) for path in sorted((brick / "test").rglob("*.png"))[:2])
    alpha = np.dstack([second, np.full(second.shape[:2], 255, np.uint8)])
    return [first, first[..., 0], alpha, first[..., 1].astype(np.uint16) * 257, np.ascontiguousarray(second[:100, 20:])]


@pytest.fixture(scope="module")
def folder(brick):
    return brick / "test" / "good"


def test_without_torch_the_very_same_is_said(bundle, model, arrays, folder, tmp_path):
    """In a process that cannot import what training needs, from Python and from the command line."""
    np.savez(tmp_path / "arrays.npz", *arrays)
    command = [sys.executable, "-W", "error", "-c", WITHOUT, ",".join(HEAVY)]
    done = subprocess.run(
        [*command, bundle, folder, tmp_path / "arrays.npz", tmp_path, model],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    code, refused, imported = json.loads(done.stdout.splitlines()[-1])
    assert (code, refused, imported) == (0, 2, [])
    assert "torch is not installed; pip install 'blemish[train]'" in done.stderr.splitlines()[-1]

    runtime = Runtime.load(bundle, threads=1)
    expected = [*runtime.predict(arrays), *runtime.predict(folder)]
    said, maps = json.loads((tmp_path / "said.json").read_text()), np.load(tmp_path / "maps.npz").values()
    assert len(said) == len(expected) == 11
    for one, score_map, (path, score, verdict, regions) in zip(expected, maps, said, strict=True):
        assert (str(one.path), one.score, one.verdict) == (path, score, verdict)
        assert [[*region.box, region.area, region.peak] for region in one.regions] == regions
        assert score_map.tobytes() == one.score_map.tobytes()

    lines = [json.loads(line) for line in (tmp_path / "results" / "results.jsonl").read_text().splitlines()]
    assert [line["path"] for line in lines] == [str(one.path) for one in expected[5:]]
    assert [line["verdict"] for line in lines] == [one.verdict for one in expected[5:]]
    # With other numbers of threads, sums come in another order.
    assert [line["score"] for line in lines] == pytest.approx([one.score for one in expected[5:]], abs=1e-5)
    assert len(list((tmp_path / "results" / "overlays").iterdir())) == 6


def test_scores_are_the_detectors(bundle, detector, arrays, brick):
    """For defective bricks too; the runtime computes in another order, hence 1e-5."""
    given = [*arrays, brick / "test"]
    expected, found = detector.predict(given), Runtime.load(bundle, threads=2, streams=2).predict(given)
    assert len(found) == len(expected) == 23
    for one, other in zip(expected, found, strict=True):
        assert other.path == one.path
        assert other.score == pytest.approx(one.score, abs=1e-5)
        assert other.score_map.shape == one.score_map.shape
        assert other.score_map.dtype == np.float32
        assert np.abs(other.score_map - one.score_map).max() < 1e-5
        assert other.verdict == one.verdict
    assert {one.verdict for one in found} == {"OK", "NG"}


def test_maps_are_those_of_the_predictions(runtime, detector, arrays, folder):
    predictions = runtime.predict(arrays)
    assert all(
        np.array_equal(one.score_map, score_map)
        for one, score_map in zip(predictions, runtime.score_maps(arrays), strict=True)
    )
    found = list(runtime.references([*arrays, folder]))
    side = detector.header_.reference_size
    for (source, image, reference), array in zip(found, arrays, strict=False):
        assert source is array
        assert np.array_equal(image, pyramid.load(array))
        assert (reference.map.shape, reference.map.dtype) == ((side, side), np.float32)
    assert [reference.score() for _, _, reference in found[:5]] == [one.score for one in predictions]
    assert [source for source, _, _ in found[5:]] == sorted(folder.iterdir())


def test_one_image_may_be_a_path_a_text_or_an_array(runtime, folder):
    path = folder / "000.png"
    (expected,) = runtime.predict([path])
    for given in (path, str(path), [str(path)], read_image(path), iter([path])):
        (found,) = runtime.predict(given)
        assert found.score == expected.score
    assert runtime.predict([]) == []


def tampered(found, *, golden, field, by):
    found["golden"][golden][field] += by


@pytest.mark.parametrize("golden", [0, 1, 4])
@pytest.mark.parametrize("field", ["score", "mean"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_a_score_that_is_not_the_expected_one_fails_the_self_test(bundle, tmp_path, golden, field, sign):
    folder = copied(bundle, tmp_path)
    before = fields(folder)["golden"][golden]
    edit(folder, lambda found: tampered(found, golden=golden, field=field, by=sign * 1.5 * found["tolerance"]))
    after = fields(folder)["golden"][golden]
    assert refusal(lambda: Runtime.load(folder), folder) == (
        f"self-test failed: {before['file']} scores {before['score']:.4f} (mean {before['mean']:.4f}) on this machine, "
        f"expected {after['score']:.4f} ({after['mean']:.4f}) within 0.001"
    )
    assert Runtime.load(folder, self_test=False).bundle.golden[golden].score == after["score"]


def test_a_difference_within_the_tolerance_passes(bundle, tmp_path):
    folder = copied(bundle, tmp_path)
    edit(folder, lambda found: tampered(found, golden=1, field="score", by=0.5 * found["tolerance"]))
    assert Runtime.load(folder).bundle.golden[1].score == fields(folder)["golden"][1]["score"]


def test_another_scale_or_another_picture_fails_the_self_test(bundle, tmp_path):
    folder = copied(bundle, tmp_path)
    edit(folder, lambda found: found["model"]["calibration"].update(limit=found["model"]["calibration"]["limit"] + 0.1))
    assert refusal(lambda: Runtime.load(folder), folder).startswith("self-test failed: golden/0.png scores ")
    folder = copied(bundle, tmp_path / "other")
    (folder / "golden" / "3.png").write_bytes((folder / "golden" / "4.png").read_bytes())
    seal(folder)
    assert refusal(lambda: Runtime.load(folder), folder).startswith("self-test failed: golden/3.png scores ")


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, slice(None)])
def test_numbers_that_are_not_finite_fail_the_self_test(bundle, monkeypatch, wrong, where):
    real = engines.OnnxEngine.run

    def broken(engine, images):
        found, *rest = real(engine, images)
        found = found.copy()
        found[where] = wrong
        return [found, *rest]

    monkeypatch.setattr(engines.OnnxEngine, "run", broken)
    assert refusal(lambda: Runtime.load(bundle), bundle).startswith("self-test failed: golden/0.png scores ")


def test_the_command_line_can_leave_the_self_test_out(bundle, folder, tmp_path, capsys):
    copy = copied(bundle, tmp_path)
    edit(copy, lambda found: tampered(found, golden=2, field="score", by=0.1))
    command = ["predict", str(copy), str(folder / "000.png"), "--out", str(tmp_path / "out")]
    assert main(command) == 3
    assert capsys.readouterr().err.startswith(f"error: {copy}: self-test failed: golden/2.png scores ")
    assert not (tmp_path / "out").exists()
    assert main([*command, "--no-self-test"]) == 0
    assert json.loads((tmp_path / "out" / "results.jsonl").read_text())["path"] == str(folder / "000.png")


@pytest.mark.parametrize("streams", [1, 2])
def test_any_number_of_threads_may_use_one_runtime(bundle, arrays, streams):
    runtime = Runtime.load(bundle, threads=streams, streams=streams, self_test=False)
    expected = [one.score_map for one in runtime.predict(arrays)]
    start, wrong = threading.Barrier(8, timeout=20), []

    def work(shift):
        order = [(index + shift) % len(arrays) for index in range(len(arrays))]
        start.wait()
        for index, one in zip(order, runtime.predict([arrays[index] for index in order]), strict=True):
            if one.score_map.tobytes() != expected[index].tobytes():
                wrong.append((shift, index))

    threads = [threading.Thread(target=work, args=(shift,)) for shift in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert start.n_waiting == 0
    assert not start.broken
    assert wrong == []


class Loads:
    """Counts the images that are decoded, and those of them that are still in memory."""

    def __init__(self, monkeypatch):
        self.count, self.alive, self.lock = 0, weakref.WeakSet(), threading.Lock()
        monkeypatch.setattr(runtime_module, "load", self)

    def __call__(self, source, bits, roi):
        image = Image(pyramid.load(source))
        with self.lock:
            self.count += 1
            self.alive.add(image)
        return image


class Image(np.ndarray):
    """An array that a WeakSet can hold: equal to nothing but itself."""

    def __new__(cls, array):
        return array.copy().view(cls)

    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other


@pytest.mark.parametrize("streams", [1, 2, 3])
def test_few_images_are_decoded_ahead_and_none_is_kept(bundle, folder, monkeypatch, streams):
    runtime = Runtime.load(bundle, threads=streams, streams=streams, self_test=False)
    loads = Loads(monkeypatch)
    maps = runtime.references([folder / "000.png"] * 30)
    assert loads.count == 0
    for used in range(20):
        _, image, _ = next(maps)
        assert used < loads.count <= used + 2 * streams
        assert len(loads.alive) <= 2 * streams + 1
    before = threading.active_count()
    maps.close()
    assert loads.count <= 19 + 2 * streams
    assert threading.active_count() == before - streams
    del image
    assert len(loads.alive) <= 1


def test_images_are_given_by_a_generator_too(runtime, arrays):
    expected = [one.score for one in runtime.predict(arrays)]
    assert [one.score for one in runtime.predict(array for array in arrays)] == expected


@pytest.mark.parametrize("streams", [1, 3])
def test_order_is_kept_whatever_takes_longest(bundle, folder, monkeypatch, streams):
    """A large image first, which takes longest to decode: the others must wait for it."""
    runtime = Runtime.load(bundle, threads=streams, streams=streams, self_test=False)
    paths = sorted(folder.iterdir())
    release = threading.Event()
    real = pyramid.load

    def slow(source, bits, roi):
        image = real(source)
        if streams == 1:
            return image
        if source == paths[0]:
            assert release.wait(10)
        if source == paths[2]:
            release.set()
        return image

    monkeypatch.setattr(runtime_module, "load", slow)
    order = [*paths, *paths[1:][::-1]]
    assert [one.path for one in runtime.predict(order)] == order


@pytest.mark.parametrize("streams", [1, 2])
def test_an_image_that_cannot_be_used_is_named_in_its_turn(bundle, folder, tmp_path, streams):
    runtime = Runtime.load(bundle, threads=streams, streams=streams, self_test=False)
    bad = tmp_path / "bad.png"
    bad.write_bytes((folder / "000.png").read_bytes()[:3000])
    given = [folder / "000.png", folder / "001.png", bad, folder / "002.png"]
    found, before = [], threading.active_count()
    with pytest.raises(InputError) as caught:
        found.extend(source for source, _, _ in runtime.references(given))
    assert str(caught.value).startswith(f"{bad}: ")
    assert found == given[:2]
    with pytest.raises(InputError, match=r"bad\.png: "):
        runtime.predict(given)
    with pytest.raises(InputError, match=r"^no such file: .*gone.png$"):
        runtime.predict([folder / "000.png", tmp_path / "gone.png"])
    with pytest.raises(InputError, match="image array: float64 not supported"):
        runtime.score_maps([np.zeros((64, 64))])
    with pytest.raises(InputError, match="images: int is not allowed"):
        runtime.predict([3])
    assert threading.active_count() == before
    (again,) = runtime.predict(given[0])
    assert again.path == given[0]


@pytest.mark.parametrize("name", ["threads", "streams"])
@pytest.mark.parametrize("value", [0, -1, 1025, 1.0, 2.5, "2", True, float("nan"), [1]])
def test_numbers_of_threads_that_make_no_sense(tmp_path, name, value):
    """Said before the folder is looked at."""
    with pytest.raises(InputError) as caught:
        Runtime.load(tmp_path / "nothing", **{name: value})
    assert str(caught.value) == f"{name}: {value!r} is not allowed, expected a whole number from 1 to 1024"


def test_all_cores_are_used_unless_told(bundle, monkeypatch):
    asked = []
    monkeypatch.setattr(runtime_module, "available_threads", lambda: 5)
    monkeypatch.setattr(runtime_module, "open_engine", lambda *given, **options: asked.append(options))
    Runtime.load(bundle, self_test=False)
    Runtime.load(bundle, threads=3, streams=2, self_test=False)
    assert asked == [{"threads": 5, "streams": 1}, {"threads": 3, "streams": 2}]


def test_a_folder_may_be_a_text_and_relative(bundle, monkeypatch):
    monkeypatch.chdir(bundle.parent)
    assert Runtime.load(bundle.name).streams == Runtime.load(str(bundle)).streams == 1
    monkeypatch.chdir(bundle)
    assert Runtime.load(".").header_ == Runtime.load(Path(os.curdir)).header_
    with pytest.raises(ModelFileError, match=r"^golden: not a bundle: it has no bundle.json"):
        Runtime.load("golden")
