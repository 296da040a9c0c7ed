"""The teacher: a pre-trained timm network cut into stages, and where its weights come from.

A student module is the same stage of the same network, freshly initialised (`student_stage`).
"""

import hashlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from blemish.checks import word
from blemish.errors import InputError, printable
from blemish.storage.offline import folder_dropped

LEVELS = (2, 3, 4, 5)
STRIDES = (4, 8, 16, 32)

# The mean and deviation that each network was trained with, for pixel values in [0, 1].
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CENTRED = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def _resnet_stages(network: Any) -> list[nn.Module]:
    stem = nn.Sequential(network.conv1, network.bn1, network.act1, network.maxpool)
    return [stem, network.layer1, network.layer2, network.layer3, network.layer4]


def _efficientnet_stages(network: Any) -> list[nn.Module]:
    blocks = network.blocks
    stem = nn.Sequential(network.conv_stem, network.bn1, blocks[0])
    return [stem, blocks[1], blocks[2], nn.Sequential(blocks[3], blocks[4]), nn.Sequential(blocks[5], blocks[6])]


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network that can teach: its timm name, how it is cut, channels of levels 2 to 5 and what its weights expect."""

    name: str
    channels: tuple[int, int, int, int]
    weights: str
    licence: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def cut(self) -> Callable[[Any], list[nn.Module]]:
        """The function that cuts the timm network into the stages T^1 ... T^5."""
        return _resnet_stages if "resnet" in self.name else _efficientnet_stages


ARCHITECTURES = {
    architecture.name: architecture
    for architecture in (
        Architecture("tf_efficientnet_lite0", (24, 40, 112, 320), "in1k", "Apache-2.0", *CENTRED),
        Architecture("tf_efficientnet_lite1", (24, 40, 112, 320), "in1k", "Apache-2.0", *CENTRED),
        Architecture("tf_efficientnet_lite2", (24, 48, 120, 352), "in1k", "Apache-2.0", *CENTRED),
        Architecture("tf_efficientnet_lite3", (32, 48, 136, 384), "in1k", "Apache-2.0", *CENTRED),
        Architecture("tf_efficientnet_lite4", (32, 56, 160, 448), "in1k", "Apache-2.0", *CENTRED),
        Architecture("resnet18", (64, 128, 256, 512), "tv_in1k", "BSD-3-Clause", *IMAGENET),
        Architecture("resnet34", (64, 128, 256, 512), "tv_in1k", "BSD-3-Clause", *IMAGENET),
        Architecture("resnet50", (256, 512, 1024, 2048), "tv_in1k", "BSD-3-Clause", *IMAGENET),
        Architecture("resnet101", (256, 512, 1024, 2048), "tv_in1k", "BSD-3-Clause", *IMAGENET),
        Architecture("wide_resnet50_2", (256, 512, 1024, 2048), "tv_in1k", "BSD-3-Clause", *IMAGENET),
    )
}


def architecture(name: str) -> Architecture:
    """Return the architecture of that name; InputError names the known ones."""
    return ARCHITECTURES[word("teacher", name, ARCHITECTURES)]


def _network(name: str) -> nn.Module:
    with folder_dropped("TORCHINDUCTOR_CACHE_DIR"):  # torch makes one as soon as timm is imported
        import timm

    # Residual branches that start at zero are a trick for training from labels; torchvision, and so most likely
    # the paper, does not use it.
    options = {"zero_init_last": False} if "resnet" in architecture(name).name else {}
    network: nn.Module = timm.create_model(name, pretrained=False, **options)
    return network


def student_stage(name: str, level: int, *, seed: int) -> nn.Module:
    """Return stage `level` (1 ... 5) of that network, freshly initialised from the seed, in training mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return architecture(name).cut(_network(name))[level - 1].train()


class Teacher(nn.Module):
    """A frozen pre-trained network cut into stages.

    `stages[l - 1]` is T^l; a teacher may hold only the first of them. `sha256` identifies the network's weights,
    whatever file they came from.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, stages: list[nn.Module], *, sha256: str) -> None:
        super().__init__()
        self.architecture = architecture(name)
        self.stages = nn.ModuleList(stages)
        self.sha256 = sha256
        for key in ("mean", "std"):
            value = 255 * torch.tensor(getattr(self.architecture, key))[None, :, None, None]
            self.register_buffer(key, value, persistent=False)
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Teacher":
        """Stay in evaluation mode whatever is asked: the teacher is frozen for ever."""
        del mode
        return super().train(False)

    def normalise(self, images: Tensor) -> Tensor:
        """Return images (B, 3, h, w) with values 0 ... 255 as the network expects them: less mean, over deviation."""
        return (images - self.mean) / self.std

    def features(self, images: Tensor, levels: Collection[int]) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Yield (level, f^{level-1}, f^level) for each of the levels, ascending; no deeper stage is computed.

        Images are (B, 3, size, size) with values 0 ... 255; f^l is (B, C_l, size / 2^l, size / 2^l).
        """
        previous = self.stages[0](self.normalise(images))
        for level in range(2, max(levels) + 1):
            feature = self.stages[level - 1](previous)
            if level in levels:
                yield level, previous, feature
            previous = feature


def teacher_from_state(name: str, state: dict[str, Tensor]) -> Teacher:
    """Return the teacher with the weights of a full timm state dict.

    Counters of batches, of no use to a frozen network, may be missing: older files have none. Raises InputError naming
    the first other tensor that is missing, or one that is unexpected, of another shape, or not finite.
    """
    network = _network(name)
    expected = network.state_dict()
    for key, value in expected.items():
        if key not in state and key.endswith(".num_batches_tracked"):
            continue
        if key not in state:
            raise InputError(f"weights: tensor {key} of {name} is missing")
        if state[key].shape != value.shape:
            found, wanted = tuple(state[key].shape), tuple(value.shape)
            raise InputError(f"weights: tensor {key} has shape {found}, {name} expects {wanted}")
        if not bool(state[key].isfinite().all()):
            raise InputError(f"weights: tensor {key} holds values that are not finite")
    for key in state:
        if key not in expected:
            raise InputError(f"weights: tensor {printable(key)} does not belong to {name}")
    network.load_state_dict(expected | state, strict=True)
    return Teacher(name, architecture(name).cut(network), sha256=state_fingerprint(state))


def empty_teacher(name: str, levels: int, *, sha256: str) -> Teacher:
    """Return a teacher with stages 1 to `levels` and arbitrary weights, for a caller that fills them in."""
    return Teacher(name, architecture(name).cut(_network(name))[:levels], sha256=sha256)


def state_fingerprint(state: dict[str, Tensor]) -> str:
    """Return the sha256 over the names, shapes and float32 values of a state dict, in the order of the names."""
    digest = hashlib.sha256()
    for key in sorted(state):
        if state[key].is_floating_point():
            value = state[key].detach().cpu().to(torch.float32).contiguous()
            digest.update(f"{key} {tuple(value.shape)}\n".encode())
            digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def move_to(network: nn.Module, device: str | torch.device) -> None:
    """Move a network to a device, laid out as it computes fastest there."""
    network.to(device).to(memory_format=torch.channels_last)


def pick_device(device: str) -> str:
    """Return "cuda" or "cpu" for "auto", "cpu" or "cuda"; InputError for another word or a GPU that is not there."""
    if word("device", device, ("auto", "cpu", "cuda")) == "cuda" and not torch.cuda.is_available():
        raise InputError("device: no CUDA GPU is available here; use --device cpu (or auto)")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
