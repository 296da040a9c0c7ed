"""A pool of processes: what hangs or dies costs its own job only; jobs wait in a queue that has an end."""

import os
import signal
import time

import psutil
import pytest

import pooled
from blemish.errors import InputError, ModelFileError
from blemish.service.work import pool as room
from blemish.service.work.pool import BusyError, LateError, LostError, Pool


@pytest.fixture
def pool():
    with Pool(pooled.work, count=2, deadline=1.5, waiting=2) as pool:
        yield pool


def back(pool, *, within=5.0):
    """Wait until all processes are ready, and return how long that took, s."""
    start = time.monotonic()
    while pool.ready < pool.count:
        assert time.monotonic() - start < within
        time.sleep(0.02)
    return time.monotonic() - start


def pids(pool):
    jobs = [pool.submit({"do": "wait", "seconds": 0.3}) for _ in range(pool.count)]
    return {job.result(5)[0]["pid"] for job in jobs}


def test_jobs_are_answered_by_other_processes(pool):
    said, data = pool.submit({"do": "echo"}, b"abc").result(5)
    assert (said["bytes"], data) == (3, b"cba")
    assert said["pid"] != os.getpid()
    assert 0 <= said["queue"] < 1000
    assert len(pids(pool)) == 2


def test_a_job_of_16_mib_passes(pool):
    image = os.urandom(16 << 20)
    assert pool.submit({"do": "echo"}, image).result(5)[1] == image[::-1]


def test_a_process_that_dies_costs_its_own_job_and_is_back(pool):
    other = pool.submit({"do": "wait", "seconds": 0.5})
    with pytest.raises(LostError):
        pool.submit({"do": "die"}).result(5)
    assert other.result(5)
    back(pool)
    assert pool.restarts == 1
    assert len(pids(pool)) == 2


@pytest.mark.parametrize("way", ["hang", "half"])
def test_a_process_that_hangs_is_ended_at_the_deadline_and_is_back(pool, way):
    start = time.monotonic()
    job = pool.submit({"do": way})
    assert pool.submit({"do": "echo"}).result(5)
    with pytest.raises(LateError):
        job.result(5)
    assert 1.4 < time.monotonic() - start < 2.5
    back(pool)
    assert len(pids(pool)) == 2


def test_a_stopped_process_that_takes_no_bytes_is_ended_at_the_deadline(pool):
    for pid in pids(pool):
        os.kill(pid, signal.SIGSTOP)
    jobs = [pool.submit({"do": "echo"}, bytes(1 << 20)) for _ in range(2)]
    for job in jobs:
        with pytest.raises(LateError):
            job.result(5)
    back(pool)
    assert len(pids(pool)) == 2


def test_a_process_that_is_killed_while_idle_costs_nothing(pool):
    for pid in pids(pool):
        os.kill(pid, signal.SIGKILL)
    while pool.restarts < 2:
        time.sleep(0.02)
    assert back(pool) < 5
    assert pool.submit({"do": "echo"}).result(5)


def test_the_queue_has_an_end(pool):
    jobs = [pool.submit({"do": "wait", "seconds": 0.5}) for _ in range(2)]
    while pool.waiting:
        time.sleep(0.01)
    waiting = [pool.submit({"do": "echo"}) for _ in range(4)]
    with pytest.raises(BusyError):
        pool.submit({"do": "echo"})
    assert waiting[0].cancel()
    last = pool.submit({"do": "echo"})
    assert all(job.result(5) for job in [*jobs, *waiting[1:], last])
    assert pool.waiting == 0


def test_who_waits_until_the_deadline_is_told_so(pool):
    hanging = [pool.submit({"do": "hang"}) for _ in range(2)]
    waiting = pool.submit({"do": "echo"})
    for job in [*hanging, waiting]:
        with pytest.raises(LateError):
            job.result(10)


@pytest.mark.parametrize(
    ("mode", "kind", "line"),
    [("refused", ModelFileError, "no such bundle"), ("dies", InputError, "ended before it was ready")],
)
def test_what_hinders_the_start_is_raised(mode, kind, line):
    with pytest.raises(kind, match=line), Pool(pooled.work, mode, count=2):
        pass


def test_another_process_that_hangs_as_it_starts_is_ended_and_is_back(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "LEAST", 0.5)
    with Pool(pooled.work, "good", tmp_path / "starts", {2}, count=1) as pool:
        with pytest.raises(LostError):
            pool.submit({"do": "die"}).result(5)
        back(pool, within=20)
        assert pool.submit({"do": "echo"}).result(5)
    assert (tmp_path / "starts").read_bytes() == b"..."


def test_a_process_that_hangs_as_it_starts_does_not_keep_the_pool_open(tmp_path):
    with Pool(pooled.work, "good", tmp_path / "starts", {2}, count=1) as pool:
        pool._patience = room.STARTING
        pool.submit({"do": "die"})
        while (tmp_path / "starts").read_bytes() == b".":
            time.sleep(0.02)
        ending = time.monotonic()
    assert time.monotonic() - ending < 2


def test_no_process_is_left_when_the_pool_is_closed():
    before = set(psutil.Process().children())
    with Pool(pooled.work, count=2) as pool:
        job, waiting = pool.submit({"do": "hang"}), [pool.submit({"do": "hang"}) for _ in range(3)]
        assert len(set(psutil.Process().children()) - before) >= 2
        time.sleep(0.3)
    for one in [job, *waiting]:
        with pytest.raises(LostError):
            one.result(1)
    with pytest.raises(BusyError):
        pool.submit({"do": "echo"})
    left = set(psutil.Process().children()) - before
    assert [process for process in left if "resource_tracker" not in " ".join(process.cmdline())] == []
