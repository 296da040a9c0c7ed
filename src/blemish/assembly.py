"""From a model's networks to the tensors of its file, and back."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blemish import __version__, modelfile
from blemish.errors import ModelFileError, printable
from blemish.header import Header, PreprocessingPart
from blemish.scoring import Module
from blemish.teacher import ARCHITECTURES, Architecture, Teacher, empty_teacher, pick_device, student_stage
from blemish.weights import load_teacher


def preprocessing(architecture: Architecture) -> PreprocessingPart:
    """Return what becomes of an image before a teacher of this architecture."""
    return PreprocessingPart(mean=list(architecture.mean), std=list(architecture.std))


def stored_tensors(modules: Sequence[Module], teacher: Teacher | None) -> dict[str, Tensor]:
    """Return the tensors of a model file, by name; teacher: the one that the file holds, if it holds one.

    Counters of batches, of no use after training, are left out.
    """
    state = {f"{module.name}/{key}": tensor for module in modules for key, tensor in module.state_dict().items()}
    if teacher is not None:
        levels = max(module.level for module in modules)
        state |= {f"teacher/{key}": tensor for key, tensor in teacher.stages[:levels].state_dict().items()}
    return {key: tensor for key, tensor in state.items() if tensor.is_floating_point()}


def assemble(
    header: Header,
    tensors: Mapping[str, NDArray[np.float32]],
    *,
    path: str | os.PathLike[str],
    weights: str | os.PathLike[str] | None,
    device: str,
) -> tuple[Teacher, list[Module]]:
    """Return the teacher and the modules of a model file, ready to score; path is for messages only.

    weights: a file with the teacher's weights, if they are neither embedded nor installed; device: as of `pick_device`.
    Raises ModelFileError if the header, the tensors and the teacher do not fit each other, InputError if the teacher
    has no weights here, or for a device that is not allowed.
    """
    name = header.teacher.name
    if name not in ARCHITECTURES:
        raise ModelFileError(f"{printable(path)}: teacher {printable(name)} is not known to blemish {__version__}")
    architecture = ARCHITECTURES[name]
    if header.preprocessing != (expected := preprocessing(architecture)):
        raise ModelFileError(
            f"{printable(path)}: header field preprocessing: mean {header.preprocessing.mean} and std "
            f"{header.preprocessing.std}, but {name} expects {expected.mean} and {expected.std}"
        )
    modules = [
        Module(
            student_stage(name, part.level, seed=0),
            channels=architecture.channels[part.level - 2],
            **part.model_dump(),
        )
        for part in header.modules
    ]
    levels = max(module.level for module in modules)
    teacher = empty_teacher(name, levels, sha256=header.teacher.sha256) if header.teacher.embedded else None
    state = stored_tensors(modules, teacher)
    modelfile.check_tensors(tensors, {key: tuple(tensor.shape) for key, tensor in state.items()}, path)
    for key, tensor in state.items():
        tensor.copy_(torch.from_numpy(tensors[key]))
    teacher = teacher or load_teacher(name, weights)
    if teacher.sha256 != header.teacher.sha256:
        raise ModelFileError(
            f"{printable(path)}: teacher hash differs: the model was fitted with {header.teacher.sha256[:12]}..., "
            f"the weights found for {name} are {teacher.sha256[:12]}..."
        )
    place = pick_device(device)
    modules = [module.to(place).to(memory_format=torch.channels_last) for module in modules]
    return teacher.to(place).to(memory_format=torch.channels_last), modules
