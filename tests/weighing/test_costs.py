"""Costs by a clock that only the parts move, subsets and fronts by hand, and a picture that shows them."""

import itertools
import time

import numpy as np
import pytest
from PIL import Image

from blemish.errors import InputError, StorageError
from blemish.images.resize import resize
from blemish.method import pyramid
from blemish.weighing.costs import WARM_UP, Costs, measure
from blemish.weighing.front import Point, pareto, plot_front
from tiny import tiny_detector

COSTS = Costs(
    resize={64: 1.0, 128: 2.0},
    stages={64: (10.0, 20.0, 30.0), 128: (100.0, 200.0)},
    modules={"64/2": 0.1, "64/3": 0.2, "128/2": 0.4},
    megabytes={"64/2": 1.5, "64/3": 2.5, "128/2": 3.5},
)


@pytest.mark.parametrize(
    ("names", "ms"),
    [
        ([], 0),
        (["64/2"], 1 + 10 + 20 + 0.1),
        (["64/3"], 1 + 10 + 20 + 30 + 0.2),
        (["64/2", "64/3"], 1 + 10 + 20 + 30 + 0.1 + 0.2),  # the stages once
        (["64/3", "64/2", "64/3"], 1 + 10 + 20 + 30 + 0.1 + 0.2),
        (["128/2", "64/2"], 2 + 100 + 200 + 0.4 + 1 + 10 + 20 + 0.1),
        (("64/2", "64/3", "128/2"), 363.7),
    ],
)
def test_a_set_of_modules_shares_the_teacher(names, ms):
    assert COSTS.of(names) == pytest.approx(ms)
    assert COSTS.of(iter(names)) == pytest.approx(ms)


def test_a_module_that_was_not_measured_is_named():
    with pytest.raises(InputError, match=r"^module 256/4 was not measured; measured: 64/2, 64/3, 128/2$"):
        COSTS.of(["64/2", "256/4"])


SECONDS = {"T1": 0.01, "T2": 0.02, "T3": 0.03, "64/2": 0.001, "64/3": 0.002, "128/2": 0.004, 64: 0.0001, 128: 0.0002}


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but for the parts: each takes its SECONDS, times the factor of the pass."""

    class Clock:
        now, passes, factors = 0.0, 0, ()

        def spend(self, part):
            self.passes += part == 64  # the first part of a pass
            counted = self.passes - WARM_UP
            self.now += SECONDS[part] * (1000 if counted < 1 else self.factors[counted - 1])

    clock = Clock()

    def count(image, size):
        clock.spend(size)
        return resize(image, size)

    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(pyramid, "resize", count)
    return clock


def test_costs_are_medians_of_each_part_after_a_warm_up(clock):
    detector, calls = tiny_detector(["64/2", "64/3", "128/2"], sizes=[64, 128, 192], delay=clock.spend)
    clock.factors = (3, 1, 2, 500, 2)  # a slow pass changes nothing
    costs = measure(detector.model_, repeats=5, image=np.zeros((50, 60, 3), np.uint8))
    assert clock.passes == WARM_UP + 5
    assert calls["T3"] == calls["64/3"] == WARM_UP + 5
    assert calls["T1"] == calls["T2"] == 2 * (WARM_UP + 5)
    assert not calls["T4"]
    assert costs.resize == pytest.approx({64: 0.2, 128: 0.4})
    assert costs.stages == {64: pytest.approx((20, 40, 60)), 128: pytest.approx((20, 40))}
    assert costs.modules == pytest.approx({"64/2": 2, "64/3": 4, "128/2": 8})
    every_call = 2 * 1e3 * sum(SECONDS.values()) + 2 * (10 + 20)  # T1 and T2 work at both sizes
    assert costs.of(costs.modules) == pytest.approx(every_call)


def test_megabytes_are_those_of_the_tensors_in_the_file(tmp_path):
    from safetensors.numpy import load_file

    detector, _ = tiny_detector(["64/2", "128/3"], sizes=[64, 128])
    costs = measure(detector.model_, repeats=1)
    detector.save(tmp_path / "m.safetensors")
    tensors = load_file(tmp_path / "m.safetensors")
    for name in ("64/2", "128/3"):
        size = sum(tensor.nbytes for key, tensor in tensors.items() if key.startswith(f"{name}/"))
        assert costs.megabytes[name] == pytest.approx(size / 1e6)
    assert all(value > 0 for value in (*costs.resize.values(), *costs.stages[128], *costs.modules.values()))


def test_what_cannot_be_measured_is_named():
    from blemish import Detector

    detector, _ = tiny_detector(["64/2"], sizes=[64])
    with pytest.raises(InputError, match=r"^repeats: 0 is not allowed, expected a whole number of at least 1$"):
        measure(detector.model_, repeats=0)
    with pytest.raises(InputError, match="not fitted yet"):
        Detector().weigh("x", good=[])


def point(ms, accuracy, *modules):
    return Point(modules or ("64/2",), ms, accuracy)


def test_a_front_holds_what_no_other_point_beats():
    cheap, middle, best = point(1, 0.5), point(2, 0.7), point(9, 0.9)
    beaten = [point(2, 0.6), point(3, 0.7), point(1.5, 0.5), point(9, 0.8), point(20, 0.9), point(4, 0.2)]
    for order in ([best, *beaten, cheap, middle], [*beaten[::-1], middle, best, cheap]):
        assert pareto(order) == [cheap, middle, best]
    assert pareto([]) == []
    assert pareto([best]) == [best]
    assert pareto([point(1, -0.5), point(2, -0.1)]) == [point(1, -0.5), point(2, -0.1)]


def test_of_equal_points_the_one_with_fewer_modules_stays():
    two, one = point(5, 0.8, "64/2", "64/3"), point(5, 0.8, "64/4")
    assert pareto([two, one]) == pareto([one, two]) == [one]


def test_a_front_is_that_of_a_slow_second_version():
    rng = np.random.default_rng(0)
    points = [point(float(ms), float(accuracy)) for ms, accuracy in rng.integers(0, 12, (200, 2))]
    slow = {
        (one.ms, one.accuracy)
        for one in points
        if not any(
            (two.ms <= one.ms and two.accuracy > one.accuracy) or (two.ms < one.ms and two.accuracy >= one.accuracy)
            for two in points
        )
    }
    assert [(one.ms, one.accuracy) for one in pareto(points)] == sorted(slow)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_number_that_is_not_finite_is_named(wrong):
    with pytest.raises(InputError, match=r"^64/2\+64/3: .* both must be finite$"):
        pareto([point(1, 0.5), point(1, wrong, "64/2", "64/3")])
    with pytest.raises(InputError, match=r"^64/2: .* both must be finite$"):
        pareto([point(wrong, 0.5)])


def red(picture):
    r, g, b = np.moveaxis(picture.astype(int), -1, 0)
    return (r > 180) & (g < 90) & (b < 90)


def test_a_front_is_drawn(tmp_path):
    names = ["64/2", "64/3", "128/2"]
    sets = [chosen for size in (1, 2, 3) for chosen in itertools.combinations(names, size)]
    points = [Point(chosen, COSTS.of(chosen), 0.5 + 0.1 * len(chosen)) for chosen in sets]
    plot_front(tmp_path / "front.png", points, chosen=points[0])
    with Image.open(tmp_path / "front.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (800, 500))
        marked = np.array(picture.convert("RGB"))
    assert 100 < red(marked).sum() < 2000  # the ring around the chosen point, and in the legend
    plot_front(tmp_path / "plain.png", points)
    plain = np.array(Image.open(tmp_path / "plain.png").convert("RGB"))
    assert not red(plain).any()
    plot_front(tmp_path / "again.png", points, chosen=points[0])
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "front.png").read_bytes()
    with pytest.raises(StorageError, match=r"missing/front.png: cannot be written"):
        plot_front(tmp_path / "missing" / "front.png", points)


def test_points_of_a_front_carry_their_number_of_modules(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn, annotate = [], Axes.annotate

    def note(axes, text, xy, **options):
        drawn.append((text, xy))
        return annotate(axes, text, xy, **options)

    monkeypatch.setattr(Axes, "annotate", note)
    points = [point(1, 0.5), point(1.001, 0.501, "a", "b"), point(8, 0.9, "a", "b", "c"), point(9, 0.4)]
    plot_front(tmp_path / "front.png", points)
    assert drawn == [("1", (1, 0.5)), ("3", (8, 0.9))]  # a label over its neighbour's is left out
