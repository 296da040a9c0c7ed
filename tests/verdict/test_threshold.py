"""Thresholds and what they promise, by hand; how rates and scores are read, and what is refused."""

import math

import numpy as np
import pytest

from blemish.errors import InputError
from blemish.verdict.threshold import (
    DEFAULT,
    Budget,
    Step,
    Thresholds,
    menu,
    percent,
    promised,
    read_budget,
    read_thresholds,
    thresholds,
)


def rank(count, budget):
    """Which of `count` scores, counted from 1 at the highest, a budget takes; None where NG has none."""
    found = thresholds([1 - index / 1000 for index in range(count)], budget)
    return tuple(None if one is None else round((1 - one) * 1000) + 1 for one in (found.review, found.ng))


def test_the_menu_promises_one_part_more_for_each_image():
    assert menu([0.2, 0.5, 0.3]) == [Step(1 / 4, 0.5), Step(2 / 4, 0.3), Step(3 / 4, 0.2)]
    assert menu([]) == []
    screws = [0.5, 0.3, 0.297, 0.296, *(0.2 - index / 1000 for index in range(44))]
    steps = menu(screws[::-1])
    assert [(percent(one.promise), one.threshold) for one in steps[:4]] == [
        ("2.1 %", 0.5),
        ("4.1 %", 0.3),
        ("6.2 %", 0.297),
        ("8.2 %", 0.296),
    ]
    assert (len(steps), steps[-1].promise) == (48, 48 / 49)


@pytest.mark.parametrize(
    ("threshold", "share"),
    [(0.9, 1 / 5), (0.5, 1 / 5), (0.45, 2 / 5), (0.4, 2 / 5), (0.3, 3 / 5), (0.2, 4 / 5), (0.1, 5 / 5)],
)
def test_any_threshold_promises_what_the_next_score_below_it_does(threshold, share):
    assert promised([0.2, 0.5, 0.4, 0.3], threshold) == pytest.approx(share)


def test_equal_scores_promise_together():
    """Above a score that three of four share lies none of them: the threshold promises what the first of them does."""
    scores = [0.3, 0.3, 0.3, 0.2]
    assert [one.promise for one in menu(scores)] == [1 / 5, 2 / 5, 3 / 5, 4 / 5]
    assert [promised(scores, threshold) for threshold in (0.3, 0.25, 0.2, 0.1)] == [1 / 5, 4 / 5, 4 / 5, 5 / 5]
    assert thresholds(scores, Budget(0.6)) == Thresholds(0.3)


@pytest.mark.parametrize(
    ("count", "ranks"),
    [
        (2, (2, None)),  # never the highest of all: no image decides alone
        (3, (2, None)),
        (19, (2, None)),  # 5 % are 1 of 20
        (38, (2, None)),
        (39, (2, None)),  # 5 % are 2 of 40
        (48, (2, None)),
        (57, (2, None)),  # 3 of 58 are 5.17 %, above 5 % of which 0.125 % are rounding
        (58, (3, None)),  # 3 of 59 are 5.08 %
        (96, (4, None)),
        (97, (5, 1)),  # 1 of 98 are 1.02 %: typed 1 %
        (99, (5, 1)),
        (199, (10, 2)),
        (999, (51, 10)),
    ],
)
def test_the_default_is_5_and_1_percent_as_far_as_images_carry_them(count, ranks):
    assert Budget(0.05, 0.01) == DEFAULT
    assert rank(count, None) == ranks


def test_what_is_asked_for_may_let_one_image_decide_and_the_default_does_not():
    assert rank(19, Budget(0.05)) == (1, None)
    assert rank(19, None) == (2, None)
    assert rank(48, Budget(0.021)) == (1, None)
    assert rank(48, Budget(0.09, 0.021)) == (4, 1)
    assert rank(48, Budget(0.05, 0.045)) == (2, 2)  # both rates are paid for by the same image


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("2.1%", 1), ("4%", 2), ("4.1%", 2), ("3.9%", 1), ("6%", 3), ("6.2%", 3), ("8.2%", 4), ("50%", 25), ("0.041", 2)],
)
def test_what_is_typed_from_the_menu_is_what_it_says(typed, expected):
    """Of 48 held-out images: k of 49 are 2.04, 4.08, 6.12, 8.16 %, of which a person types two digits or one."""
    assert rank(48, read_budget(typed)) == (expected, None)


def test_every_line_of_every_menu_can_be_typed_as_it_is_printed():
    for count in (2, 9, 29, 48, 99, 400):
        for number, step in enumerate(menu(list(range(count)))[:6], start=1):
            assert rank(count, read_budget(percent(step.promise).replace(" ", "")))[0] == number


@pytest.mark.parametrize(
    ("count", "budget", "message"),
    [
        (
            48,
            Budget(0.01),
            "false alarms: 1 % needs 99 held-out good images; these 48 support 2.1 % (one image decides) or 4.1 %",
        ),
        (
            48,
            Budget(0.05, 0.01),
            "false alarms: 1 % needs 99 held-out good images; these 48 support 2.1 % (one image decides) or 4.1 %",
        ),
        (
            2,
            Budget(0.2),
            "false alarms: 20 % needs 4 held-out good images; these 2 support 34 % (one image decides) or 67 %",
        ),
        (
            6,
            Budget(0.1, 0.002),
            "false alarms: 10 % needs 9 held-out good images; these 6 support 15 % (one image decides) or 29 %",
        ),
    ],
)
def test_a_rate_that_images_cannot_carry_is_refused_with_both_ways_out(count, budget, message):
    with pytest.raises(InputError) as caught:
        thresholds(range(count), budget)
    assert str(caught.value) == message


@pytest.mark.parametrize("needed", [3, 9, 19, 49, 99, 199, 999])
def test_as_many_images_as_it_says_are_enough(needed):
    rate = 1 / (needed + 1)
    with pytest.raises(InputError, match=f" needs {needed} held-out good images; these 2 support"):
        thresholds([0.1, 0.2], Budget(rate))
    assert rank(needed, Budget(rate)) == (1, None)


def test_the_promise_is_kept():
    """Of many draws of 48 good scores and a new one the share above each threshold is what it promises."""
    random = np.random.default_rng(1)
    draws, budget = 20_000, Budget(0.09, 0.021)
    review, ng = 0, 0
    for scores in random.gamma(2.0, size=(draws, 49)):
        found = thresholds(scores[1:].tolist(), budget)
        review += found.verdict(scores[0]) != "OK"
        ng += found.verdict(scores[0]) == "NG"
    for count, promise in ((review, 4 / 49), (ng, 1 / 49)):
        assert count / draws == pytest.approx(promise, abs=4 * math.sqrt(promise / draws))


@pytest.mark.parametrize(
    ("given", "score", "word"),
    [
        (Thresholds(0.4, 0.5), 0.4, "OK"),
        (Thresholds(0.4, 0.5), 0.41, "REVIEW"),
        (Thresholds(0.4, 0.5), 0.5, "REVIEW"),
        (Thresholds(0.4, 0.5), 0.51, "NG"),
        (Thresholds(0.4, 0.4), 0.41, "NG"),
        (Thresholds(0.4), 0.4, "OK"),
        (Thresholds(0.4), 0.41, "NG"),
    ],
)
def test_verdicts(given, score, word):
    assert given.verdict(score) == word


@pytest.mark.parametrize(
    ("given", "budget"),
    [
        ("5%,1%", Budget(0.05, 0.01)),
        (" 5 % , 1 % ", Budget(0.05, 0.01)),
        ("0.05,0.01", Budget(0.05, 0.01)),
        ("5%", Budget(0.05)),
        (".05", Budget(0.05)),
        ("4.1%,2.1%", Budget(0.041, 0.021)),
        ("1e-2", Budget(0.01)),
        (np.float32(0.25), Budget(0.25)),
        ("99.9%", Budget(0.999)),
        (0.05, Budget(0.05)),
        ((0.05, 0.01), Budget(0.05, 0.01)),
        (["5%", 0.01], Budget(0.05, 0.01)),
        (1e-05, Budget(1e-05)),
    ],
)
def test_a_budget_is_read(given, budget):
    found = read_budget(given)
    assert (found.review, found.ng) == (pytest.approx(budget.review), budget.ng and pytest.approx(budget.ng))


RANGE = "is not allowed, expected above 0 % and below 100 %, 5% or 0.05"
PAIR = "is not allowed, expected REVIEW or REVIEW,NG such as 5%,1%"
ORDER = "is not allowed, expected REVIEW,NG such as 5%,1%: the rate of NG lies below that of REVIEW"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("5", "5 is not clear, write 5% or 0.05"),
        ("2.5,1%", "2.5 is not clear, write 2.5% or 0.025"),
        ("1", "1 is not clear, write 1% or 0.01"),
        (5, "5 is not clear, write 5% or 0.05"),
        (1.0, "1.0 is not clear, write 1.0% or 0.01"),
        *(
            (text, f"{text} {RANGE}")
            for text in ("0", "0%", "0.0", "100%", "100", "120%", "nan", "inf", "-5%", "-0.1", "5%%", "five", "1e999")
        ),
        ("", f"nothing {PAIR}"),
        ("5%,", f"5%, {PAIR}"),
        (",", f", {PAIR}"),
        ("5%,1%,0.1%", f"5%,1%,0.1% {PAIR}"),
        ((), f"() {PAIR}"),
        ((0.3, 0.2, 0.1), f"(0.3, 0.2, 0.1) {PAIR}"),
        ("1%,5%", f"1%,5% {ORDER}"),
        ("5%,5%", f"5%,5% {ORDER}"),
        ((0.05, 0.05), f"(0.05, 0.05) {ORDER}"),
        (float("nan"), f"nan {RANGE}"),
        (float("inf"), f"inf {RANGE}"),
        (0, f"0 {RANGE}"),
        (-0.5, f"-0.5 {RANGE}"),
        ((None,), f"None {RANGE}"),
        ((True,), f"True {RANGE}"),
        (None, f"None {RANGE}"),
    ],
)
def test_a_budget_that_is_none_is_refused(given, message):
    with pytest.raises(InputError) as caught:
        read_budget(given)
    assert str(caught.value) == f"false alarms: {message}"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("0.4", Thresholds(0.4)),
        ("0.4,0.5", Thresholds(0.4, 0.5)),
        (" .4 , 1 ", Thresholds(0.4, 1.0)),
        ("0.4,0.4", Thresholds(0.4, 0.4)),
        (0.4, Thresholds(0.4)),
        ((0.4, 0.5), Thresholds(0.4, 0.5)),
    ],
)
def test_thresholds_are_read(given, expected):
    assert read_thresholds(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        "0",
        "0.0",
        "-0.1",
        "1.01",
        "5%",
        "nan",
        "inf",
        "0.5,nan",
        "0.5,0.4",
        "0.1,0.2,0.3",
        "0.5,",
        "x",
        (),
        None,
        "inf,inf",
    ],
)
def test_thresholds_that_are_none_are_refused(given):
    with pytest.raises(InputError) as caught:
        read_thresholds(given)
    assert str(caught.value) == (
        f"threshold: {given} is not allowed, expected a score above 0 and at most 1, or two such as 0.4,0.5: "
        "that of REVIEW, then that of NG"
    )


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (0.5, "50 %"),
        (0.05, "5 %"),
        (0.01, "1 %"),
        (0.001, "0.1 %"),
        (1 / 49, "2.1 %"),  # 2.0408
        (2 / 49, "4.1 %"),  # 4.0816
        (3 / 49, "6.2 %"),  # 6.1224
        (1 / 3, "34 %"),
        (2 / 3, "67 %"),
        (0.0712, "7.2 %"),
        (0.0999, "10 %"),
        (0.995, "100 %"),
        (1.0, "100 %"),
        (1 / 2000, "0.05 %"),
        (1 / 1999, "0.051 %"),
        (0.0, "0 %"),
    ],
)
def test_a_rate_is_rounded_up_to_two_digits(rate, text):
    assert percent(rate) == text
    assert float(text.removesuffix(" %")) / 100 >= rate - 1e-9
