"""What a path names is loaded: a model file or a bundle."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from blemish import Detector
from blemish.cli.options import load_scorer
from blemish.errors import InputError
from blemish.runtime import Runtime, engines, runtime
from blemish.verdict.threshold import Thresholds


def refused(*arguments, **options):
    with pytest.raises(InputError) as caught:
        load_scorer(*arguments, **options)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_file_is_a_detector_and_a_folder_a_runtime(model, bundle, detector):
    found = load_scorer(model)
    assert type(found) is Detector
    assert found.header_.data == detector.header_.data
    found = load_scorer(bundle)
    assert type(found) is Runtime
    assert found.header_ == detector.header_
    assert found.thresholds_ == detector.thresholds_


@pytest.mark.parametrize(
    ("threads", "images", "streams"),
    [(4, 1, 1), (4, 3, 3), (4, 4, 4), (4, 1000, 4), (1, 9, 1), (64, 1000, 16), (2, 0, 1)],
)
def test_as_many_images_at_the_same_time_as_there_are_threads_for(bundle, monkeypatch, threads, images, streams):
    monkeypatch.setattr(engines, "available_threads", lambda: threads)
    monkeypatch.setattr(runtime, "available_threads", lambda: threads)
    assert load_scorer(bundle, images=images, self_test=False).streams == streams


def test_arguments_are_handed_on(model, bundle, monkeypatch):
    asked, wanted = [], []
    stub = SimpleNamespace(set_thresholds=wanted.append)
    monkeypatch.setattr(Detector, "load", lambda path, **options: asked.append((path, options)) or stub)
    monkeypatch.setattr(Runtime, "load", lambda path, **options: asked.append((path, options)) or stub)
    load_scorer(model, weights=Path("w"), device="cuda", images=7, self_test=False)
    load_scorer(bundle, device="cpu", images=1, self_test=False, wanted=Thresholds(0.3, 0.4))
    monkeypatch.setattr(engines, "available_threads", lambda: 5)
    load_scorer(bundle)
    assert asked == [
        (model, {"weights": Path("w"), "device": "cuda"}),
        (bundle, {"streams": 1, "self_test": False}),
        (bundle, {"streams": 5, "self_test": True}),
    ]
    assert wanted == [None, Thresholds(0.3, 0.4), None]


def test_what_a_bundle_cannot_use_is_refused_before_it_is_read(bundle, tmp_path, monkeypatch):
    monkeypatch.setattr(Runtime, "load", lambda path, **options: pytest.fail("it was read"))
    for folder in (bundle, tmp_path):
        assert refused(folder, weights=tmp_path / "weights.pt") == (
            "weights: a bundle holds those of its teacher; leave the option away"
        )
        for device in ("cuda", "cuda:1", ""):
            assert refused(folder, device=device) == (
                f"device: {device} is not allowed for a bundle, which runs on the CPU; use auto or cpu"
            )


def test_no_such_path(tmp_path):
    assert str(tmp_path / "nothing") in refused(tmp_path / "nothing")


def test_a_machine_for_bundles_says_what_a_model_file_needs(model, monkeypatch):
    """As after pip install 'blemish[runtime]': no torch, and nothing that needs it is imported yet."""
    for name in [name for name in sys.modules if name.startswith("blemish.model.assembly")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(sys.modules["blemish.model"], "assembly", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert refused(model) == "torch is not installed; pip install 'blemish[train]', or export the model to a bundle"
