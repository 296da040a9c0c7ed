"""The page of labelled images in a real Chromium: escapes, false alarms and recall while a threshold moves; names."""

from dataclasses import replace
from pathlib import Path

import pytest

from blemish.report.render import render
from blemish.report.shown import Shown, Subject
from blemish.verdict.threshold import menu, percent, promised
from browsers import Visit, start
from pages import header

# name, label, score, defective area; the thresholds are 0.3 and 0.5, and a score at a threshold is not above it
IMAGES = [
    ("good/1.png", "good", 0.2, None),
    ("good/2.png", "good", 0.3, None),
    ("good/3.png", "good", 0.36, None),
    ("dent/1.png", "dent", 0.5, 400),
    ("dent/2.png", "dent", 0.25, 20),
    ("scratch/1.png", "scratch", 0.6, 120),
    ("scratch/2.png", "scratch", 0.3, 100),
    ("scratch/3.png", "scratch", 0.4, None),
    *((f"dent/more{index}.png", "dent", 0.7, 200 + index) for index in range(9)),
]
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
NAMED = {"button", "link", "slider", "checkbox", "radio", "combobox", "searchbox", "textbox", "spinbutton", "table"}


def image(name, label, score, area):
    return Shown(
        name=name, row=name, score=score, label=label, area=area, width=48, height=32,
        regions=[{"area": 12, "box": [3, 5, 4, 3], "peak": score}] if score > 0.3 else [], full=None, overlay=None,
        heat=True, picture=PIXEL, layer=PIXEL, truth="M3 5h4" if area else None, outlines="M3 5h4",
    )  # fmt: skip


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    driver = start(tmp_path_factory.mktemp("profile"), tmp_path_factory.mktemp("unused"))
    yield driver
    driver.quit()


def subject(images=IMAGES):
    return Subject(
        title="screws", header=header(), sha256="b" * 64, images=[image(*one) for one in images], folder=Path("/data"),
        truth=True, model=Path("my model.safetensors"),
    )  # fmt: skip


@pytest.fixture
def visit(driver, tmp_path):
    page = tmp_path / "report.html"
    page.write_bytes(render(subject(), made="2026-01-02 03:04"))
    visit = Visit(driver, tmp_path).open(page)
    yield visit
    assert visit.complaints() == []
    assert [url for url in visit.asked() if url != page.as_uri()] == []
    driver.get("about:blank")


def names(visit):
    return visit.texts("#cards .name")


def test_escapes_false_alarms_and_recall_follow_a_threshold(visit):
    from selenium.webdriver.common.keys import Keys

    assert visit.texts("#counts tbody td") == ["2", "1", "0", "2", "2", "10"]
    assert (visit.text("#escapes b"), visit.text("#escapes span")) == ("2", "of 14 defective images get OK (14.3 %)")
    assert (visit.text("#alarms b"), visit.text("#alarms span")) == ("1", "of 3 good images get no OK (33.3 %)")
    assert visit.text("#command").endswith("calibrate 'my model.safetensors' --threshold 0.3,0.5 --out "
                                           "'my model-set.safetensors'")  # fmt: skip
    # from 120 px on all eleven are found, from 100 px on eleven of twelve, from 20 px on eleven of thirteen
    assert (
        visit.text("#found-from") == "Found 11 of 12 from 100 px up. 1 defective image without a mask not counted here."
    )
    rows = [[cell for cell in row if cell] for row in cells(visit, "#by-type tbody tr")]
    assert rows == [
        ["dent", "10 of 11", "90.9 %"],
        ["scratch", "2 of 3", "66.7 %"],
        ["all defective", "12 of 14", "85.7 %"],
    ]
    visit.focus("#handle-review")
    visit.keys(Keys.PAGE_DOWN)  # 0.29: what lies at 0.3 is found, and raises an alarm
    assert (visit.text("#escapes b"), visit.text("#alarms b")) == ("1", "2")
    visit.until(lambda: visit.text("#found-from").startswith("Found 12 of 13 from 20 px up."), "recall follows")
    visit.keys(*[Keys.PAGE_DOWN] * 5)  # 0.24: below all defects
    assert (visit.text("#escapes b"), visit.text("#alarms b")) == ("0", "2")
    visit.until(lambda: visit.text("#found-from").startswith("Found 13 of 13 from 20 px up."), "recall follows")


def cells(visit, selector):
    row = "[...row.children].map((one) => one.textContent)"
    return visit.js(f"return [...document.querySelectorAll(arguments[0])].map((row) => {row})", selector)


def test_bins_of_area_hold_every_defect_with_a_mask_once(visit):
    found = [row[:2] for row in cells(visit, "#by-area tbody tr")]
    # 20, 100, 120, 200 to 208 and 400 px, cut at those in places 0, 2, 5, 7 and 10
    assert found == [
        ["20 to 119 px", "0 of 2"],
        ["120 to 201 px", "3 of 3"],
        ["202 to 203 px", "2 of 2"],
        ["204 to 206 px", "3 of 3"],
        ["from 207 px", "3 of 3"],
    ]


def test_types_and_wrong_verdicts(visit):
    visit.one("#order option[value=wrong]").click()
    assert names(visit)[:3] == ["good/3.png", "dent/2.png", "scratch/2.png"]  # 0.06, 0.05 and 0 away
    assert visit.texts("#cards .type.wrong") == ["good", "dent", "scratch"]
    visit.one("#type option[value='=dent']").click()
    assert names(visit)[0] == "dent/2.png"
    assert len(names(visit)) == 11
    visit.one("#type option[value=defective]").click()
    assert len(names(visit)) == 14


def test_the_truth_can_be_hidden_and_the_overlay_shown(visit):
    shown = "return getComputedStyle(document.querySelector(arguments[0])).display"
    assert visit.js(shown, "#cards .outline.truth") == "block"
    visit.one("#truth").click()
    assert visit.js(shown, "#cards .outline.truth") == "none"
    assert visit.js(shown, "#cards .half") == "none"
    visit.one("[name=view][value=overlay]").click()
    assert visit.js(shown, "#cards .half") == "block"
    assert "grayscale" in visit.js("return getComputedStyle(document.querySelector('#cards .half .base')).filter")


def test_a_region_opens_its_image(visit):
    assert [row[0] for row in cells(visit, "#regions tbody tr")][9:] == [
        "scratch/1.png", "dent/1.png", "scratch/3.png", "good/3.png"]  # fmt: skip
    visit.one("#regions th[data-by=name] button").click()
    assert visit.one("#regions th[data-by=name]").get_attribute("aria-sort") == "ascending"
    assert cells(visit, "#regions tbody tr")[0] == ["dent/1.png", "0.500", "12", "0.8 %", "3, 5, 4, 3"]
    visit.js("document.querySelector('#regions tbody button').click()")
    assert visit.text("#viewer-name") == "dent/1.png"
    assert "dent, 400 px defective" in visit.text("#viewer-facts")


def test_everything_that_is_used_has_a_name(visit):
    visit.one("#cards .card").click()
    for opened in (True, False):
        tree = visit.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
        used = [node for node in tree if not node["ignored"] and node["role"]["value"] in NAMED]
        assert len(used) > (5 if opened else 30)
        bare = [node["role"]["value"] for node in used if not node.get("name", {}).get("value", "").strip()]
        assert bare == []
        visit.js("document.querySelector('#viewer').close()")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_can_be_read_on_both_grounds(visit, theme):
    """The contrast of text, chips included, is 4.5 : 1 or more (WCAG 2.2, AA)."""
    feature = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    visit.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", feature)
    found = visit.js(
        """
        const parse = (text) => text.match(/[\\d.]+/g).map(Number);
        const light = ([red, green, blue]) => [red, green, blue].map((part) => part / 255)
          .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4))
          .reduce((sum, part, index) => sum + part * [0.2126, 0.7152, 0.0722][index], 0);
        const ground = (one) => {
          for (; one; one = one.parentElement) {
            const colour = parse(getComputedStyle(one).backgroundColor);
            if (colour.length < 4 || colour[3] > 0) return colour;
          }
          return [255, 255, 255];
        };
        return [...document.querySelectorAll(".chip, p, th, td, h1, h2, a, label, button:enabled, .type, .mark")]
          .filter((one) => one.textContent.trim() && one.checkVisibility()).map((one) => {
            const pair = [light(parse(getComputedStyle(one).color)), light(ground(one))].sort((a, b) => b - a);
            return [(pair[0] + 0.05) / (pair[1] + 0.05), one.tagName, one.className, one.textContent.slice(0, 30)];
          }).sort((one, other) => one[0] - other[0]);
        """
    )
    visit.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert len(found) > 60
    assert found[0][0] >= 4.5, found[:5]


def test_the_menu_is_that_of_the_command_line(driver, tmp_path):
    held_out = {f"{index}.png": 0.1 + 0.7 * ((37 * index) % 211) / 211 for index in range(150)}
    model = header(held_out=held_out, review=0.5, ng=0.6, groups=["line 1"] * 10)
    page = tmp_path / "report.html"
    page.write_bytes(render(replace(subject(), header=model), made="2026-01-02 03:04"))
    visit = Visit(driver, tmp_path).open(page)
    visit.one("#whole-menu").click()
    steps = menu(model.calibration.scores)
    assert len(steps) == 141
    assert visit.texts("#menu tbody td:nth-child(1)") == [percent(step.promise) for step in steps]
    assert visit.texts("#menu tbody td:nth-child(2)") == [f"{step.threshold:.3f}" for step in steps]
    for which, level in (("review", 0.5), ("ng", 0.6)):
        rate = percent(promised(model.calibration.scores, level))
        assert visit.text(f"#promise-{which}").startswith(f"at most {rate} (")


def test_what_regions_may_say_beside(driver, tmp_path):
    one = image("one.png", "dent", 0.4, 12)
    large = {"area": 700, "box": [0, 0, 35, 20], "peak": 0.4, "mean": 0.35, "mm2": 0.0123456}
    small = {"area": 1, "box": [1, 2, 1, 1], "peak": 0.31, "mean": 0.31, "mm2": None}
    page = tmp_path / "report.html"
    shown = replace(one, regions=[large, small], width=480, height=320)
    page.write_bytes(render(replace(subject(), images=[shown]), made="2026-01-02 03:04"))
    visit = Visit(driver, tmp_path).open(page)
    assert visit.texts("#regions thead th")[4:] == ["box: x, y, width, height", "mean", "mm²"]
    assert cells(visit, "#regions tbody tr") == [
        ["one.png", "0.400", "700", "0.5 %", "0, 0, 35, 20", "0.350", "0.0123"],
        ["one.png", "0.310", "1", "< 0.1 %", "1, 2, 1, 1", "0.310", "\u2013"],
    ]


EARLIER = header(review=0.5, ng=None, held_out={}, earlier={"held_out": 9, "false_alarm_rate": 0.1})
SAME = header(review=1.0, ng=None, held_out={"a": 1.0, "b": 1.0})


@pytest.mark.parametrize(
    ("model", "images", "counts"),
    [
        (EARLIER, IMAGES[:3], ["3", "0", "0", "0", "0", "0"]),
        (header(review=0.9, ng=1.0), [("one.png", "good", 0.2, None)], ["1", "0", "0", "0", "0", "0"]),
        (header(), [("one.png", "dent", 0.0, None)], ["0", "0", "0", "1", "0", "0"]),
        (SAME, [("one.png", "dent", 1.0, 5)], ["0", "0", "0", "1", "0", "0"]),
    ],
    ids=["of an earlier version", "thresholds far away", "a score of 0", "all scores the same"],
)  # fmt: skip
def test_models_and_scores_at_the_edge(driver, tmp_path, model, images, counts):
    from selenium.webdriver.common.keys import Keys

    page = tmp_path / "report.html"
    page.write_bytes(render(replace(subject(images), header=model), made="2026-01-02 03:04"))
    visit = Visit(driver, tmp_path).open(page)
    assert visit.texts("#counts tbody td") == counts
    visit.one("#both").click()
    visit.one("#both").click()
    visit.one("#reset").click()
    for handle in ("#handle-review", "#handle-ng"):
        if "gone" not in visit.one(handle).get_attribute("class"):
            visit.focus(handle)
            visit.keys(Keys.PAGE_UP, Keys.PAGE_DOWN, Keys.HOME, Keys.END, Keys.ARROW_LEFT)
    level = float(visit.one("#handle-review").get_attribute("aria-valuenow"))
    assert 0 < level <= 1
    visit.one("#cards .card").click()
    assert visit.complaints() == []


def test_two_thousand_images_are_quick(driver, tmp_path):
    """Of 2,000 images with small pictures of 5 kB each the page is ready in seconds, and holds a page of cards."""
    images = [(f"{index:04}.png", "good" if index % 3 else "dent", 0.1 + index / 4000, 50) for index in range(2000)]
    plain = subject(images)
    heavy = "data:image/webp;base64," + "A" * 5000
    many = [replace(one, picture=heavy, layer=heavy) for one in plain.images]
    page = tmp_path / "report.html"
    page.write_bytes(render(replace(plain, images=many), made="2026-01-02 03:04"))
    assert page.stat().st_size > 20e6
    visit = Visit(driver, tmp_path).open(page)
    ready = visit.js("return performance.getEntriesByType('navigation')[0].domInteractive")
    assert ready < 8000  # ms; half a second on a machine that has nothing else to do
    assert len(visit.all("#cards .card")) == 48
    assert visit.text("#found") == "2000 images"
