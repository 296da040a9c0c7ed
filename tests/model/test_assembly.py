"""From networks to the tensors of a file and back; what does not fit is refused."""

import numpy as np
import pytest
import torch

from blemish.errors import InputError, ModelFileError
from blemish.method.modules import Module, new_module
from blemish.method.pretrained import load_teacher
from blemish.method.teacher import ARCHITECTURES, student_stage
from blemish.model.assembly import assemble, module_part, preprocessing, stored_tensors
from tiny import tiny_detector

LITE0 = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def teacher():
    return load_teacher(LITE0).to(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def modules():
    found = [Module(student_stage(LITE0, level, seed=7), size=64, level=level, channels=channels, weight=weight)
             for level, channels, weight in ((2, 24, 0.25), (3, 40, 0.75))]  # fmt: skip
    found[1].centre.fill_(3.5)
    return found


def header_of(network, *, embedded=False, **changes):
    """The header of these two modules."""
    header = tiny_detector(["64/2", "64/3"], sizes=[64], weights=[0.25, 0.75])[0].header_
    part = header.teacher.model_copy(update={"sha256": network.sha256, "embedded": embedded})
    return header.model_copy(update={"teacher": part, **changes})


def arrays(modules, teacher=None):
    return {key: tensor.numpy().copy() for key, tensor in stored_tensors(modules, teacher).items()}


@pytest.mark.parametrize("embedded", [False, True])
def test_what_is_stored_comes_back(teacher, modules, embedded, monkeypatch):
    tensors = arrays(modules, teacher if embedded else None)
    assert {key.split("/")[0] for key in tensors} == ({"64", "teacher"} if embedded else {"64"})
    assert not any(key.endswith("num_batches_tracked") for key in tensors)
    if embedded:
        monkeypatch.setattr("blemish.model.assembly.load_teacher", lambda *_: pytest.fail("weights were looked for"))
    header = header_of(teacher, embedded=embedded)
    made = assemble(header, tensors, path="m", weights=None, device="cpu")
    found_teacher, found = made.teacher, made.modules
    assert made.header is header
    assert [(one.name, one.weight) for one in found] == [("64/2", 0.25), ("64/3", 0.75)]
    assert arrays(found, found_teacher if embedded else None).keys() == tensors.keys()
    for key, value in arrays(found).items():
        assert np.array_equal(value, tensors[key])
    assert len(found_teacher.stages) == (3 if embedded else 5)
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ((_, *want),) = teacher.features(images, [3])
        ((_, *have),) = found_teacher.features(images, [3])
    assert all(torch.equal(a, b) for a, b in zip(want, have, strict=True))


def test_cells_come_back_and_are_told_from_models_that_have_none(teacher):
    """Those of earlier versions say nothing of cells, and hold a whitener and a variance."""
    celled = new_module(ARCHITECTURES[LITE0], size=64, level=3, weight=1.0, seed=0)
    celled.roots.mul_(torch.rand(celled.roots.shape, generator=torch.Generator().manual_seed(0)))
    part = module_part(celled)
    assert (part.cell, celled.roots.shape) == (2, (4, 4, 40, 40))
    header = header_of(teacher, modules=[part])
    assert '"cell":2' in header.model_dump_json()
    (found,) = assemble(header, arrays([celled]), path="m", weights=None, device="cpu").modules
    assert torch.equal(found.roots, celled.roots)
    older = new_module(ARCHITECTURES[LITE0], size=64, level=3, weight=1.0, seed=0, cell=0)
    assert '"cell"' not in header_of(teacher, modules=[module_part(older)]).model_dump_json()
    with pytest.raises(ModelFileError, match=r"^m: tensor 64/3/roots is missing$"):
        assemble(header, arrays([older]), path="m", weights=None, device="cpu")


def test_a_preprocessing_that_is_not_the_teachers_is_refused(teacher, modules):
    header = header_of(teacher, preprocessing=preprocessing(ARCHITECTURES["resnet18"], bits=16))
    with pytest.raises(ModelFileError) as caught:
        assemble(header, arrays(modules), path="m", weights=None, device="cpu")
    assert str(caught.value) == (
        "m: header field preprocessing: mean [0.485, 0.456, 0.406] and std [0.229, 0.224, 0.225], "
        "but tf_efficientnet_lite0 expects [0.5, 0.5, 0.5] and [0.5, 0.5, 0.5]"
    )
    assert caught.value.exit_code == 3


def test_a_teacher_that_is_unknown_or_has_other_weights_is_refused(teacher, modules):
    other = header_of(teacher).teacher.model_copy(update={"name": "vgg16\n"})
    with pytest.raises(ModelFileError, match=r"^m: teacher vgg16\\n is not known to blemish "):
        assemble(header_of(teacher, teacher=other), arrays(modules), path="m", weights=None, device="cpu")
    other = header_of(teacher).teacher.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(
        ModelFileError, match=r"^m: teacher hash differs: the model was fitted with 000000000000\.\.\., "
    ):
        assemble(header_of(teacher, teacher=other), arrays(modules), path="m", weights=None, device="cpu")


def test_tensors_that_do_not_fit_and_devices_that_are_none_are_named(teacher, modules):
    tensors = arrays(modules)
    del tensors["64/3/spread"]
    with pytest.raises(ModelFileError, match=r"^m: tensor 64/3/spread is missing$"):
        assemble(header_of(teacher), tensors, path="m", weights=None, device="cpu")
    with pytest.raises(InputError, match="device: tpu is not allowed"):
        assemble(header_of(teacher), arrays(modules), path="m", weights=None, device="tpu")
