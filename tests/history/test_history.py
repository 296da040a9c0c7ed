"""What is put in comes back, on SQLite and PostgreSQL alike: inspections, corrections, thresholds, pages, figures."""

import math
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from hashlib import sha256

import pytest

from blemish.errors import InputError
from blemish.history import figures
from blemish.history.figures import Band, Counts
from blemish.history.records import Correction, NamedModel, Selection, ThresholdChange
from blemish.history.tables import EPOCH, MICROSECOND
from blemish.verdict.threshold import Thresholds
from histories import NOON, history, judged, new_database, opened, picture, postgresql, region, url  # noqa: F401

MINUTE = timedelta(minutes=1)
LAST = datetime.max.replace(tzinfo=timezone(-MINUTE))
BRICK, GRASS = (NamedModel(name=name, fingerprint="b" * 64) for name in ("brick", "grass"))


def numbers(page):
    return [inspection.id for inspection in page.inspections]


def correction(verdict, who="Ada", **fields):
    return Correction(verdict=verdict, who=who, at=NOON, **fields)


def test_an_inspection_comes_back_as_it_was_given(history):
    given = judged(
        name="Teil/äöü 部品.png", score=0.1 + 0.2, verdict="NG", source="line 1",
        regions=[region(), region(peak=0.625)], times={"decode": 1.5, "score": 20.0},
        at=datetime(2026, 3, 4, 14, 0, 0, 123456, timezone(timedelta(hours=2))),
    )  # fmt: skip
    added = history.add(given, picture(7))
    found = history.one(added.id)
    assert {name: getattr(found, name) for name in type(given).model_fields} == dict(given)
    assert found.at == datetime(2026, 3, 4, 12, 0, 0, 123456, UTC)
    assert found.at.tzinfo is UTC
    assert found.regions == [region(), region(peak=0.625)]
    assert (found.standing, found.corrections) == ("NG", [])
    assert added.sha256 == found.sha256 == sha256(picture(7)).hexdigest()
    assert added.kept
    assert found.kept == f"{found.sha256[:2]}/{found.sha256}.png"
    assert history.image(found) == picture(7)
    assert history.models() == [BRICK]


def test_what_was_added_is_there_after_opening_again(url, tmp_path):
    with opened(tmp_path, url=url) as history:
        number = history.add(judged(thresholds=Thresholds(0.4)), picture()).id
    with opened(tmp_path, url=url) as history:
        assert history.one(number).thresholds == Thresholds(0.4, None)
        assert history.add(judged(1), picture(1)).id == number + 1


def test_the_newest_correction_stands_and_none_is_forgotten(history):
    number = history.add(judged(verdict="NG"), picture()).id
    history.correct(number, correction("OK", why="dust"))
    history.correct(number, correction("NG", who="Bob", why="a crack after all"))
    found = history.one(number)
    assert (found.verdict, found.standing) == ("NG", "NG")
    assert [(said.verdict, said.who, said.why, said.at) for said in found.corrections] == [
        ("OK", "Ada", "dust", NOON),
        ("NG", "Bob", "a crack after all", NOON),
    ]
    with pytest.raises(InputError, match=r"^history: inspection 99 is not there$"):
        history.correct(99, correction("OK"))
    with pytest.raises(InputError, match=r"^history: inspection 99 is not there$"):
        history.one(99)


@pytest.mark.parametrize("number", [0, -1, 1 << 63, 10**30, True, "1"])
def test_what_is_no_number_of_an_inspection_is_refused(history, number):
    for call in (history.one, lambda number: history.correct(number, correction("OK"))):
        with pytest.raises(InputError, match=r"^inspection: .* is not allowed, expected a whole number from 1 to "):
            call(number)


def test_thresholds_belong_to_one_bundle_and_the_newest_come_first(history):
    def change(fingerprint, review, why):
        fields = {"thresholds": Thresholds(review), "who": "Ada", "why": why, "at": NOON}
        return ThresholdChange(model="brick", fingerprint=fingerprint, **fields)

    first, second, other = change("b" * 64, 0.5, "new light"), change("b" * 64, 0.625, ""), change("c" * 64, 0.75, "")
    for one in (first, second, other):
        history.change_thresholds(one)
    assert history.threshold_changes(BRICK) == [second, first]
    assert history.threshold_changes(NamedModel(name="brick", fingerprint="c" * 64)) == [other]
    assert history.threshold_changes(GRASS) == []


def test_pages_follow_each_other_however_many_come_in_meanwhile(history):
    for number in range(7):
        history.add(judged(number // 2), picture())  # two at a time: their numbers part them
    first = history.page(limit=3)
    history.add(judged(50), picture())
    second = history.page(before=first.next, limit=3)
    third = history.page(before=second.next, limit=3)
    assert [numbers(page) for page in (first, second, third)] == [[7, 6, 5], [4, 3, 2], [1]]
    assert third.next is None
    assert history.page(limit=8).next is None
    assert [one.id for one in history.each()] == [8, 7, 6, 5, 4, 3, 2, 1]
    for wrong in ("", "1", "1-2-3", "x-1", "1-1; DROP TABLE inspections"):
        with pytest.raises(InputError, match=r"^history: page "):
            history.page(before=wrong)
    with pytest.raises(InputError, match=r"^limit: 0 is not allowed"):
        history.page(limit=0)


def test_each_filter_finds_its_own_and_all_together_agree(history):
    history.add(judged(0, name="A/Straße_1.png", source="line 1"), picture())
    history.add(judged(1, name="A/100%.png", verdict="NG"), picture())
    history.add(judged(2, name="b.png", model="grass"), picture())
    history.add(judged(3, name="c.png", fingerprint="c" * 64, verdict="REVIEW"), picture())
    history.correct(2, correction("OK"))

    def found(**fields):
        return numbers(history.page(Selection(**fields)))

    assert found() == [4, 3, 2, 1]
    assert found(model="brick") == [4, 2, 1]
    assert found(model="nothing") == []
    assert found(fingerprint="b" * 64) == [3, 2, 1]
    assert found(model="brick", fingerprint="b" * 64) == [2, 1]
    assert found(model="grass", fingerprint="c" * 64) == []
    assert found(verdict="OK") == [3, 2, 1]
    assert found(verdict="NG") == []
    assert found(start=NOON + MINUTE) == [4, 3, 2]
    assert found(end=NOON + MINUTE) == [1]
    assert found(start=NOON + MINUTE, end=NOON + 3 * MINUTE) == [3, 2]
    assert found(source="line 1") == [1]
    assert found(source="") == [4, 3, 2]
    assert found(name="a/") == [2, 1]
    assert found(name="STRASSE") == [1]
    assert found(name="%") == [2]  # no pattern
    assert found(name="_") == [1]
    assert found(mistake="false alarm") == [2]
    assert found(mistake="escape") == []
    assert found(model="brick", verdict="OK", name="png", start=NOON, source="", mistake="false alarm") == [2]


def test_counts_are_of_the_verdicts_that_stand(history):
    for number, verdict in enumerate(["OK", "OK", "OK", "REVIEW", "NG", "NG"]):
        history.add(judged(number, verdict=verdict), picture())
    history.add(judged(6, model="grass"), picture())
    assert history.counts() == Counts({"OK": 4, "REVIEW": 1, "NG": 2}, 0, 0)
    history.correct(1, correction("NG"))  # an escape
    history.correct(2, correction("OK"))  # agrees
    history.correct(4, correction("OK"))  # a false alarm of REVIEW
    history.correct(5, correction("REVIEW"))  # neither
    history.correct(6, correction("OK"))  # a false alarm of NG, and taken back
    history.correct(6, correction("NG"))
    assert history.counts() == Counts({"OK": 4, "REVIEW": 1, "NG": 2}, 1, 1)
    assert history.counts(Selection(model="brick", start=NOON + MINUTE)) == Counts(
        {"OK": 3, "REVIEW": 1, "NG": 1}, 1, 0
    )


@pytest.mark.parametrize("verdict", [None, "OK", "REVIEW", "NG"])
def test_a_page_and_its_counts_are_what_each_is_alone(history, verdict):
    for number in range(24):
        given = judged(number // 4, verdict=("OK", "NG", "OK", "REVIEW", "OK")[number % 5], source=f"line {number % 2}")
        added = history.add(given, picture())
        if number % 3 == 0:
            history.correct(added.id, correction(("OK", "NG")[number % 2]))
    times = {"start": NOON + MINUTE, "end": NOON + 5 * MINUTE}
    for others in ({}, times, {"source": "line 1"}, {"name": "part", **times}, {"mistake": "escape"}, {"name": "x"}):
        chosen, before = Selection(verdict=verdict, **others), None
        every = chosen.model_copy(update={"verdict": None, "mistake": None})
        standing = [one.standing for one in history.each(every)]
        counted = history.counts(every)
        assert counted.verdicts == {one: standing.count(one) for one in ("OK", "REVIEW", "NG")}
        while True:
            page, counts = history.page_and_counts(chosen, before=before, limit=3)  # fewer than there are of one time
            assert (page, counts) == (history.page(chosen, before=before, limit=3), counted)
            if (before := page.next) is None:
                break
        alone = history.counts(chosen).verdicts
        assert alone == {one: sum(found.standing == one for found in history.each(chosen)) for one in alone}
    newer = f"{(NOON + timedelta(days=1) - EPOCH) // MICROSECOND}-1"  # typed by hand, after the end
    assert history.page_and_counts(Selection(**times), before=newer)[1] == history.counts(Selection(**times))


def test_scores_over_time_are_those_of_parts_that_stand_as_good(history):
    for number in range(80):
        history.add(judged(number / 2, score=number / 128), picture())
    history.add(judged(0, score=1.0, verdict="NG"), picture())
    history.add(judged(60, score=0.5), picture())
    history.add(judged(60, score=0.75, verdict="NG"), picture())
    history.add(judged(24 * 60, score=0.125), picture())
    history.add(judged(0, score=0.9, fingerprint="c" * 64), picture())
    history.correct(83, correction("OK"))

    def scores(each, days):
        return history.scores(BRICK, each=each, start=NOON, end=NOON + timedelta(days=days))

    hour = timedelta(hours=1)
    assert scores("hour", 1) == [
        Band(NOON, 80, 1 / 128, 39 / 128, 78 / 128),  # ranks 1, 39 and 78
        Band(NOON + hour, 2, 0.5, 0.5, 0.75),
    ]
    day = NOON - 12 * hour
    assert scores("day", 1) == [  # the second day holds the time before the end
        Band(day, 82, 2 / 128, 40 / 128, 78 / 128),
        Band(day + 24 * hour, 1, 0.125, 0.125, 0.125),
    ]
    assert history.scores(GRASS, each="day", start=NOON, end=NOON + hour) == []
    with pytest.raises(InputError, match=r"^history: 401 hours are too many for a plot, at most 400 are allowed$"):
        history.scores(BRICK, each="hour", start=NOON, end=NOON + 401 * hour)
    with pytest.raises(InputError, match=r"^each: week is not allowed"):
        history.scores(BRICK, each="week", start=NOON, end=NOON + hour)


def test_what_is_read_together_is_of_one_moment(history):
    history.add(judged(), picture())
    with history.database.reading() as connection:
        before = figures.counts(connection, Selection())
        history.add(judged(1, verdict="NG"), picture())
        history.correct(1, correction("NG"))
        assert figures.counts(connection, Selection()) == before == Counts({"OK": 1, "REVIEW": 0, "NG": 0}, 0, 0)
    assert history.counts() == Counts({"OK": 0, "REVIEW": 0, "NG": 2}, 0, 1)


def test_many_threads_write_at_the_same_time(history):
    with ThreadPoolExecutor(8) as threads:
        added = list(
            threads.map(lambda number: history.add(judged(number, model=f"m{number % 3}"), picture(number)), range(64))
        )
    assert sorted(one.id for one in added) == list(range(1, 65))
    assert history.counts().verdicts == {"OK": 64, "REVIEW": 0, "NG": 0}
    assert sorted(model.name for model in history.models()) == ["m0", "m1", "m2"]
    assert all(history.image(one) == picture(int(one.name[5:9])) for one in history.each())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"score": math.nan}, "history: field score: Input should be a finite number, got nan"),
        ({"score": -0.5}, "history: field score: Input should be greater than or equal to 0, got -0.5"),
        ({"width": 0}, "history: field width: Input should be greater than or equal to 1, got 0"),
        ({"verdict": "ok"}, "history: field verdict: Input should be 'OK', 'REVIEW' or 'NG', got 'ok'"),
        ({"model": ""}, "history: field model: must not be empty, got ''"),
        ({"times": {"score": math.inf}}, "history: field times.score: Input should be a finite number, got inf"),
        ({"regions": [region(mean=math.nan)]}, "history: field regions: numbers must be finite"),
        ({"at": LAST}, "history: field at: must lie between the years 1 and 9999"),
        ({"at": datetime(2026, 1, 1)}, "history: field at: Input should have timezone info"),
    ],
)
def test_what_is_no_inspection_is_refused_when_it_is_made(fields, said):
    with pytest.raises(InputError) as refused:
        judged(**fields)
    assert str(refused.value) == said


def test_bytes_that_are_no_image_are_refused(history):
    with pytest.raises(InputError, match=r"^history: not an image \(allowed: PNG, JPEG, BMP, TIFF\)$"):
        history.add(judged(), b"GIF89a")
    assert history.page().inspections == []
