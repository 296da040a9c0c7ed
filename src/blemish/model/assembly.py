"""From the header and the tensors of a model file to a model, and back."""

import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from blemish.errors import refused
from blemish.images.preprocessing import PreprocessingPart
from blemish.method.beside.memory import Memory
from blemish.method.beside.surface import Surface
from blemish.method.modules import new_module
from blemish.method.pretrained import load_teacher
from blemish.method.scoring import AnyModule
from blemish.method.teacher import ARCHITECTURES, Architecture, Teacher, empty_teacher, move_to, pick_device
from blemish.model import file
from blemish.model.header import Header, MemoryPart, ModulePart, SurfacePart
from blemish.model.model import Model
from blemish.storage.tensors import check_tensors
from blemish.version import __version__


def preprocessing(architecture: Architecture, *, bits: int) -> PreprocessingPart:
    """Return what becomes of an image before a teacher of this architecture."""
    return PreprocessingPart(mean=list(architecture.mean), std=list(architecture.std), bits=bits)


def save(model: Model, path: str | os.PathLike[str], *, embed_teacher: bool, overwrite: bool = True) -> None:
    """Write a model's file, atomically; embed_teacher: with the teacher's weights, as deep as they are needed.

    Raises StorageError if the file cannot be written, InputError if there is one and overwrite is false.
    """
    state = stored_tensors(model.modules, model.teacher if embed_teacher else None, model.surface)
    teacher = model.header.teacher.model_copy(update={"embedded": embed_teacher})
    tensors = {key: tensor.detach().cpu().contiguous().numpy() for key, tensor in state.items()}
    file.save(path, model.header.model_copy(update={"teacher": teacher}), tensors, overwrite=overwrite)


def load(path: str | os.PathLike[str], *, weights: str | os.PathLike[str] | None, device: str) -> Model:
    """Return the model in a file, ready to score; arguments and errors are those of `assemble` and of `file.load`."""
    header, tensors = file.load(path)
    return assemble(header, tensors, path=path, weights=weights, device=device)


def assemble(
    header: Header,
    tensors: Mapping[str, NDArray[np.float32]],
    *,
    path: str | os.PathLike[str],
    weights: str | os.PathLike[str] | None,
    device: str,
) -> Model:
    """Return the model that a header and tensors make, ready to score; path is for messages only.

    weights: a file with the teacher's weights, if they are neither embedded nor installed; device: as of `pick_device`.
    Raises ModelFileError if the header, the tensors and the teacher do not fit each other, InputError if the teacher
    has no weights here, or for a device that is not allowed.
    """
    architecture = _architecture(header, path)
    modules = [_module(architecture, part) for part in header.modules]
    surface = _surface(architecture, header, path)
    every = _every(modules, surface)
    levels = max(one.level for one in every)
    name, known = architecture.name, header.teacher.sha256
    embedded = empty_teacher(name, levels, sha256=known) if header.teacher.embedded else None
    state = stored_tensors(modules, embedded, surface)
    check_tensors(tensors, {key: tuple(tensor.shape) for key, tensor in state.items()}, path)
    for key, tensor in state.items():
        tensor.copy_(torch.from_numpy(tensors[key]))
    teacher: Teacher = embedded or load_teacher(name, weights)
    if teacher.sha256 != known:
        raise refused(
            path,
            f"teacher hash differs: the model was fitted with {known[:12]}..., "
            f"the weights found for {name} are {teacher.sha256[:12]}...",
        )
    place = pick_device(device)
    for network in (teacher, *every):
        move_to(network, place)
    return Model(teacher, modules, header, surface)


def module_part(module: AnyModule) -> ModulePart:
    """Return what a header says of a module."""
    memory, cell = None, 0
    if isinstance(module, Memory):
        memory = MemoryPart(levels=list(module.levels), vectors=len(module.vectors))
    else:
        cell = module.cell
    return ModulePart(size=module.size, level=module.level, weight=module.weight, cell=cell, memory=memory)


def surface_part(surface: Surface | None) -> SurfacePart | None:
    """Return what a header says of what looks at the whole surface."""
    return None if surface is None else SurfacePart(size=surface.size, levels=list(surface.levels))


def stored_tensors(
    modules: Sequence[AnyModule], teacher: Teacher | None, surface: Surface | None = None
) -> dict[str, Tensor]:
    """Return the tensors of a model file, by name; teacher: the one that the file holds, if it holds one.

    Counters of batches, of no use after training, are left out.
    """
    every = _every(modules, surface)
    state = {f"{module.name}/{key}": tensor for module in every for key, tensor in module.state_dict().items()}
    if teacher is not None:
        levels = max(module.level for module in every)
        state |= {f"teacher/{key}": tensor for key, tensor in teacher.stages[:levels].state_dict().items()}
    return {key: tensor for key, tensor in state.items() if tensor.is_floating_point()}


def _every(modules: Sequence[AnyModule], surface: Surface | None) -> list[AnyModule | Surface]:
    """Return all that a model has beside its teacher."""
    return [*modules, *([surface] if surface else [])]


def _module(architecture: Architecture, part: ModulePart) -> AnyModule:
    """Return a module that has still to be filled with its tensors."""
    if part.memory is None:
        return new_module(architecture, size=part.size, level=part.level, weight=part.weight, seed=0, cell=part.cell)
    channels = sum(architecture.channels[level - 2] for level in part.memory.levels)
    return Memory(size=part.size, weight=part.weight, channels=channels, **part.memory.model_dump())


def _surface(architecture: Architecture, header: Header, path: str | os.PathLike[str]) -> Surface | None:
    """Return what looks at the surface, still to be filled; raises ModelFileError for one that no module goes with."""
    part = header.surface
    if part is None:
        return None
    deepest = max((module.level for module in header.modules if module.size == part.size), default=0)
    if sorted({*part.levels}) != part.levels or part.levels[-1] > deepest or header.score != "memory":
        levels = f"ascending levels up to {deepest} of {part.size}" if deepest else "the size of a module"
        raise refused(path, f"header field surface: expected score memory and {levels}, got {header.score}, {part}")
    channels = sum(architecture.channels[level - 2] for level in part.levels)
    return Surface(size=part.size, levels=part.levels, channels=channels)


def _architecture(header: Header, path: str | os.PathLike[str]) -> Architecture:
    """Return the architecture of a header's teacher; raises ModelFileError for one that is not known as it stands."""
    name = header.teacher.name
    if name not in ARCHITECTURES:
        raise refused(path, f"teacher {name} is not known to blemish {__version__}")
    expected = preprocessing(ARCHITECTURES[name], bits=header.bits)
    if header.preprocessing != expected:
        raise refused(
            path,
            f"header field preprocessing: mean {header.preprocessing.mean} and std {header.preprocessing.std}, "
            f"but {name} expects {expected.mean} and {expected.std}",
        )
    return ARCHITECTURES[name]
