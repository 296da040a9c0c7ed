"""The page in a real Chromium, of a real server: from a dropped image to an export, live, and with hostile names."""

import csv
import io
import json
import zipfile
from contextlib import closing
from datetime import timedelta

import httpx
import pytest

from blemish.history import writing
from blemish.history.history import History
from blemish.history.records import now
from blemish.runtime.bundle import identity
from browsers import Visit, start
from histories import judged
from serving import CHANGE, LOOK, served

HOSTILE = '<img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    driver = start(tmp_path_factory.mktemp("profile"), tmp_path_factory.mktemp("unused"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def server(driver, bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "tokens").write_text(f"{LOOK}\n{CHANGE}\n")
    with served(bundle, "--data", folder / "data", "--token", folder / "tokens") as server:
        yield server


@pytest.fixture
def visit(driver, server, tmp_path):
    """A browser in which nobody is signed in and nobody has typed a name."""
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    driver.get(server.url + "/static/icon.svg")
    driver.delete_all_cookies()
    visit = Visit(driver, downloads)
    visit.js("localStorage.clear()")
    yield visit
    driver.get("about:blank")


@pytest.fixture(scope="module")
def defective(brick):
    return next(path for path in sorted((brick / "test").rglob("*.png")) if path.parent.name != "good")


def sign_in(visit, server, token=CHANGE):
    visit.open(server.url + "/")
    visit.keys(token, "\ue007")
    visit.until(lambda: visit.all("nav a"), "signed in")
    return visit


def send(server, path, **params):
    place, headers = f"{server.url}/v1/models/brick/inspections", {"Authorization": f"Bearer {LOOK}"}
    given = {"content": path.read_bytes(), "params": params}
    answer = httpx.post(place, headers=headers | {"Content-Type": "image/png"}, timeout=30, **given)
    assert answer.status_code == 201, answer.text
    return answer.json()


def quiet(visit, server):
    """Nothing was asked of anybody else, and nothing has complained."""
    asked = visit.asked()
    assert len(asked) > 3
    assert [one for one in asked if not one.startswith(server.url + "/")] == []
    assert [line for line in visit.complaints() if "401" not in line] == []


def test_dropped_judged_corrected_and_exported(visit, server, defective):
    sign_in(visit, server).open(server.url + "/drop")
    visit.one("#files").send_keys(str(defective))
    visit.until(lambda: visit.all("#results .chip"), "a verdict")
    assert visit.text("#summary").startswith("1 of 1")
    quiet(visit, server)
    number = visit.one("#results a").get_attribute("href").rpartition("/")[2]
    visit.open(f"{server.url}/inspections/{number}")
    visit.until(lambda: visit.js("return document.querySelector('#inspection').dataset.looked"), "the image is drawn")
    score = visit.js(
        "const box = document.querySelector('#viewer').getBoundingClientRect();"
        "document.querySelector('#viewer').dispatchEvent(new PointerEvent('pointermove',"
        "{clientX: box.x + box.width / 2, clientY: box.y + box.height / 2}));"
        "return document.querySelector('#under').textContent"
    )
    assert 0 <= float(score.rpartition(" ")[2]) <= 1
    visit.keys("1")
    assert "name" in visit.text("#done")  # who it is has to be said once
    visit.keys("Ada")
    visit.js("document.activeElement.blur()")
    visit.keys("1")
    visit.until(lambda: visit.text("#standing") == "OK", "OK stands")
    visit.keys("3")
    visit.until(lambda: visit.text("#standing") == "NG", "NG stands")
    assert [text.split()[1][:3] for text in visit.texts("#corrections li")] == ["Ada", "Ada"]
    quiet(visit, server)
    visit.open(server.url + "/history?verdict=NG")
    assert visit.js("return document.querySelector('#who').value") == "Ada"
    visit.one("#as-zip").click()
    with zipfile.ZipFile(io.BytesIO(visit.saved("parts.zip"))) as packed:
        (row,) = csv.DictReader(packed.read("manifest.csv").decode().splitlines())
        assert packed.read(row["path"]) == defective.read_bytes()
        (told,) = json.loads(packed.read("inspections.json"))
    assert (row["label"], row["split"], told["id"]) == ("defect", "test", int(number))
    assert [one["verdict"] for one in told["corrections"]] == ["OK", "NG"]


def test_parts_come_live_and_wait_while_it_is_paused(visit, server, defective, brick):
    sign_in(visit, server, LOOK)
    visit.until(lambda: visit.text("#state") == "live", "it is live")
    names = []
    for path in (defective, sorted((brick / "test" / "good").iterdir())[0]):
        found = send(server, path, name=HOSTILE)
        names.append(found["id"])
        visit.until(lambda: visit.text("#verdict") == found["standing"], "its verdict")  # noqa: B023
        visit.until(lambda: visit.all(f"#card-{found['id']}"), "its card")  # noqa: B023
    assert HOSTILE in visit.text("#said")
    assert visit.text("#name") == HOSTILE
    assert visit.all('img[src="x"]') == []
    visit.until(lambda: visit.text("#count-all").isdigit() and int(visit.text("#count-all")) >= 2, "they are counted")
    total = int(visit.text("#count-all"))
    visit.keys("p")
    last = send(server, defective, name="while paused")["id"]
    visit.until(lambda: "1 more" in visit.text("#state"), "it is told how many wait")
    assert visit.all(f"#card-{last}") == []
    visit.keys("p")
    visit.until(lambda: visit.all(f"#card-{last}"), "it is shown")
    visit.until(lambda: int(visit.text("#count-all")) > total, "it is counted")
    assert visit.text("#name") == "while paused"
    visit.until(lambda: visit.js("return document.querySelector('#picture').naturalWidth"), "its picture")
    quiet(visit, server)
    # The verdict can be read from three metres: letters a tenth of the height of the window.
    height = visit.js("return document.querySelector('#verdict').getBoundingClientRect().height / innerHeight")
    assert height > 0.1
    visit.open(f"{server.url}/inspections/{names[0]}")
    assert HOSTILE in visit.text("h1")
    assert visit.driver.title != "1"


def test_a_threshold_is_changed_by_who_may(visit, server, defective):
    sign_in(visit, server, LOOK).open(server.url + "/models")
    assert visit.all(".thresholds") == []
    visit.one("#sign-out").click()
    visit.until(lambda: visit.all("#sign-in"), "signed out")
    sign_in(visit, server, CHANGE).open(server.url + "/models")
    visit.js("document.querySelector('#who').value = 'Ada'")
    for name, value in (("review", "0.97"), ("ng", "0.98")):
        field = visit.one(f".thresholds [name={name}]")
        field.clear()
        field.send_keys(value)
    visit.one(".thresholds [name=why]").send_keys("new lamp", "\ue007")
    visit.until(lambda: "new lamp" in visit.text("main"), "the change is there")
    assert "--threshold 0.97,0.98" in visit.text(".command code")
    assert send(server, defective)["thresholds"] == {"review": 0.97, "ng": 0.98}


@pytest.mark.parametrize("width", [1280, 820])
def test_no_page_is_wider_than_its_window(visit, server, defective, width):
    send(server, defective, name="x" * 300)
    sign_in(visit, server)
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    visit.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for place in ("/", "/drop", "/history", "/models", "/inspections/1"):
            visit.open(server.url + place)
            assert visit.js("return document.documentElement.scrollWidth") <= width
            unnamed = visit.js(
                "return [...document.querySelectorAll('button, a, input:not([type=hidden]), select')].filter((one) => "
                "!(one.textContent.trim() || one.ariaLabel || one.labels?.length)).length"
            )
            assert unnamed == 0
    finally:
        visit.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_ten_thousand_parts(visit, driver, bundle, tmp_path):
    fingerprint = identity(bundle)
    with closing(History.open(tmp_path / "data")) as history, history.database.writing() as connection:
        model = writing.model_number(connection, bundle.name, fingerprint)
        for number in range(10_000):
            verdict = "NG" if number % 100 == 0 else "OK"
            at = now() - timedelta(minutes=10_000 - number)
            fields = {"model": bundle.name, "fingerprint": fingerprint, "verdict": verdict, "at": at}
            one = judged(number, score=0.2 + 0.1 * (number % 7) / 7, **fields)
            writing.add_inspection(connection, one, digest="0" * 64, model=model)
    with served(bundle, "--data", tmp_path / "data") as server:
        visit.open(server.url + "/")
        visit.until(lambda: visit.text("#count-all").isdigit(), "the shift is counted")
        assert len(visit.all("#newest > *")) == 24
        visit.open(server.url + "/history")
        assert visit.texts(".tile b")[:3] == ["9,900", "0", "100"]
        seen = visit.texts("table.parts a.name")
        for _ in range(3):
            assert visit.js("return document.querySelectorAll('*').length") < 3000
            visit.one("#next").click()
            visit.until(lambda: visit.texts("table.parts a.name")[:1] not in ([], seen[-50:-49]), "older parts")  # noqa: B023
            seen += visit.texts("table.parts a.name")
        assert seen == [f"part {number:04d}.png" for number in range(9_999, 9_799, -1)]
        visit.open(server.url + "/history?name=part+4200&verdict=NG")
        assert visit.texts("table.parts a.name") == ["part 4200.png"]
        visit.until(lambda: visit.all("svg.plot .median"), "the plot")
        quiet(visit, server)
