"""The cache of the teacher's features against stages run by hand, its bound by hand, and what it leaves behind."""

import errno
import inspect
import tempfile
from pathlib import Path
from threading import Event

import pytest
import torch

from blemish import Detector
from blemish.cli import app as cli
from blemish.cli.commands.fit import fit
from blemish.errors import InputError, StorageError
from blemish.method.learning import features
from blemish.method.learning.features import cached_features, check_cache, half_sizes
from blemish.method.learning.progress import StopError
from blemish.method.learning.training import RECIPES
from blemish.model.workspace import fit_to_file
from tiny import untrained_teacher

FAST = RECIPES["fast"]
IMAGES = 20  # more than one batch of features


@pytest.fixture(scope="module")
def teacher():
    return untrained_teacher()


@pytest.fixture(scope="module")
def images():
    random = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (IMAGES, 3, 64, 64), dtype=torch.uint8, generator=random)


def by_hand(teacher, images, *, between=lambda feature: feature):
    """{level: f^level} of all images, stage by stage; `between` is done to every feature."""
    found = {level: [] for level in range(1, 6)}
    with torch.inference_mode():
        for batch in images.split(features.FEATURE_BATCH):
            feature = teacher.normalise(batch.contiguous(memory_format=torch.channels_last))
            for level, parts in found.items():
                feature = between(teacher.stages[level - 1](feature))
                parts.append(feature)
    return {level: torch.cat(parts) for level, parts in found.items()}


@pytest.mark.parametrize("levels", [(2,), (5,), (2, 3, 4, 5), (2, 4), (3, 5)])
def test_features_are_the_teachers_whichever_level_they_start_from(teacher, images, levels):
    expected, known = by_hand(teacher, images), None
    for level in levels:
        x, y = cached_features(teacher, images, level, bfloat16=False, known=known)
        assert torch.equal(x, expected[level - 1])
        assert torch.equal(y, expected[level])
        assert x.is_contiguous(memory_format=torch.channels_last)
        assert y.is_contiguous(memory_format=torch.channels_last)
        known = level, y


def test_a_feature_at_hand_is_not_copied(teacher, images):
    _, known = cached_features(teacher, images, 2, bfloat16=False)
    x, _ = cached_features(teacher, images, 3, bfloat16=False, known=(2, known))
    assert x is known


@pytest.mark.parametrize("levels", [(2, 3, 4), (2, 5), (4,)])
def test_in_float16_every_feature_is_rounded_once_whichever_level_they_start_from(teacher, images, levels):
    expected, known = by_hand(teacher, images, between=lambda feature: feature.half().float()), None
    exact = by_hand(teacher, images)
    for level in levels:
        x, y = cached_features(teacher, images, level, bfloat16=False, half=True, known=known)
        assert x.dtype == y.dtype == torch.float16
        assert torch.equal(x.float(), expected[level - 1])
        assert torch.equal(y.float(), expected[level])
        assert 0 < (y.float() - exact[level]).norm() < 2**-10 * exact[level].norm()
        known = level, y


def test_bfloat16_features_are_near_the_exact_ones(teacher, images):
    """As on a GPU; 8 bits of mantissa, and a few roundings in a row."""
    exact = by_hand(teacher, images)
    x, y = cached_features(teacher, images, 3, bfloat16=True)
    assert x.dtype == y.dtype == torch.bfloat16
    for found, level in ((x, 2), (y, 3)):
        assert 0 < (found.float() - exact[level]).norm() < 0.03 * exact[level].norm()
    again, _ = cached_features(teacher, images, 4, bfloat16=True, known=(3, y))
    assert again is y


def test_features_beyond_float16_are_refused(teacher, images):
    def large(module, given, feature):
        return feature * 1e7

    handle = teacher.stages[1].register_forward_hook(large)
    try:
        with pytest.raises(InputError, match="features of level 2 exceed the range of float16; allow more --cache-gb"):
            cached_features(teacher, images, 2, bfloat16=False, half=True)
        _, y = cached_features(teacher, images, 2, bfloat16=False)
        assert y.max() > 65504
    finally:
        handle.remove()


def test_what_does_not_fit_is_kept_in_float16_and_what_does_not_fit_then_is_refused(teacher):
    """By hand, Lite0 at 64: f^1 has 16 x 32 x 32 values, f^2 24 x 16 x 16, f^3 40 x 8 x 8: level 2 needs most.

    For 1000 images that is 22,528 x 1000 x 4 bytes = 0.0901 GB; at 128 four times as much; level 3 alone at 64: 0.0348.
    """

    def halved(cache_gb, *, sizes=(128, 64), levels=(2, 3), recipe=FAST):
        return half_sizes(teacher, sizes, levels, recipe=recipe, images=1000, cache_gb=cache_gb)

    assert halved(0.3605) == []
    assert halved(0.3604) == [128]
    assert halved(0.1803) == [128]
    assert halved(0.0902, sizes=(64,)) == []
    assert halved(0.0901, sizes=(64,)) == [64]
    assert halved(0.0349, sizes=(64,), levels=(3,)) == []
    assert halved(0.0348, sizes=(64,), levels=(3,)) == [64]
    expected = (
        "cache-gb: module 128/2 needs 0.19 GB for the features of 1000 images in float16, 0.1802 are allowed; "
        "allow more, or use fewer images or smaller sizes"
    )
    with pytest.raises(InputError) as error:
        halved(0.1802)
    assert str(error.value) == expected


def test_bfloat16_has_half_the_room_already(teacher, monkeypatch):
    monkeypatch.setattr(features, "autocasts", lambda recipe, device: device == "cpu")
    assert half_sizes(teacher, (64,), (2,), recipe=FAST, images=1000, cache_gb=0.0451) == []
    with pytest.raises(InputError, match=r"module 64/2 needs 0\.05 GB for the features of 1000 images in bfloat16"):
        half_sizes(teacher, (64,), (2,), recipe=FAST, images=1000, cache_gb=0.0450)


@pytest.mark.parametrize("cache_gb", [0, -1, float("nan"), float("inf"), True, "8", None])
def test_a_bound_that_is_none_is_named(cache_gb):
    with pytest.raises(InputError, match=r"cache-gb: .+ is not allowed, expected a number of gigabytes above 0"):
        check_cache(cache_gb)


def test_features_in_a_temporary_file_are_the_same_and_it_has_no_name(teacher, images, tmp_path, monkeypatch):
    expected = by_hand(teacher, images)
    monkeypatch.setattr(features, "RAM_FOR_FEATURES", 4 * IMAGES * 24 * 16 * 16 - 1)  # f^2 just does not fit
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    x, y = cached_features(teacher, images, 3, bfloat16=False)
    mapped = [line for line in Path("/proc/self/maps").read_text().splitlines() if str(tmp_path) in line]
    assert len(mapped) == 1
    assert mapped[0].endswith("(deleted)")
    assert not list(tmp_path.iterdir())
    assert torch.equal(x, expected[2])
    assert torch.equal(y, expected[3])
    assert x.is_contiguous(memory_format=torch.channels_last)
    del x
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_a_full_disk_is_named_and_leaves_nothing(teacher, images, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "RAM_FOR_FEATURES", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    class Full:
        def __init__(self, file):
            self.file, self.name = file, file.name

        def __enter__(self):
            self.file.__enter__()
            return self

        def __exit__(self, *error):
            self.file.__exit__(*error)

        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    real = features.NamedTemporaryFile
    monkeypatch.setattr(features, "NamedTemporaryFile", lambda **options: Full(real(**options)))
    needed = 4 * IMAGES * 16 * 32 * 32
    with pytest.raises(StorageError, match=f"features need {needed} bytes of temporary files: No space left on device"):
        cached_features(teacher, images, 2, bfloat16=False)
    assert not list(tmp_path.iterdir())


def test_a_fit_with_little_room_says_so_and_scores_nearly_the_same(short, good_arrays):
    """Of 10 images that train: 22,528 values each at 64, so 0.901 MB in float32."""
    seen, options = [], {"sizes": (64, 96), "levels": (2, 3), "score": "whitened"}
    exact = Detector(**options).fit(good_arrays)
    fitted = Detector(**options).fit(good_arrays, cache_gb=0.0015, report=seen.append)
    assert "float16_features" not in exact.header_.recipe
    assert fitted.header_.recipe["float16_features"] == "96"
    own = [report for report in seen if not report.module.startswith("fold")]
    assert {(report.module, report.half) for report in own} == {
        ("64/2", False), ("64/3", False), ("96/2", True), ("96/3", True)
    }  # fmt: skip
    one, other = (dict(zip(("64/2", "64/3", "96/2", "96/3"), found.modules_, strict=True)) for found in (exact, fitted))
    for name, module in one.items():
        ours, theirs = (torch.cat([p.flatten() for p in m.student.parameters()]) for m in (module, other[name]))
        assert torch.equal(ours, theirs) == (name in ("64/2", "64/3"))
        assert (ours - theirs).norm() < 0.1 * theirs.norm()


def test_modules_kept_with_other_features_are_not_taken_up(short, good_arrays, tmp_path):
    options, trained = {"sizes": (64,), "levels": (2,)}, []
    Detector(**options).fit(good_arrays, workspace=tmp_path)
    Detector(**options).fit(good_arrays, workspace=tmp_path, cache_gb=0.0005, report=trained.append)
    assert [report.module for report in trained if not report.module.startswith("fold")] == ["64/2"]
    assert len(list(tmp_path.iterdir())) == 2


def test_the_command_line_passes_the_bound_on_and_names_a_wrong_one(short, brick, tmp_path, capsys):
    def fit(cache_gb):
        out = tmp_path / "m.safetensors"
        command = ["fit", str(brick), "--out", str(out), "--sizes", "64", "--levels", "2", "--cache-gb", cache_gb]
        return cli.main(command), capsys.readouterr().err.splitlines()[-1]

    assert fit("0") == (2, "error: cache-gb: 0.0 is not allowed, expected a number of gigabytes above 0")
    code, line = fit("0.001")
    assert code == 2
    assert line.startswith("error: cache-gb: module 64/2 needs 0.01 GB for the features of ")
    assert not list(tmp_path.iterdir())
    assert fit("0.003")[0] == 0


def test_reports_say_when_features_are_in_float16(short, brick, tmp_path, capsys):
    arguments = ["fit", str(brick), "--out", str(tmp_path / "m.safetensors"), "--sizes", "64", "--levels", "2"]
    assert cli.main([*arguments, "--cache-gb", "0.003"]) == 0
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("module 1 of 1, 64/2: trained")]
    assert "images/s, features in float16, " in line


def test_the_default_bound_is_the_same_everywhere():
    defaults = [
        inspect.signature(function).parameters["cache_gb"].default for function in (Detector.fit, fit_to_file, fit)
    ]
    assert defaults == [8.0] * 3


def test_who_makes_features_ends_when_told_so(teacher, images):
    stop = Event()
    ran = teacher.stages[1].register_forward_hook(lambda *_: stop.set())
    try:
        with pytest.raises(StopError):
            cached_features(teacher, images, 2, bfloat16=False, stop=stop)
    finally:
        ran.remove()
