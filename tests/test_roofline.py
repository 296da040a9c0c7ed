"""What the roofline counts, by hand: FLOPs and bytes of small operations, shares against made-up limits."""

import importlib
from pathlib import Path

import pytest
import torch
from torch import nn

from tiny import tiny_detector

FOLDER = Path(__file__).parent.parent / "benchmarks" / "roofline"


@pytest.fixture(scope="module")
def scripts():
    """The benchmark's files, which are in no package: counting, peaks, shares."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        return {name: importlib.import_module(name) for name in ("counting", "peaks", "shares", "working")}


@pytest.fixture(scope="module")
def counting(scripts):
    return scripts["counting"]


def noted(counting, work):
    with counting.Tally() as tally:
        work()
    return [(one.name, one.kind, one.flops, one.bytes) for one in tally.operations]


# 3 -> 4 channels, 3 x 3, stride 2: 2 images of 8 x 8 become 4 x 4.
CONV_FLOPS = 2 * (4 * 3 * 9) * (2 * 4 * 4)
CONV_BYTES = 4 * (2 * 3 * 8 * 8 + 4 * 3 * 9 + 4 + 2 * 4 * 4 * 4)


@pytest.mark.parametrize("inference", [False, True])
def test_a_convolution_by_hand(counting, inference):
    conv, x = nn.Conv2d(3, 4, 3, stride=2, padding=1), torch.ones(2, 3, 8, 8)
    with torch.inference_mode(inference):
        assert noted(counting, lambda: conv(x)) == [("convolution", "dense", CONV_FLOPS, CONV_BYTES)]


def test_a_depthwise_convolution_by_hand(counting):
    conv, x = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False), torch.ones(1, 6, 5, 5)
    expected = ("convolution", "depthwise", 2 * (6 * 9) * 25, 4 * (6 * 25 + 6 * 9 + 6 * 25))
    assert noted(counting, lambda: conv(x)) == [expected]


@pytest.mark.parametrize(("wanted", "times"), [(True, 3), (False, 2)])
@pytest.mark.parametrize("groups", [1, 6])
def test_training_costs_three_times_as_much_or_two_where_no_gradient_of_the_input_is_wanted(
    counting, wanted, times, groups
):
    conv = nn.Conv2d(6, 6, 3, padding=1, groups=groups, bias=False)
    x = torch.ones(1, 6, 5, 5, requires_grad=wanted)
    flops = sum(one[2] for one in noted(counting, lambda: conv(x).sum().backward()))
    assert flops == times * 2 * (6 * 6 // groups * 9) * 25


@pytest.mark.parametrize(
    ("work", "name", "flops"),
    [
        (lambda: torch.ones(2, 3) @ torch.ones(3, 5), "mm", 2 * 2 * 3 * 5),
        (lambda: torch.ones(4, 2, 3) @ torch.ones(4, 3, 5), "bmm", 4 * 2 * 2 * 3 * 5),
        (lambda: nn.functional.linear(torch.ones(2, 3), torch.ones(5, 3), torch.ones(5)), "addmm", 2 * 2 * 3 * 5),
        (lambda: torch.einsum("dc,bchw->bdhw", torch.ones(5, 3), torch.ones(2, 3, 4, 4)), "bmm", 2 * 5 * 3 * 2 * 16),
    ],
)
def test_matrix_products_by_hand(counting, work, name, flops):
    with torch.inference_mode():
        found = noted(counting, work)
    assert [(one[0], one[2]) for one in found if one[1] == "dense"] == [(name, flops)]


def test_what_is_expanded_moves_once_and_a_view_not_at_all(counting):
    row, table = torch.ones(1, 8), torch.ones(4, 8)
    assert counting.tensor_bytes({"a": [row.expand(4, 8), None], "b": (torch.ones(2, dtype=torch.uint8),)}) == 32 + 2
    found = noted(counting, lambda: table.T.reshape(2, 16)[:, 1:].add_(1.0))
    assert [one[0] for one in found] == ["clone", "add_"]  # reshape copies what was transposed
    assert found[1][3] == 2 * 4 * 30


def test_kinds(counting):
    norm, x = nn.BatchNorm2d(16).eval(), torch.ones(1, 16, 64, 64)
    with torch.inference_mode(), counting.Tally() as tally:
        norm(x).relu_()[0, 0].square()
    assert [one.kind for one in tally.operations] == ["batch norm", "element by element", "small operations"]


def test_sums_by_kind_are_in_the_order_of_their_time(counting):
    made = [counting.Operation("a", "dense", 4, 10, 1.0), counting.Operation("b", "small operations", 0, 1, 1.5)]
    sums = counting.by_kind([*made, counting.Operation("c", "dense", 6, 20, 2.0)])
    assert list(sums) == ["dense", "small operations"]
    assert (sums["dense"].flops, sums["dense"].bytes, sums["dense"].seconds) == (10, 30, 3.0)


def test_parts_of_a_detector_by_hand(counting):
    detector, _ = tiny_detector(["128/3", "64/2"], sizes=[64, 128], reference_size=64)
    parts = {part.name: part for part in counting.count_parts(detector)}
    assert list(parts) == ["64/T1", "64/T2", "64/2", "128/T1", "128/T2", "128/T3", "128/3"]
    assert parts["64/T1"].flops == 2 * (4 * 3 * 9) * 32 * 32
    assert parts["64/T1"].least_bytes == 4 * (4 * 3 * 9 + 4) + 3 * 64 * 64 + 4 * 4 * 32 * 32  # the image is uint8
    assert parts["128/T3"].flops == 2 * (6 * 5 * 9) * 16 * 16
    # The student, and the whitening of 6 channels; its ends are both of the teacher's features and the map.
    assert parts["128/3"].flops == 2 * (6 * 5 * 9) * 16 * 16 + 2 * 6 * 6 * 16 * 16
    assert parts["128/3"].weights == 4 * (6 * 5 * 9 + 6 + 6 + 36 + 6 * 16 * 16 + 2)
    assert parts["128/3"].ends == 4 * (5 * 32 * 32 + 6 * 16 * 16 + 64 * 64)
    assert parts["128/3"].depthwise == 0
    assert all(part.most_bytes > part.least_bytes for part in parts.values())


@pytest.fixture
def limits(scripts):
    """100 FLOPs a second in float32, 200 in int8; 50 bytes a second from the cache, 10 from memory."""
    peaks = scripts["peaks"]
    matrix = {"float32": peaks.Peak(100.0, ""), "int8": peaks.Peak(200.0, "")}
    return peaks.Peaks(1, matrix, {100: 40.0, 200: 50.0, 1000: 10.0})


@pytest.mark.parametrize(("size", "rate"), [(1, 50), (150, 50), (201, 10), (1000, 10), (9999, 10)])
def test_the_bandwidth_is_that_of_what_holds_the_data(limits, size, rate):
    assert limits.bandwidth_of(size) == rate


def test_the_limit_of_a_part_is_the_longer_of_computing_and_moving(scripts, limits):
    counting, shares = scripts["counting"], scripts["shares"]
    part = counting.Part("8/T1", [counting.Operation("mm", "dense", 300, 0, 1.0)], weights=60, ends=40)
    share = shares.part_share(part, 6.0, limits)  # 3 s to compute, 2 s to move
    assert (share.limit, share.reached, share.reached_of_compute) == (3.0, 0.5, 0.5)
    share = shares.part_share(counting.Part("8/T1", part.operations, weights=400, ends=400), 160.0, limits)
    assert (share.limit, share.reached, share.reached_of_compute) == (80.0, 0.5, 3 / 160)


def test_of_images_given_together_each_bears_its_share_of_the_weights(scripts, limits):
    shares, working = scripts["shares"], scripts["working"]
    demands = [(200, 800, 0), (2000, 0, 40)]
    alone = working.Timed("a", "int8", 1, 1, 40.0, 0.0, None, demands)
    share = shares.prediction_share(alone, limits)  # bytes are a quarter: 200 at 50, then 2000 FLOPs at 200
    assert (share.compute, share.limit, share.reached_of_compute) == (11.0, 4.0 + 10.0, 11 / 40)
    together = working.Timed("a", "int8", 8, 1, 40.0, 0.0, None, demands)
    assert shares.prediction_share(together, limits).limit == 1.0 + 10.0


def test_an_untrained_model_scores(scripts):
    """What the benchmark measures where no model is given."""
    detector = scripts["working"].untrained("tf_efficientnet_lite0", ["64/2", "96/3"], reference_size=64)
    assert [part.name for part in detector.header_.modules] == ["64/2", "96/3"]
    (found,) = detector.score_maps([torch.zeros(80, 80, 3, dtype=torch.uint8).numpy()])
    assert found.shape == (80, 80)
    assert 0 <= found.min() <= found.max() <= 1
