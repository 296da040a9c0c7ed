"""Modules side by side: what waits for what, how many at a time, on how many threads, and how all of it ends."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event, Lock, Thread

import pytest
import torch

from blemish.errors import InputError
from blemish.method.learning.schedule import Share, longest_ways, shared_out, side_by_side

COSTS = {"a": 1.0, "b": 2.0, "c": 4.0, "d": 8.0, "e": 16.0}
AFTER = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"], "e": []}


def run(work, *, share, fits=lambda name, others: True, stop=None, costs=COSTS, after=AFTER):
    side_by_side(work, costs, after, share=share, fits=fits, stop=stop or Event())


def test_the_longest_way_is_that_of_a_task_and_the_costliest_chain_behind_it():
    assert longest_ways(COSTS, AFTER) == {"a": 13.0, "b": 10.0, "c": 12.0, "d": 8.0, "e": 16.0}


def test_the_longest_way_goes_first_and_nothing_before_what_it_waits_for():
    begun, lock = [], Lock()

    def work(name):
        with lock:
            begun.append(name)
        time.sleep(0.3 if name == "e" else 0.02)

    run(work, share=Share(2, 1))
    assert begun == ["e", "a", "c", "b", "d"]


def test_one_at_a_time_is_done_in_the_order_that_is_given():
    begun = []
    run(begun.append, share=Share(1, 1))
    assert begun == list(COSTS)


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_so_many_at_the_same_time_each_with_its_threads(jobs):
    before = torch.get_num_threads()
    at_work, most, threads, lock = 0, 0, set(), Lock()

    def work(name):
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
            threads.add((threading.current_thread().name, torch.get_num_threads()))
        time.sleep(0.05)
        with lock:
            at_work -= 1

    run(work, share=Share(jobs, before + 1), after=dict.fromkeys(COSTS, ()))
    assert most == jobs
    assert {count for _, count in threads} == {before + 1}
    assert torch.get_num_threads() == before
    with ThreadPoolExecutor(1) as other:  # one that is begun later has not been changed either
        assert other.submit(torch.get_num_threads).result() == before


def test_what_does_not_fit_beside_the_others_waits_until_it_is_alone():
    together = []

    def fits(name, others):
        together.append((name, *others))
        return "e" not in (name, *others)

    at_work, seen = set(), []

    def work(name):
        at_work.add(name)
        time.sleep(0.05)
        seen.append(frozenset(at_work))
        at_work.remove(name)

    run(work, share=Share(2, 1), fits=fits)
    assert frozenset("e") in seen
    assert frozenset("bc") in seen
    assert all(len(one) == 1 for one in seen if "e" in one)


def test_a_task_that_fails_ends_the_others_and_is_raised():
    stop, begun, ended = Event(), Event(), []

    def work(name):
        if name == "a":
            begun.wait(5)
            raise InputError("a has failed")
        begun.set()
        assert stop.wait(5)
        ended.append(name)

    with pytest.raises(InputError, match="a has failed"):
        run(work, share=Share(2, 1), stop=stop)
    assert ended == ["e"]


def test_two_modules_where_there_are_threads_for_them(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert shared_out(None, "cpu") == Share(2, 4)
    assert shared_out(None, "cuda") == Share(1, 8)
    assert [shared_out(jobs, "cpu") for jobs in (1, 3, 16)] == [Share(1, 8), Share(3, 2), Share(16, 1)]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert shared_out(None, "cpu") == Share(1, 1)
    with pytest.raises(InputError, match="jobs: 0 is not allowed"):
        shared_out(0, "cpu")


def test_two_fits_in_one_process_leave_the_number_of_threads_as_it_was():
    before, both, ends = torch.get_num_threads(), Barrier(2), []

    def work(name):
        both.wait(5)
        ends.append(shared_out(1, "cpu").threads)

    def fit():
        run(work, share=Share(1, before + 1), costs={"a": 1.0}, after={"a": []})

    fits = [Thread(target=fit) for _ in range(2)]
    for one in fits:
        one.start()
    for one in fits:
        one.join()
    assert ends == [before] * 2
    with ThreadPoolExecutor(1) as other:
        assert other.submit(torch.get_num_threads).result() == before
