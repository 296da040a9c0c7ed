"""Names from anywhere: kept escaped on one line, or refused in one line; the same on both databases."""

import random
from datetime import timedelta

import pytest

from blemish.errors import InputError
from blemish.history.records import LONG, SHORT, Correction, NamedModel, Selection, ThresholdChange
from blemish.verdict.threshold import Thresholds
from histories import NOON, history, judged, new_database, picture, postgresql, url  # noqa: F401

# In lower case these letters are two or three, and nothing repeats: an index of PostgreSQL would not take them.
GROWING = "".join(random.Random(0).choices("ŉǰΐΰİßäöüéèñçøåæþð", [5] * 5 + [1] * 13, k=LONG // 2))
KEPT = {
    "": "",
    "two\nlines": "two\\nlines",
    "a\0b": "a\\x00b",
    "😀 \U00020000": "😀 \U00020000",
    "half \ud83d": "half \\ud83d",
    "byte \udcff": "byte \\udcff",
    "gnp.\u202etxt": "gnp.\\u202etxt",
    "../../etc/passwd": "../../etc/passwd",
    "'; DROP TABLE inspections; --": "'; DROP TABLE inspections; --",
    "<script>alert(1)</script>": "<script>alert(1)</script>",
    "x" * LONG: "x" * LONG,
    GROWING: GROWING,
}


def test_every_name_comes_back_as_it_is_shown_and_is_found_by_itself(history):
    for name in KEPT:
        fields = {"name": name, "source": name if len(name) <= SHORT else ""}
        history.add(judged(**fields), picture())
    assert [one.name for one in history.each()] == list(KEPT.values())[::-1]
    for number, name in enumerate(KEPT, start=1):
        if name and len(name) <= SHORT:
            assert [one.id for one in history.each(Selection(name=name))] == [number]
            assert [one.id for one in history.each(Selection(source=name))] == [number]


def test_a_model_may_be_called_anything_and_is_found_by_it(history):
    for name, shown in KEPT.items():
        if 0 < len(name) <= SHORT:
            number = history.add(judged(model=name), picture()).id
            assert [one.id for one in history.each(Selection(model=name))] == [number]
            model = history.models()[0]
            assert model == NamedModel(name=name, fingerprint="b" * 64)
            assert history.scores(model, each="day", start=NOON, end=NOON + timedelta(hours=1))[0].count == 1
            change = {"model": name, "fingerprint": model.fingerprint, "who": name, "why": name}
            history.change_thresholds(ThresholdChange(**change, thresholds=Thresholds(0.5)))
            assert history.threshold_changes(model)[0].who == shown


def test_the_longest_words_of_all_fit(history):
    wide = "\U00020000" * (SHORT // 4)
    long = "\U00020000" * (LONG // 4)
    number = history.add(judged(name=long, source=wide, model=wide, times={wide: 1.0}), picture()).id
    history.correct(number, Correction(verdict="OK", who=wide, why=long))
    found = history.one(number)
    assert (found.name, found.source, found.model, found.times) == (long, wide, wide, {wide: 1.0})
    assert (found.corrections[0].who, found.corrections[0].why) == (wide, long)


@pytest.mark.parametrize("name", ["x" * 10_000, "x" * (LONG + 1), "ü" * (LONG // 2 + 1), "\n" * (LONG // 2 + 1)])
def test_longer_names_are_refused_in_one_short_line(name):
    with pytest.raises(InputError) as refused:
        judged(name=name)
    said = str(refused.value)
    assert said.startswith("history: field name: at most 2000 bytes are allowed, escaped characters counted as they")
    assert len(said) < 250
    assert said.isprintable()
    with pytest.raises(InputError, match=r"^history: field who: at most 255 bytes are allowed"):
        Correction(verdict="OK", who=name)
