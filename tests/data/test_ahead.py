"""A map that works ahead: its order, its bound, its errors, its threads."""

import threading
import time
from contextlib import closing

import pytest

from blemish.data.ahead import ahead
from meeting import Meeting


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


class Counted:
    """0, 1, 2 ... without an end unless one is given, and how many of them were taken."""

    def __init__(self, end=None):
        self.end, self.taken = end, 0

    def __iter__(self):
        return self

    def __next__(self):
        if self.taken == self.end:
            raise StopIteration
        self.taken += 1
        return self.taken - 1


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_come_in_order_whatever_takes_longest(workers):
    def squared(item):
        time.sleep(0.002 * (3 - item % 4))
        return item * item

    assert list(ahead(squared, range(20), workers=workers)) == [item * item for item in range(20)]
    assert list(ahead(squared, [], workers=workers)) == []
    assert list(ahead(squared, iter([7]), workers=workers)) == [49]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_few_items_are_taken_ahead_of_what_is_used(workers):
    items = Counted()
    with closing(ahead(lambda item: item, items, workers=workers)) as results:
        assert items.taken == 0
        for used in range(30):
            assert next(results) == used
            assert used < items.taken <= used + 2 * workers


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_as_many_are_computed_at_the_same_time_as_there_are_workers(workers):
    """All of them meet, and never one more."""
    meeting = Meeting(workers)

    def meet(item):
        meeting.come()
        return item

    assert list(ahead(meet, range(4 * workers), workers=workers)) == list(range(4 * workers))
    assert meeting.most == workers


def test_the_next_item_is_computed_while_the_last_is_used():
    met = threading.Barrier(2, timeout=5)

    def meet(item):
        if item:
            met.wait()
        return item

    with closing(ahead(meet, range(4), workers=1)) as results:
        assert next(results) == 0
        for item in range(1, 4):
            met.wait()  # the thread is at it before anybody asks
            assert next(results) == item


def test_items_are_taken_in_the_callers_thread_and_computed_in_others():
    def items():
        for _ in range(6):
            yield threading.get_ident()

    both = list(ahead(lambda taken: (taken, threading.get_ident()), items(), workers=2))
    assert {taken for taken, _ in both} == {threading.get_ident()}
    assert threading.get_ident() not in {computed for _, computed in both}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_comes_in_the_turn_of_its_item_and_ends_the_rest(workers):
    computed = []

    def fragile(item):
        computed.append(item)
        if item == 3:
            raise KeyError(item)
        return item

    items, got = Counted(), []
    results = ahead(fragile, items, workers=workers)
    with pytest.raises(KeyError, match="3"):
        got.extend(results)
    assert got == [0, 1, 2]
    assert items.taken <= 3 + 2 * workers
    assert len(computed) <= 3 + 2 * workers
    assert list(results) == []


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_an_error_in_taking_items_is_raised(kind):
    def items():
        yield 1
        raise kind("no more")

    with pytest.raises(kind, match="no more"):
        list(ahead(str, items(), workers=2))


def test_closing_drops_what_waits_and_ends_the_threads():
    busy, go, started = threading.Barrier(3, timeout=5), threading.Event(), []

    def slow(item):
        started.append(item)
        if item in (1, 2):
            busy.wait()
            go.wait(5)
        return item

    results = ahead(slow, range(100), workers=2)
    assert next(results) == 0
    busy.wait()  # both threads are at work, and the next item waits
    timer = threading.Timer(0.05, go.set)
    timer.start()
    results.close()
    timer.join()
    assert sorted(started) == [0, 1, 2]
    assert list(results) == []


def test_nothing_starts_before_it_is_asked_for():
    items, before = Counted(3), threading.active_count()
    results = ahead(str, items, workers=1)
    assert (items.taken, threading.active_count()) == (0, before)
    results.close()
