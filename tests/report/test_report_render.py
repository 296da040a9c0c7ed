"""The page: the values that its scripts are given, the words that stand in it, and names that would do harm."""

import re
import shlex
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from blemish.data.records import ImagePart
from blemish.report.render import render
from blemish.report.shown import Cost, Shown, Stranger, Subject
from pages import HELD_OUT, embedded, header, words

HARM = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"


def shown(name="part.png", score=0.4, **fields):
    plain = Shown(
        name=name, row=name, score=score, label=None, area=None, width=48, height=32,
        regions=[{"area": 12, "box": [3, 5, 4, 3], "peak": score}], full=None, overlay=None, heat=False,
        picture="data:image/webp;base64,AAAA", layer=None, truth=None, outlines=None,
    )  # fmt: skip
    return replace(plain, **fields)


def subject(images=None, **fields):
    plain = Subject(
        title="screws", header=header(), sha256="b" * 64, images=images or [shown()], folder=Path("/data/screws"),
        truth=False,
    )  # fmt: skip
    return replace(plain, **fields)


def page(**fields):
    return render(subject(**fields), made="2026-01-02 03:04").decode()


def test_the_scripts_are_given_scores_thresholds_and_regions():
    found = embedded(page(images=[shown("a/1.png", 0.25), shown("a/2.png", 0.55, label="dent", area=9)], truth=True))
    assert found["thresholds"] == {"review": 0.3, "ng": 0.5}
    assert [(one["name"], one["score"]) for one in found["held"]] == list(HELD_OUT.items())
    assert [one["stranger"] for one in found["held"]] == [True] + [False] * 9
    assert found["images"][1] == {
        "name": "a/2.png", "path": "a/2.png", "score": 0.55, "area": 9, "label": "dent", "width": 48, "height": 32,
        "regions": [{"area": 12, "box": [3, 5, 4, 3], "peak": 0.55}], "full": None, "overlay": None, "heat": False,
    }  # fmt: skip
    assert (found["truth"], found["model"], found["folder"]) == (True, "b" * 64, "/data/screws")


def test_small_pictures_lie_in_blocks_of_their_own():
    text = page(images=[shown(f"{index}.png", picture=f"data:,{index}") for index in range(100)])
    blocks = [embedded(text, f"pictures-{number}") for number in range(3)]
    assert [len(block) for block in blocks] == [48, 48, 4]
    assert blocks[1][2] == ["data:,50", None, None, None]
    assert "data:,50" not in str(embedded(text))


def test_names_do_no_harm():
    held = header(held_out={HARM: 0.5, **{f"{index}.png": 0.1 + index / 100 for index in range(9)}})
    text = page(
        title=HARM, images=[shown(HARM, label=HARM)], truth=True, failed=[HARM], notes=[HARM], facts=[("data", HARM)],
        header=held, strangers=[Stranger(HARM, HARM)], model=Path(HARM), folder=Path("/") / HARM,
    )  # fmt: skip
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert text.count("</script>") == 3  # of the data, the one block of pictures and the scripts
    found = embedded(text)
    assert found["images"][0]["name"] == found["images"][0]["path"] == found["held"][0]["name"] == HARM
    assert words(text).count(HARM) >= 6


def test_a_name_that_turns_the_line_or_ends_it_is_escaped():
    text = page(images=[shown("gnp.\u202egood\nbad.png")], failed=["x\u2028y"], notes=["a\rb"])
    assert embedded(text)["images"][0]["name"] == r"gnp.\u202egood\nbad.png"
    for word in (r"x\u2028y", r"a\rb"):
        assert word in text
    assert not re.search("[\u202e\u2028\u2029\r]", text)


def test_a_path_for_the_csv_is_kept_as_it_is():
    text = page(images=[shown("shown", row="a\n\u202eb.png"), shown("none", row=None)])
    assert [one["path"] for one in embedded(text)["images"]] == ["a\n\u202eb.png", None]


def test_the_browser_may_run_these_scripts_alone_and_connect_to_nothing():
    text = page()
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    rules = dict(rule.split(" ", 1) for rule in policy.replace("&#39;", "'").split("; "))
    (script,) = re.findall(r"<script>(.*?)</script>", text, flags=re.DOTALL)
    (style,) = re.findall(r"<style>(.*?)</style>", text, flags=re.DOTALL)
    for rule, content in (("script-src", script), ("style-src", style)):
        digest = b64encode(sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert rules["default-src"] == "'none'"
    assert "connect-src" not in rules
    assert rules["img-src"] == "'self' file: data: blob:"
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", text)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (None, ["MODEL", "MODEL2"]),
        (Path("m.safetensors"), ["m.safetensors", "m-set.safetensors"]),
        (Path("my models/bundle"), ["my models/bundle", "my models/bundle-set"]),
        (Path("a'b; rm -rf $HOME.safetensors"), ["a'b; rm -rf $HOME.safetensors", "a'b; rm -rf $HOME-set.safetensors"]),
    ],
)
def test_the_command_names_the_model_fit_for_a_shell(model, expected):
    command = embedded(page(model=model))["command"]
    assert [shlex.split(command[key]) for key in ("model", "out")] == [[one] for one in expected]


def test_promise_in_words():
    text = words(page())
    assert "10 held-out good images: a new good part is called REVIEW or NG with a probability of at most 19 %" in text
    assert "REVIEW or NG with a probability of at most 19 % (2 in 11), and NG with at most 9.1 % (1 in 11), on" in text
    assert "Nothing is promised about defects" in text


def test_promise_of_one_threshold_and_of_groups():
    text = words(page(header=header(review=0.27, ng=None, groups=["x", "x", "y", "y", "y", "z"])))
    # of the groups x, y, z the highest are 0.5, 0.29, 0.26; with g to j that is 7, of which 2 lie above 0.27
    assert (
        "7 groups of 10 held-out good images: a new good part is called NG with a probability of at most 38 %" in text
    )
    assert "(3 in 8), on average" in text
    assert "The promise is about parts of a new group" in text


def test_images_that_train_and_were_scored_by_other_students_are_said():
    crossed = header(crossed=3)
    part = ImagePart(sha256=crossed.calibration.held_out[4].sha256, thumbnail="00" * 256)
    crossed = crossed.model_copy(update={"data": crossed.data.model_copy(update={"train": [part]})})
    text = words(page(header=crossed))
    assert "10 good images scored by students that had not learnt them: a new good part is called REVIEW or NG" in text
    assert "Few images could be held out: 9 were scored by this model's students, 1 by others." in text
    assert "10 held-out good images: a new good part is called REVIEW or NG" in words(page())
    assert "by others" not in words(page())


def test_no_promise_below_every_score_and_of_an_earlier_model():
    assert "100 % at most: it lies below every held-out score" in words(page(header=header(review=0.1)))
    earlier = header(review=0.5, ng=None, held_out={}, earlier={"held_out": 9, "false_alarm_rate": 0.1})
    text = words(page(header=earlier))
    assert "9 held-out good images promised 10 %, on average and as long as" in text
    assert "keeps no held-out scores; blemish calibrate MODEL GOOD sets them" in text


def test_strangers_with_the_command_that_leaves_them_out():
    strangers = [
        Stranger("a b.png", "a b.png stands out.", picture="data:,p", overlay="data:,o"),
        Stranger("c", "c too."),
    ]
    text = page(strangers=strangers, model=Path("m.safetensors"))
    command = "blemish calibrate m.safetensors --without 'a b.png' --without c --out m-set.safetensors"
    assert f"a b.png stands out. c too. Look at them. If one is no good part, leave it out: {command}" in words(text)
    assert text.count("data:,p") == text.count("data:,o") == 1
    assert "Strangers" not in words(page())


def test_modules_with_and_without_their_costs():
    plain = words(page(costs_said="Not measured."))
    assert "What each module weighs module weight bar 64/2 0.750 128/3 0.250 A module" in plain
    assert "Not measured." in plain
    text = words(page(costs={"64/2": Cost(1.25, 0.5), "128/3": Cost(12.0, 2.0)}))
    assert "What each module weighs and costs module weight bar ms MB 64/2 0.750 1.2 0.50 128/3 0.250 12.0 2.00" in text


def test_fingerprints():
    text = words(page(facts=[("tested on", "screws: 2 images, sha256 cafe")]))
    for part in (
        "model sha256 " + "b" * 64,
        "tf_efficientnet_lite0, sha256 aaaaaaaaaaaa",
        "screws: 2 images, sha256 cafe",
    ):
        assert part in text


def test_labels_for_who_does_not_see_the_page():
    text = page(images=[shown(label="good"), shown(label="dent")], truth=True)
    for tag in re.findall(r"<(?:input|select)[^>]*>", text):
        name = re.search(r'id="([^"]*)"', tag)
        labelled = "aria-label" in tag or re.search(rf"<label[^>]*>[^<]*{re.escape(tag)}", text)
        assert labelled, name and name[1]
    assert text.count("<h1") == 1
    assert '<html lang="en">' in text
    headings = re.findall(r'<section id="[^"]*" aria-labelledby="([^"]*)"', text)
    assert all(f'id="{one}"' in text for one in headings)


def test_the_same_subject_gives_the_same_page():
    assert page() == page()
    assert embedded(page())["id"] != embedded(page(images=[shown(score=0.41)]))["id"]
