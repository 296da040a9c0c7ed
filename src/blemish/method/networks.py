"""Networks <-> tensors: the tensors that a model file holds of its modules and its teacher, and networks to fill."""

from collections.abc import Sequence

import torch
from torch import Tensor

from blemish.method.scoring import Module
from blemish.method.teacher import Architecture, Teacher, student_stage


def new_module(architecture: Architecture, *, size: int, level: int, weight: float, seed: int) -> Module:
    """Return a module whose student is freshly initialised from the seed, with statistics still to be set."""
    student, channels = student_stage(architecture.name, level, seed=seed), architecture.channels[level - 2]
    return Module(student, size=size, level=level, channels=channels, weight=weight)


def move_to(network: torch.nn.Module, device: str | torch.device) -> None:
    """Move a network to a device, laid out as it computes fastest there."""
    network.to(device).to(memory_format=torch.channels_last)


def stored_tensors(modules: Sequence[Module], teacher: Teacher | None) -> dict[str, Tensor]:
    """Return the tensors of a model file, by name; teacher: the one that the file holds, if it holds one.

    Counters of batches, of no use after training, are left out.
    """
    state = {f"{module.name}/{key}": tensor for module in modules for key, tensor in module.state_dict().items()}
    if teacher is not None:
        levels = max(module.level for module in modules)
        state |= {f"teacher/{key}": tensor for key, tensor in teacher.stages[:levels].state_dict().items()}
    return {key: tensor for key, tensor in state.items() if tensor.is_floating_point()}
