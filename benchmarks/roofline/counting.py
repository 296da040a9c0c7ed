"""Counts what networks compute and move: the FLOPs, bytes and time of every operation that torch runs.

A FLOP count is twice the multiply-adds of convolutions and matrix products; what works element by element counts as
bytes only. Bytes of an operation are its inputs (weights among them) and its outputs, each once.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

SMALL = 1 << 16  # bytes; an operation that moves less takes as long as it takes to start it
MOVE_NOTHING = ("_unsafe_view", "empty", "empty_like", "new_empty", "empty_strided")  # beside what torch calls a view
DENSE, DEPTHWISE, NORM, REST, STARTS = "dense", "depthwise", "batch norm", "element by element", "small operations"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation that torch ran: its name in aten, what it is, 2 x multiply-adds, bytes, seconds."""

    name: str
    kind: str
    flops: int
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Part:
    """A teacher stage ("256/T3") or a module ("256/3", with its score map at the reference size), for one image.

    weights and ends are bytes: the parameters and statistics, and what goes in and comes out at the end.
    """

    name: str
    operations: list[Operation]
    weights: int
    ends: int

    @property
    def flops(self) -> int:
        return sum(one.flops for one in self.operations)

    @property
    def depthwise(self) -> int:
        """The FLOPs of depthwise and other grouped convolutions, which matrix units can hardly use."""
        return sum(one.flops for one in self.operations if one.kind == DEPTHWISE)

    @property
    def most_bytes(self) -> int:
        """What moves if nothing stays in a cache from one operation to the next."""
        return sum(one.bytes for one in self.operations)

    @property
    def least_bytes(self) -> int:
        """What moves if everything between input and output stays in a cache."""
        return self.weights + self.ends


class Tally(TorchDispatchMode):
    """Notes every operation that torch runs inside; views, which move nothing, are left out."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        with self:  # in inference mode composite operations arrive whole: conv2d, einsum
            if (result := func.decompose(*args, **kwargs)) is not NotImplemented:
                return result
        start = time.perf_counter()
        result = func(*args, **kwargs)
        seconds = time.perf_counter() - start
        name = func.overloadpacket.__name__
        if not func.is_view and name not in MOVE_NOTHING:
            flops, moved = 2 * multiply_adds(name, args, result), tensor_bytes([args, kwargs, result])
            self.operations.append(Operation(name, _kind(name, args, moved), flops, moved, seconds))
        return result


def multiply_adds(name: str, args: Any, result: Any) -> int:
    """Return the multiply-adds of an aten operation: 0 for all but convolutions and matrix products.

    torch.utils.flop_counter is not used: it takes the backward pass of a depthwise convolution for a dense one.
    """
    count = 0
    match name:
        case "convolution":
            count = args[1].numel() * len(result) * math.prod(result.shape[2:])
        case "convolution_backward":  # as many for each of the gradients of input and weight that is wanted
            slope, _, weight = args[:3]
            count = weight.numel() * len(slope) * math.prod(slope.shape[2:]) * sum(args[-1][:2])
        case "mm" | "bmm":
            count = args[0].numel() * args[1].shape[-1]
        case "addmm":
            count = args[1].numel() * args[2].shape[-1]
    return count


def tensor_bytes(tree: Any) -> int:
    """Return the bytes of all tensors in nested lists and dicts; of an expanded one, those that there are."""
    tensors = [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
    return sum(one.element_size() * _elements(one) for one in tensors)


def _elements(tensor: Tensor) -> int:
    return math.prod(side for side, step in zip(tensor.shape, tensor.stride(), strict=True) if step)


def _kind(name: str, args: Any, moved: int) -> str:
    if name in ("convolution", "convolution_backward"):
        groups = args[8] if name == "convolution" else args[9]
        return DEPTHWISE if groups > 1 else DENSE
    if name in ("mm", "bmm", "addmm"):
        return DENSE
    if "batch_norm" in name:
        return NORM
    return STARTS if moved < SMALL else REST


def tallied(work: Callable[[], Any], *, repeats: int) -> list[Operation]:
    """Return the operations of a piece of work, each with the median of its seconds; one run more is not counted."""
    runs = []
    for _ in range(repeats + 1):
        with Tally() as tally:
            work()
        runs.append(tally.operations)
    return [replace(same[0], seconds=median(one.seconds for one in same)) for same in zip(*runs[1:], strict=True)]


def held_bytes(network: nn.Module) -> int:
    """Return the bytes of a network's parameters and statistics; counters of batches are not read in use."""
    return tensor_bytes([tensor for tensor in network.state_dict().values() if tensor.is_floating_point()])


def count_parts(detector: Any, *, repeats: int = 1) -> list[Part]:
    """Return every part of a fitted detector in the order in which one image passes them, as `latency.measure` does."""
    from blemish.method.imitation import resample
    from blemish.method.scoring import module_score

    teacher, header, parts = detector.model_.teacher, detector.header_, []
    modules = {(module.size, module.level): module for module in detector.modules_}
    random = torch.Generator().manual_seed(0)
    with torch.inference_mode():
        for size in sorted({size for size, _ in modules}):
            image = torch.randint(0, 256, (1, size, size, 3), generator=random, dtype=torch.uint8)
            feature = image.permute(0, 3, 1, 2)
            for level in range(1, max(deep for side, deep in modules if side == size) + 1):
                previous, stage = feature, teacher.stages[level - 1]
                normalise = teacher.normalise if level == 1 else nn.Identity()
                work = _chain(previous, normalise, stage)
                feature = work()
                operations = tallied(work, repeats=repeats)
                parts.append(Part(f"{size}/T{level}", operations, held_bytes(stage), tensor_bytes([previous, feature])))
                if module := modules.get((size, level)):
                    student = _chain(previous, module.student)

                    def scored(module: Any = module, feature: Tensor = feature, student: Any = student) -> Tensor:
                        score_map = module_score(module, feature, student(), score=header.score)
                        return resample(score_map, header.reference_size)

                    ends = tensor_bytes([previous, feature, scored()])
                    parts.append(Part(module.name, tallied(scored, repeats=repeats), held_bytes(module), ends))
    return parts


def _chain(given: Tensor, *steps: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
    def run() -> Tensor:
        value = given
        for step in steps:
            value = step(value)
        return value

    return run


def by_kind(operations: Iterable[Operation]) -> dict[str, Operation]:
    """Return the sum of the operations of each kind, the one that takes longest first."""
    sums: dict[str, Operation] = {}
    for one in operations:
        so_far = sums.get(one.kind, Operation("", one.kind, 0, 0, 0.0))
        sums[one.kind] = Operation(
            "", one.kind, so_far.flops + one.flops, so_far.bytes + one.bytes, so_far.seconds + one.seconds
        )
    return dict(sorted(sums.items(), key=lambda item: -item[1].seconds))
