"""Names from anywhere: kept escaped on one line, or refused in one line; the same on both databases."""

import pytest

from blemish.errors import InputError
from blemish.history.records import LONG, SHORT, Correction, Selection
from histories import history, judged, new_database, picture, postgresql, url  # noqa: F401

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
    "İ" * (LONG // 2): "İ" * (LONG // 2),  # in lower case half as long again
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
