"""The page in a real Chromium: dragged, filtered, marked, exported, by mouse and by keyboard."""

import csv
import io
import json
from urllib.parse import unquote

import pytest

from blemish.cli.app import main
from blemish.data import datasets
from browsers import Visit, start
from pages import header, results

# With the thresholds 0.3 and 0.5 of the model that is three OK, two REVIEW and one NG.
SCORES = {
    "good/1.png": 0.2,
    "good/2.png": 0.275,
    "bad/1.png": 0.55,
    "bad/2.png": 0.4,
    "bad/3.png": 0.32,
    "bad/4.png": 0.1,
}


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    driver = start(tmp_path_factory.mktemp("profile"), tmp_path_factory.mktemp("unused"))
    yield driver
    driver.quit()


@pytest.fixture
def visit(driver, tmp_path):
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    yield Visit(driver, downloads)
    driver.get("about:blank")


@pytest.fixture
def page(visit, tmp_path):
    """A page about six images, beside them; nothing is marked."""
    results(tmp_path, SCORES, failures=[("parts/x.png", "empty file")])
    out = tmp_path / "report.html"
    assert main(["report", str(tmp_path / "results"), "--out", str(out)]) == 0
    visit.forget(out)
    return out


def counts(visit):
    return [int(text) for text in visit.texts("#counts tbody td")]


def names(visit):
    return visit.texts("#cards .name")


def test_nothing_is_asked_of_anyone_and_nothing_complains(visit, page, tmp_path):
    visit.open(page)
    visit.one("#cards .card").click()
    full = "return [...document.querySelectorAll('#stage img')].every((one) => one.src.startsWith('file:'))"
    visit.until(lambda: visit.js(full), "the full pictures are there")
    assert visit.complaints() == []
    asked = {unquote(url).removeprefix("file://") for url in visit.asked()}
    assert asked == {str(page), str(tmp_path / "parts/bad/1.png"), str(tmp_path / "results/overlays/2.png")}


def test_counts_follow_a_line_that_is_dragged(visit, page):
    visit.open(page)
    assert counts(visit) == [3, 2, 1]
    assert visit.text("#promise b") == "≤ 19 %"
    said = [visit.one(name) for name in ("#command-label", "#command", "#model-named")]
    assert not any(one.is_displayed() for one in said)  # as nothing has moved
    assert visit.text("#moved") == "These are the thresholds of the model."
    width = visit.js("return document.querySelector('#plot').getBoundingClientRect().width")
    visit.drag("#handle-review .pill", round(-0.058 * width))
    value = float(visit.one("#handle-review").get_attribute("aria-valuenow"))
    assert 0.27 < value < 0.275  # the axis runs over 0.486, from 0.082 to 0.568
    assert counts(visit) == [2, 3, 1]
    assert visit.text("#promise span").endswith("(5 of 11)")  # 0.5, 0.3, 0.29 and 0.28 lie above
    assert visit.text("#command") == f"blemish calibrate MODEL --threshold {value:g},0.5 --out MODEL2"
    assert all(one.is_displayed() for one in said)
    assert visit.text("#moved") == "Moved. Nothing changes in the model until you run the command."
    visit.until(lambda: visit.text("#of-REVIEW") == "3", "the gallery follows")
    visit.drag("#handle-review .pill", round(0.52 * width))
    assert float(visit.one("#handle-review").get_attribute("aria-valuenow")) == 0.5  # never above NG
    assert counts(visit) == [5, 0, 1]
    visit.one("#reset").click()
    assert counts(visit) == [3, 2, 1]
    assert visit.complaints() == []


def test_a_line_moves_by_keyboard_and_says_what_it_promises(visit, page):
    from selenium.webdriver.common.keys import Keys

    visit.open(page)
    slider = visit.one("#handle-review")
    assert (slider.get_attribute("role"), slider.get_attribute("aria-label")) == ("slider", "Threshold of REVIEW")
    visit.focus("#handle-review")
    visit.keys(Keys.PAGE_DOWN)
    assert slider.get_attribute("aria-valuenow") == "0.29"  # the next held-out score
    assert slider.get_attribute("aria-valuetext") == "0.290, false alarms at most 28 % (3 of 11)"
    visit.keys(Keys.PAGE_DOWN, Keys.PAGE_DOWN)
    assert counts(visit) == [2, 3, 1]  # 0.27: the image at 0.275 lies above
    before = float(slider.get_attribute("aria-valuenow"))
    visit.keys(Keys.ARROW_RIGHT)
    step = float(slider.get_attribute("aria-valuenow")) - before
    assert 0.001 < step < 0.004
    visit.keys(Keys.HOME)
    assert visit.text("#promise b") == "\u2013"
    visit.focus("#handle-ng")
    visit.keys(Keys.END)
    assert counts(visit)[2] == 0


def test_a_step_of_the_menu_becomes_a_threshold(visit, page):
    visit.open(page)
    rows = visit.texts("#menu tbody tr td:first-child")
    assert rows[:4] == ["9.1 %", "19 %", "28 %", "37 %"]
    visit.one("#menu tbody tr:nth-child(3) [data-set=review]").click()
    assert visit.one("#handle-review").get_attribute("aria-valuenow") == "0.29"
    visit.one("#both").click()
    assert visit.text("#command") == "blemish calibrate MODEL --threshold 0.29 --out MODEL2"
    assert visit.texts("#word-review .chip") == ["NG"]
    assert counts(visit) == [3, 0, 3]


def test_order_and_filters(visit, page):
    visit.open(page)
    assert names(visit) == ["bad/1.png", "bad/2.png", "bad/3.png", "good/2.png", "good/1.png", "bad/4.png"]
    visit.one("#order option[value=nearest]").click()
    assert names(visit)[:3] == ["bad/3.png", "good/2.png", "bad/1.png"]  # 0.02, 0.025 and 0.05 away
    visit.one("input[name=verdict][value=REVIEW]").click()
    assert names(visit) == ["bad/3.png", "bad/2.png"]
    visit.one("input[name=verdict][value='']").click()
    visit.one("#name").send_keys("GOOD")
    assert names(visit) == ["good/2.png", "good/1.png"]
    assert visit.text("#found") == "2 of 6 images"
    visit.one("#name").send_keys("no such name")
    assert names(visit) == []
    assert visit.one("#none").is_displayed()


def test_a_name_that_does_not_fit_is_cut_at_the_front(visit, page):
    visit.open(page)
    name = f"test/{'long/' * 20}anomaly-(015).jpg"
    first, last, left, right = visit.js(
        """const name = document.querySelector("#cards .name"), text = name.querySelector("bdi");
        text.textContent = arguments[0];
        const place = (at) => {
          const range = document.createRange();
          range.setStart(text.firstChild, at);
          range.setEnd(text.firstChild, at + 1);
          return range.getBoundingClientRect();
        };
        const box = name.getBoundingClientRect();
        return [place(0).left, place(arguments[0].length - 1).right, box.left, box.right];""",
        name,
    )
    assert first < left
    assert last == pytest.approx(right, abs=1)
    short = "b.png"
    assert visit.js(
        """const name = document.querySelector("#cards .name"), text = name.querySelector("bdi");
        text.textContent = arguments[0];
        return text.getBoundingClientRect().left - name.getBoundingClientRect().left;""",
        short,
    ) == pytest.approx(0, abs=1)


def test_marks_by_keyboard_are_kept_and_exported(visit, page, tmp_path, capsys):
    from selenium.webdriver.common.keys import Keys

    visit.open(page)
    assert visit.text("#mark-counts") == "No marks yet"
    visit.focus("#cards .card")
    visit.keys("3", Keys.ARROW_RIGHT, "3", Keys.ARROW_RIGHT, "2", Keys.ARROW_RIGHT, "1", Keys.ARROW_RIGHT, "1")
    assert visit.text("#mark-counts") == "2 OK, 1 REVIEW, 2 NG; 1 without a mark"
    assert visit.text("#left-out") == "1 marked REVIEW is left out of the CSV."
    assert visit.text("#by-marks") == "By your marks: 0 of 2 marked NG get OK; 0 of 2 marked OK do not."
    visit.open(page)  # marks are kept in the browser
    assert visit.text("#mark-counts") == "2 OK, 1 REVIEW, 2 NG; 1 without a mark"
    folder = tmp_path / "parts"
    assert visit.text("#folder") == str(folder)
    visit.one("#save-csv").click()
    table = visit.saved("marks.csv")
    assert list(csv.reader(io.StringIO(table.decode(), newline=""))) == [
        ["path", "label", "mask", "split"], ["good/1.png", "good", "", "validation"],
        ["good/2.png", "good", "", "validation"], ["bad/1.png", "defect", "", "test"],
        ["bad/2.png", "defect", "", "test"],
    ]  # fmt: skip
    (folder / "marks.csv").write_bytes(table)
    assert [path.name for path in datasets.held_out_images(folder / "marks.csv")] == ["1.png", "2.png"]
    tested = datasets.test_samples(folder / "marks.csv")
    assert [(one.path.name, one.label) for one in tested] == [("1.png", "defect"), ("2.png", "defect")]
    visit.one("#save-json").click()
    saved = json.loads(visit.saved("marks.json"))
    assert saved["thresholds"] == {"review": 0.3, "ng": 0.5}
    assert (saved["model"], saved["folder"]) == ("b" * 64, str(folder))
    assert [(one["path"], one["mark"], one["verdict"]) for one in saved["marks"]] == [
        ("good/1.png", "OK", "OK"), ("good/2.png", "OK", "OK"), ("bad/1.png", "NG", "NG"),
        ("bad/2.png", "NG", "REVIEW"), ("bad/3.png", "REVIEW", "REVIEW")]  # fmt: skip
    visit.one("#marked option[value=none]").click()
    assert names(visit) == ["bad/4.png"]
    assert visit.complaints() == []


def test_one_image_large(visit, page):
    from selenium.webdriver.common.keys import Keys

    visit.open(page)
    visit.focus("#cards .card")
    visit.keys(Keys.ENTER)
    assert visit.text("#viewer-name") == "bad/1.png"
    assert visit.texts("#viewer-regions tbody td") == ["0.550", "12", "0.8 %", "3, 5, 4, 3"]
    shown = "return getComputedStyle(document.querySelector('#stage .half')).clipPath"
    assert visit.js(shown) == "inset(0px 0px 0px 0%)"  # all of the overlay
    visit.keys("o")
    assert visit.js(shown) == "inset(0px 0px 0px 100%)"  # all of the image
    visit.keys(Keys.ARROW_RIGHT, "1")
    assert visit.text("#viewer-name") == "bad/2.png"
    assert visit.one("#viewer [data-mark=OK]").get_attribute("aria-pressed") == "true"
    visit.keys(Keys.ESCAPE)
    label = "return document.activeElement.getAttribute('aria-label')"
    visit.until(lambda: visit.js(label) == "bad/2.png, REVIEW, score 0.400, marked OK", "its card has the focus")
    assert visit.complaints() == []


def test_cards_are_sorted_anew_only_once_the_image_is_closed(visit, page):
    """A line has just moved when an image is opened: what is marked stays the image that is seen."""
    from selenium.webdriver.common.keys import Keys

    visit.open(page)
    visit.one("#order option[value=nearest]").click()
    assert names(visit)[:2] == ["bad/3.png", "good/2.png"]
    visit.js("""
        const press = new KeyboardEvent('keydown', { key: 'Home', bubbles: true });
        document.querySelector('#handle-review').dispatchEvent(press);
        document.querySelector('#cards .card').click();
        // Runs after the page's own frame, so this timer ends after its one of 400 ms.
        requestAnimationFrame(() => setTimeout(() => { document.title = 'rested'; }, 450));""")
    visit.until(lambda: visit.js("return document.title") == "rested", "the line rests")
    assert names(visit)[:2] == ["bad/3.png", "good/2.png"]
    visit.keys("3")
    assert visit.text("#viewer-name") == "bad/3.png"
    assert visit.text("#said") == "bad/3.png marked NG"
    visit.keys(Keys.ARROW_RIGHT)
    assert visit.text("#viewer-name") == "good/2.png"
    visit.keys(Keys.ESCAPE)
    visit.until(lambda: names(visit)[:2] == ["bad/4.png", "bad/1.png"], "sorted by the line at 0.082")
    label = "return document.activeElement.getAttribute('aria-label')"
    visit.until(lambda: visit.js(label) == "good/2.png, REVIEW, score 0.275", "its card has the focus")
    assert visit.complaints() == []


def test_a_page_that_was_moved_says_that_pictures_are_missing(visit, page, tmp_path):
    moved = tmp_path / "elsewhere" / "report.html"
    moved.parent.mkdir()
    page.rename(moved)
    visit.open(moved)
    visit.one("#cards .card").click()
    visit.until(lambda: visit.text("#viewer-note"), "the note")
    assert visit.text("#viewer-note") == "The full picture is not where it was; this is the small one."


def test_names_that_would_do_harm(visit, tmp_path):
    harm = ["<img src=x onerror=document.title='harmed'>.png", "a\"b'&amp;c.png", "gnp.\u202egood.png",
            "line\nbreak.png", "=cmd|' /C calc'!A0.png", "  spaces.png", "back\\slash.png", "<\u2215script>.png",
            "100%25.png", "caf\u00e9 \u65e5\u672c.png", "-1.png", "a,b;c.png", "sub</script>/x.png"]  # fmt: skip
    out = results(tmp_path, dict.fromkeys(harm, 0.4), model=header())
    page = tmp_path / "report.html"
    assert main(["report", str(out), "--out", str(page)]) == 0
    visit.open(page)
    assert visit.js("return document.title") == "results: blemish report"
    shown = names(visit)
    assert "<img src=x onerror=document.title='harmed'>.png" in shown
    assert r"gnp.\u202egood.png" in shown
    assert r"line\nbreak.png" in shown
    visit.focus("#cards .card")
    for _ in harm:
        visit.keys("1", "\ue014")  # arrow right
    visit.one("#cards .card").click()
    for _ in harm:
        visit.keys("\ue014")
    whole = "return [...document.querySelectorAll('#stage img')].every((one) => one.naturalWidth > 0)"
    visit.until(lambda: visit.js(whole), "pictures of strange names")
    visit.keys("\ue00c")
    visit.js("document.querySelector('#save-csv').click()")
    table = tmp_path / "parts" / "marks.csv"
    table.write_bytes(visit.saved("marks.csv"))
    found = {path.relative_to(tmp_path / "parts").as_posix() for path in datasets.held_out_images(table)}
    assert found == set(harm)
    cells = [row[0] for row in csv.reader(io.StringIO(table.read_text(), newline=""))]
    assert not [cell for cell in cells if cell[0] in "=+-@ "]  # what a spreadsheet would run
    assert visit.complaints() == []
    assert all(url.startswith("file:") for url in visit.asked())
