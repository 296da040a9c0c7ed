"""What the page asks for stays within the indexes that are made for it, as SQLite's planner says itself.

`benchmarks/history` measures it on both databases with a million inspections.
"""

from datetime import timedelta
from itertools import pairwise

import pytest
from sqlalchemy import event

from blemish.history import writing
from blemish.history.records import Correction, NamedModel, Selection
from histories import NOON, history, judged, picture  # noqa: F401

DAY = timedelta(days=1)
BY_TIME, NOT_GOOD, MISTAKEN = "inspections_by_time", "inspections_not_good", "inspections_mistaken"


@pytest.fixture
def url():
    return None


@pytest.fixture
def plans(history):
    """Fill a little, and return what gives the steps of every statement that a call sends."""
    for number in range(60):
        verdict = "NG" if number % 10 == 0 else "OK"
        added = history.add(judged(number * 30, verdict=verdict, source=f"line {number % 3}"), picture())
        if number % 20 == 0:
            history.correct(added.id, Correction(verdict="OK", who="Ada"))

    def of(call):
        sent = []

        def note(connection, cursor, statement, parameters, context, executemany):
            if statement.startswith("SELECT"):
                sent.append((statement, parameters))

        event.listen(history.database.engine, "before_cursor_execute", note)
        call(history)
        event.remove(history.database.engine, "before_cursor_execute", note)
        steps = []
        with history.database.reading() as connection:
            for statement, parameters in sent:
                rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
                steps += [row[-1] for row in rows]
        return steps

    return of


def page(**fields):
    return lambda history: history.page(Selection(**fields))


@pytest.mark.parametrize(
    ("call", "index"),
    [
        (page(), BY_TIME),
        (lambda history: history.page(before=history.page(limit=5).next), BY_TIME),
        (page(model="brick"), BY_TIME),
        (page(source="line 9"), BY_TIME),
        (page(name="part 0007"), BY_TIME),
        (page(start=NOON, end=NOON + DAY), BY_TIME),
        (page(verdict="OK", model="brick", source="line 1", name="x", start=NOON, end=NOON + DAY), BY_TIME),
        (page(verdict="NG"), NOT_GOOD),
        (page(verdict="REVIEW", model="brick", source="line 1", name="x", start=NOON, end=NOON + DAY), NOT_GOOD),
        (page(mistake="false alarm"), MISTAKEN),
        (page(mistake="escape", model="brick", source="line 1", name="x", start=NOON), MISTAKEN),
    ],
)
def test_a_page_is_searched_in_one_index_in_its_order(plans, call, index):
    steps = plans(call)
    searched = [step for step in steps if "inspections USING" in step and "PRIMARY KEY" not in step]
    assert searched
    assert {step.split(" USING ")[1].split(" (")[0] for step in searched} == {f"COVERING INDEX {index}"}
    # Only the rows of the page itself are sorted, once they are known.
    assert not any("TEMP B-TREE" in after for step, after in pairwise(steps) if step in searched)
    assert "SCAN inspections" not in steps


def test_counts_read_indexes_only(plans):
    steps = plans(lambda history: history.counts(Selection(start=NOON, model="brick")))
    used = [step.split("COVERING INDEX ")[1].split(" (")[0] for step in steps if "inspections" in step]
    assert used == [BY_TIME, *[NOT_GOOD] * 3, MISTAKEN, MISTAKEN]


@pytest.mark.parametrize("end", [None, NOON + DAY])
def test_what_is_not_good_is_counted_in_its_index_however_the_time_is_bounded(plans, end):
    chosen = Selection(start=NOON, end=end, name="part")
    assert any(f"INDEX {NOT_GOOD} (standing=? AND at>?" in step for step in plans(lambda one: one.unseen(chosen)))
    steps = plans(lambda history: history.page_and_counts(chosen, limit=5))
    assert sum(f"INDEX {BY_TIME}" in step for step in steps) == 2  # the page, and what is older


def work(history, call):
    """Return how many steps SQLite's machine makes for a call."""
    steps = []
    with history.database.reading() as connection:
        lent = connection.connection.driver_connection
    lent.set_progress_handler(lambda: steps.append(10), 10)
    call()
    lent.set_progress_handler(None, 10)
    return sum(steps)


@pytest.mark.parametrize("verdict", [None, "OK"])
@pytest.mark.parametrize("name", ["none", "part 0001", "part 1999", "part 00", "part"])
def test_a_page_and_its_counts_search_once_wherever_they_find_something(history, verdict, name):
    with history.database.writing() as connection:
        number = writing.model_number(connection, "brick", "b" * 64)
        for minute in range(2000):
            writing.add_inspection(connection, judged(minute), digest=f"{minute:064x}", model=number)
    bounds = {"start": NOON, "end": NOON + 9 * DAY}
    once = work(history, lambda: history.page(Selection(name="none", **bounds)))
    most = once + 2 * work(history, history.page)  # of fifty that are found at once
    middle = history.page(Selection(end=NOON + timedelta(minutes=1000)), limit=1).next
    for before in (None, middle):
        chosen = Selection(name=name, verdict=verdict, **bounds)
        assert work(history, lambda: history.page_and_counts(chosen, before=before)) < most  # noqa: B023


@pytest.mark.parametrize("each", ["hour", "day"])
def test_scores_are_counted_off_in_order(plans, each):
    model = NamedModel(name="brick", fingerprint="b" * 64)
    steps = plans(lambda history: history.scores(model, each=each, start=NOON, end=NOON + DAY))
    searched = [step for step in steps if "inspections" in step]
    assert len(searched) > 3
    assert all(f"INDEX good_by_{each} ({each}=? AND model_id=?" in step for step in searched)
    assert not any("TEMP B-TREE" in step for step in steps)
