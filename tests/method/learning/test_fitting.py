"""All modules of a pyramid: how often the teacher runs, how much is kept at a time, what an interruption changes."""

import dataclasses
import shutil
import weakref
from collections import Counter
from threading import Event

import pytest
import torch

from blemish.errors import InputError
from blemish.method.learning import features, fitting
from blemish.method.learning.fitting import fit_modules
from blemish.method.learning.progress import Clock, StopError
from blemish.method.learning.schedule import Share
from blemish.method.learning.training import RECIPES
from tiny import untrained_teacher

SIZES, LEVELS = (64, 96), (2, 3, 4)
RECIPE = dataclasses.replace(RECIPES["fast"], steps=2, warm_steps=2, crop=None)


@pytest.fixture(scope="module")
def teacher():
    return untrained_teacher()


@pytest.fixture(scope="module")
def pyramid():
    random = torch.Generator().manual_seed(1)
    return {size: torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8, generator=random) for size in SIZES}


@pytest.fixture
def runs(teacher):
    """How often each stage of the teacher has run: {level: count}."""
    counts = Counter()

    def counter(level):
        return lambda module, given, feature: counts.update([level])

    handles = [stage.register_forward_hook(counter(level)) for level, stage in enumerate(teacher.stages, 1)]
    yield counts
    for handle in handles:
        handle.remove()


def states(modules):
    return {f"{one.name} {key}": value for one in modules for key, value in one.state_dict().items()}


def assert_equal(found, expected):
    found, expected = states(found), states(expected)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize(("levels", "stages"), [((2, 3, 4), (1, 2, 3, 4)), ((4, 2), (1, 2, 3, 4)), ((3,), (1, 2, 3))])
def test_each_stage_runs_once_for_each_size(teacher, pyramid, runs, levels, stages):
    modules = fit_modules(teacher, pyramid, levels=levels, recipe=RECIPE, seed=0)
    assert [module.name for module in modules] == [f"{size}/{level}" for size in SIZES for level in sorted(levels)]
    assert runs == {stage: len(SIZES) for stage in stages}  # one batch holds all images


@pytest.fixture(scope="module", params=[(), SIZES], ids=["float32", "float16"])
def fitted(teacher, pyramid, request, tmp_path_factory):
    """What a fit gives, the folder of its kept modules, and its options."""
    folder = tmp_path_factory.mktemp("kept")
    options = {"levels": LEVELS, "recipe": RECIPE, "seed": 3, "half": request.param}
    return fit_modules(teacher, pyramid, workspace=folder, **options), folder, options


@pytest.mark.parametrize("lost", ["96-4", "96-3", "96-2"])
def test_a_module_lost_from_the_workspace_is_trained_the_same_again(teacher, pyramid, fitted, tmp_path, lost):
    """Whichever modules are restored around it, and whatever its features start from."""
    whole, folder, options = fitted
    workspace = shutil.copytree(folder, tmp_path / "kept")
    (workspace / f"{lost}.safetensors").unlink()
    trained = set()
    again = fit_modules(
        teacher, pyramid, workspace=workspace, report=lambda progress: trained.add(progress.module), **options
    )
    assert trained == {lost.replace("-", "/")}
    assert_equal(again, whole)


def test_restored_modules_need_no_features(teacher, pyramid, fitted, tmp_path, runs):
    whole, folder, options = fitted
    workspace = shutil.copytree(folder, tmp_path / "kept")
    assert_equal(fit_modules(teacher, pyramid, workspace=workspace, **options), whole)
    assert not runs
    for lost in ("96-2", "96-4"):
        (workspace / f"{lost}.safetensors").unlink()
    assert_equal(fit_modules(teacher, pyramid, workspace=workspace, **options), whole)
    assert runs == {1: 1, 2: 1, 3: 1, 4: 1}  # level 4 starts from f^2, which level 2 has left


@pytest.fixture
def watched_features(monkeypatch):
    """Returns the most bytes of features that were kept at a time."""
    kept, most = [], 0
    allocate = features._allocate

    def watched(shape, kind):
        nonlocal most
        tensor = allocate(shape, kind)
        kept.append((weakref.ref(tensor), tensor.numel() * tensor.element_size()))
        most = max(most, sum(size for tensor, size in kept if tensor() is not None))
        return tensor

    monkeypatch.setattr(features, "_allocate", watched)
    yield lambda: most
    assert all(tensor() is None for tensor, _ in kept)


@pytest.mark.parametrize(("half", "bytes_each"), [((), 4), (SIZES, 2)])
def test_never_more_than_the_features_of_the_largest_module_are_kept(
    teacher, pyramid, watched_features, half, bytes_each
):
    """By hand at 96: 16 x 48 x 48 values of f^1 and 24 x 24 x 24 of f^2 for each of 4 images, as half_sizes counts."""
    fit_modules(teacher, pyramid, levels=LEVELS, recipe=RECIPE, seed=0, half=half)
    assert watched_features() == bytes_each * 4 * (16 * 48 * 48 + 24 * 24 * 24)


def test_a_larger_size_starts_from_the_next_smaller_one(teacher, pyramid, monkeypatch):
    starts = {}
    real = fitting.train_module

    def watched(student, *arguments, seed, warm, **options):
        starts[seed] = (warm, {key: value.clone() for key, value in student.state_dict().items()})
        return real(student, *arguments, seed=seed, warm=warm, **options)

    monkeypatch.setattr(fitting, "train_module", watched)
    images = pyramid | {128: pyramid[64].repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)}
    modules = {module.name: module for module in fit_modules(teacher, images, levels=(2, 3), recipe=RECIPE, seed=0)}
    assert [warm for warm, _ in starts.values()] == [0, 0, 1, 1, 2, 2]
    for size, smaller in ((96, 64), (128, 96)):
        for level in (2, 3):
            _, start = starts[fitting.module_seed(0, size, level)]
            for key, value in modules[f"{smaller}/{level}"].student.state_dict().items():
                assert torch.equal(start[key], value), key


@pytest.mark.parametrize("jobs", [2, 3])
def test_modules_that_learn_side_by_side_learn_the_same(teacher, pyramid, fitted, jobs):
    whole, _, options = fitted
    share = Share(jobs, torch.get_num_threads())
    assert_equal(fit_modules(teacher, pyramid, share=share, **options), whole)


def test_side_by_side_no_more_than_is_allowed_is_kept_of_features(teacher, pyramid, watched_features):
    """Room for the features of 96/2, by hand 50,688 values for each of 4 images, and nothing beside them."""
    room = 4 * 4 * (16 * 48 * 48 + 24 * 24 * 24)
    fit_modules(
        teacher, pyramid, levels=LEVELS, recipe=RECIPE, seed=0, share=Share(3, 1, room / 1e9)
    )  # fmt: skip
    assert watched_features() <= room


def test_what_fails_in_one_module_ends_all_and_is_said(teacher, pyramid, monkeypatch):
    real, ended, begun = fitting.train_module, [], Event()

    def watched(student, x, y, *, seed, **options):
        if seed == fitting.module_seed(0, 64, 4):
            assert begun.wait(20)
            raise InputError("the loss is not finite")
        begun.set()
        try:
            return real(student, x, y, seed=seed, **options)
        except StopError:
            ended.append(seed)
            raise

    monkeypatch.setattr(fitting, "train_module", watched)
    recipe = dataclasses.replace(RECIPE, steps=100_000)
    with pytest.raises(InputError, match="module 64/4: the loss is not finite"):
        fit_modules(teacher, pyramid, levels=LEVELS, recipe=recipe, seed=0, share=Share(2, 1))
    assert ended == [fitting.module_seed(0, 64, 2)]


def test_the_clock_tells_of_all_modules_at_work():
    told, stop = [], Event()
    costs = {(64, 2): 1.0, (64, 3): 2.0, (96, 2): 5.0}
    clock = Clock(costs, [96], told.append, stop)
    clock.skip((64, 2))
    one, other = clock.of((96, 2)), clock.of((64, 3))
    for step in range(1, 26):
        other(step, 50, 0.1, 7.0)
    one(1, 40, 0.3, 9.0)
    one(20, 40, 0.3, 9.0)
    one(40, 40, 0.3, 9.0)
    assert [(now.module, now.index, now.modules, now.step, now.half, now.kept) for now in told] == [
        ("64/3", 3, 3, 20, False, 1), ("96/2", 2, 3, 20, True, 1), ("96/2", 2, 3, 40, True, 1)
    ]  # fmt: skip
    assert [now.share_done for now in told] == [(1 + 2 * 0.4) / 8, (1 + 1 + 2.5) / 8, (1 + 1 + 5) / 8]
    stop.set()
    with pytest.raises(StopError):
        other(26, 50, 0.1, 7.0)
