"""Weighing a fitted detector by labelled defects: what changes, what stays, and what is refused."""

import numpy as np
import pytest
from safetensors import safe_open

from blemish import Detector
from blemish.cli.app import main
from blemish.data.datasets import test_samples as samples_of
from blemish.data.sources import load
from blemish.errors import InputError
from blemish.method.imitation import combine
from blemish.method.pyramid import stack
from blemish.method.scoring import module_maps
from blemish.weighing.costs import Costs
from blemish.weighing.findings import _folds, spread
from blemish.weighing.front import front
from blemish.weighing.labelled import LabelledMaps, label
from tiny import tell
from trees import pixel_hashes


@pytest.fixture
def own(model):
    """A detector of the test's own; the shared one must not change."""
    return Detector.load(model)


def test_labels_weigh_all_modules_and_scale_and_threshold_are_set_anew(own, brick):
    before, maps = own.header_, own.score_maps(brick / "test" / "stain")
    assert own.weigh(brick, good=brick) is own
    header, found = own.header_, own.weighed_
    assert [module.name for module in own.modules_] == ["64/2", "64/3", "128/2", "128/3"]
    assert sum(module.weight for module in own.modules_) == pytest.approx(1, abs=1e-9)
    assert [part.weight for part in header.modules] == [module.weight for module in own.modules_]
    assert [line.weight for line in found.lines] == [module.weight for module in own.modules_]
    assert [line.bare for line in found.lines] == pytest.approx([part.weight for part in before.modules])
    weighing = header.weighing
    assert (weighing.objective, weighing.labelled, weighing.defective, weighing.modules) == ("logistic", 18, 12, 4)
    paths = [sample.path for sample in samples_of(brick)]
    assert [image.sha256 for image in header.data.weighed] == sorted(pixel_hashes(paths))
    assert header.data.train == before.data.train
    good = list((brick / "train" / "good").iterdir())
    names = {image.sha256 for image in header.data.held_out}
    held = [path for path, digest in zip(good, pixel_hashes(good), strict=True) if digest in names]
    scores = sorted(prediction.score for prediction in own.predict(held))
    assert sorted(header.calibration.scores) == pytest.approx(scores, abs=1e-6)
    assert own.thresholds_.review == pytest.approx(scores[-2], abs=1e-6)
    same = [[(one.name, one.sha256) for one in part.calibration.held_out] for part in (header, before)]
    assert same[0] == same[1]
    assert header.calibration.limit != before.calibration.limit
    assert not np.array_equal(own.score_maps(brick / "test" / "stain")[0], maps[0])


def test_figures_are_those_of_the_maps_and_labels_gain_on_their_own_images(own, brick):
    from blemish.evaluation.metrics import pixel_metrics

    samples = samples_of(brick)
    labelled = label(own.model_, samples, score="whitened")
    own.weigh(brick, good=brick)
    found = own.weighed_
    pyramid = stack([load(sample.path) for sample in samples], [64, 128])
    maps = module_maps(own.model_.teacher, own.modules_, pyramid, score="whitened")
    weights = [module.weight for module in own.modules_]
    combined = combine(maps, weights, size=128).numpy()
    expected = pixel_metrics(list(combined), list(labelled.masks))
    for key in ("aupro", "pixel_auroc"):
        assert found.figures["kept"][key] == pytest.approx(expected[key], abs=1e-6)
        assert found.figures["with labels"] == found.figures["kept"]
    assert set(found.unseen) == {"without labels", "with labels", "kept"}
    assert found.unseen["without labels"] == pytest.approx(found.figures["without labels"], abs=1e-6)


def test_a_pruned_model_holds_and_computes_only_what_it_keeps(own, brick, tmp_path):
    full = {module.name: module for module in own.modules_}
    images = [sample.path for sample in samples_of(brick)][:5]
    pyramid = stack([load(path) for path in images], [64, 128])
    every = module_maps(own.model_.teacher, own.modules_, pyramid, score="whitened")
    own.weigh(brick, good=brick, keep=2)
    kept = {module.name: module.weight for module in own.modules_}
    assert len(kept) == 2
    assert sum(kept.values()) == pytest.approx(1, abs=1e-9)
    zeroed = combine(every, [kept.get(name, 0.0) for name in full], size=128)
    some = combine(
        module_maps(own.model_.teacher, own.modules_, pyramid, score="whitened"), list(kept.values()), size=128
    )
    assert np.array_equal(zeroed.numpy(), some.numpy())
    own.save(tmp_path / "small.safetensors")
    with safe_open(tmp_path / "small.safetensors", "np") as file:
        assert {"/".join(key.split("/")[:2]) for key in file.keys()} == set(kept)  # noqa: SIM118
    again = Detector.load(tmp_path / "small.safetensors")
    for one, other in zip(own.score_maps(images), again.score_maps(images), strict=True):
        assert np.array_equal(one, other)


def test_a_budget_keeps_what_it_can_pay_for(own, brick):
    own.weigh(brick, good=brick, budget_ms=1e6)
    found = own.weighed_
    assert len(own.modules_) == 4  # nothing is nearer to all modules than all modules
    assert found.points[-1].modules == found.chosen.modules == tuple(module.name for module in own.modules_)
    assert [point.ms for point in found.points] == sorted(point.ms for point in found.points)
    assert found.points[-1].accuracy == found.figures["with labels"]["aupro"]
    with pytest.raises(InputError, match=r"budget: 1e-06 ms is too little, the fastest set of modules needs"):
        own.weigh(brick, good=brick, budget_ms=1e-6)


def test_the_front_is_the_nearest_map_for_its_time():
    """Three modules: b says the same as a and c is noise; a costs least, so c can only be bought on top of a."""
    random = np.random.default_rng(0)
    a = random.normal(size=(2, 8, 8)).astype(np.float32)
    c = random.normal(size=(2, 8, 8)).astype(np.float32)
    masks = np.zeros((2, 8, 8), bool)
    masks[:, 2:4, 2:4] = True
    labelled = LabelledMaps(("64/2", "64/3", "128/2"), [a, a, c], masks, ("hole", "hole"))
    costs = Costs({64: 1.0, 128: 1.0}, {64: (1.0, 1.0, 1.0), 128: (2.0, 2.0)}, {"64/2": 1.0, "64/3": 1.0, "128/2": 5.0},
                  dict.fromkeys(("64/2", "64/3", "128/2"), 1.0))  # fmt: skip
    assert front(labelled, np.array([0.5, 0.25, 0.25]), costs) == [[0], [0, 2], [0, 1, 2]]


def test_the_papers_objective_makes_the_score_the_papers(own, brick):
    own.weigh(brick, good=brick, objective="paper")
    assert own.header_.score == "paper"
    score_map = own.score_maps(brick / "test" / "hole")[0]
    assert score_map.min() >= 0
    assert score_map.max() <= 1
    assert own.header_.scale.of(np.float32([0.25, 0.75])) == pytest.approx([0.25, 0.75])  # it is not squashed
    assert own.thresholds_.review == sorted(own.header_.calibration.scores)[-2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 0}, "keep: 0 is not allowed, expected 1 to 4"),
        ({"keep": 5}, "keep: 5 is not allowed, expected 1 to 4"),
        ({"budget_ms": 0.0}, "budget: 0.0 is not allowed, expected milliseconds above 0"),
        ({"budget_ms": float("nan")}, "budget: nan is not allowed"),
        ({"keep": 2, "budget_ms": 5.0}, "keep and budget: give one of them"),
        ({"objective": "auroc"}, "objective: auroc is not allowed, expected logistic, aupro or paper"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_changes(own, brick, options, message):
    header, modules = own.header_, own.modules_
    with pytest.raises(InputError, match=message):
        own.weigh(brick, good=brick, **options)
    assert own.header_ is header
    assert own.modules_ is modules


def test_images_that_must_not_weigh_are_refused(own, brick, tmp_path):
    with pytest.raises(InputError, match="of the 13 good images that set the threshold are not among those given"):
        own.weigh(brick, good=brick / "test" / "good")
    weighed = own.weigh(brick, good=brick).header_.data.weighed
    assert own.weigh(brick, good=brick).header_.data.weighed == weighed  # again, by the same images
    data = own.header_.data.model_copy(update={"train": weighed})
    tell(own, own.header_.model_copy(update={"data": data}))
    with pytest.raises(InputError, match=r"the model has met 18 of 18 labelled images before: 18 trained"):
        own.weigh(brick, good=brick)
    tell(own, own.header_.model_copy(update={"data": data.model_copy(update={"train": []})}))
    (tmp_path / "test" / "good").mkdir(parents=True)
    (tmp_path / "test" / "good" / "0.png").write_bytes((brick / "test" / "good" / "000.png").read_bytes())
    with pytest.raises(InputError, match="no defective image"):
        own.weigh(tmp_path, good=brick)


def test_the_command_writes_a_smaller_model_and_its_images_are_not_tested_on(capsys, brick, model, tmp_path):
    out, plot = tmp_path / "small.safetensors", tmp_path / "front.png"
    command = ["weigh", str(model), str(brick), "--out", str(out), "--budget-ms", "1000000", "--plot", str(plot)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "without labels" in printed
    assert "chosen" in printed
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert main(["inspect", str(out)]) == 0
    assert "18 labelled" in capsys.readouterr().out
    assert main(["evaluate", str(out), str(brick)]) == 2
    assert "18 weighed (same picture)" in capsys.readouterr().err
    assert main(command) == 2
    assert "exists; pass --overwrite" in capsys.readouterr().err
    assert main(["weigh", str(model), str(brick), "--out", str(tmp_path / "x"), "--plot", str(tmp_path / "y.png")]) == 2
    assert "plot: needs --budget-ms" in capsys.readouterr().err


def test_folds_spread_every_label():
    labels = ["hole"] * 4 + ["good"] * 5 + ["crack"] * 3 + ["stain"]
    folds = _folds(labels)
    for label_, count in (("hole", 4), ("good", 5), ("crack", 3)):
        per_fold = np.bincount([fold for fold, own in zip(folds, labels, strict=True) if own == label_], minlength=4)
        assert per_fold.max() - per_fold.min() <= 1, label_
        assert per_fold.sum() == count
    defective = [fold for fold, own in zip(folds, labels, strict=True) if own != "good"]
    assert np.bincount(defective).tolist() == [2, 2, 2, 2]


def test_spread_leaves_zeros():
    assert spread(np.array([0.25, 0.75]), [1, 3], 5).tolist() == [0, 0.25, 0, 0.75, 0]


def test_a_share_of_each_type_weighs_and_the_rest_is_left_to_test(own, brick):
    from blemish.evaluation.evaluate import choose

    own.weigh(brick, good=brick, share=0.4)  # of three images each, one
    assert (own.header_.weighing.labelled, own.header_.weighing.defective) == (4, 4)
    labels = {image.sha256 for image in own.header_.data.weighed}
    chosen = choose(own, brick, used="skip")
    assert len(chosen.samples) == 14
    assert not labels & {image.sha256 for image in chosen.images}
    with pytest.raises(InputError, match=r"share: 1.5 is not allowed, expected above 0 and at most 1"):
        own.weigh(brick, good=brick, share=1.5)


def test_defects_without_masks_do_not_weigh(own, brick, capsys, tmp_path):
    """As many as have none are left out and counted; of them alone nothing can be learnt."""
    tested = sorted((brick / "test").rglob("*.png"))
    lines, bare = ["path,label,mask,split"], ["path,label,split"]
    for index, path in enumerate(tested):
        label = path.parent.name
        mask = f"ground_truth/{label}/{path.stem}_mask.png" if label != "good" and index % 2 else ""
        lines.append(f"{path.relative_to(brick)},{label},{mask},test")
        bare.append(f"{path.relative_to(brick)},{label},test")
    masked = sum("_mask" in line for line in lines)
    defects = sum(path.parent.name != "good" for path in tested)
    table = brick / "half.csv"
    try:
        table.write_text("\n".join(lines))
        found = own.weigh(table, good=brick)
        assert (found.weighed_.without_masks, masked) == (defects - masked, found.header_.weighing.defective)
        table.write_text("\n".join(bare))
        with pytest.raises(InputError, match=f"no defective image with a mask, and {defects} without"):
            own.weigh(table, good=brick)
    finally:
        table.unlink()
