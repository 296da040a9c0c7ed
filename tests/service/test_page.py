"""The page as it is sent: what it may do, what it shows, and that nothing in it is taken for HTML."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape

import pytest

from blemish.history.figures import Band
from blemish.history.records import Correction, now
from blemish.model.calibration import promise_lines
from blemish.service.page import views
from blemish.service.page.drift import ENOUGH, leaves, plot, usual
from blemish.verdict.threshold import Thresholds
from histories import judged as record
from serving import refusal

PNG = {"Content-Type": "image/png"}
HOSTILE = '<img src=x onerror="alert(1)">&amp;\u202egnp.exe'
PAGES = ("/", "/drop", "/history", "/models")


def judged(client, image, **params):
    return client.post("/v1/models/brick/inspections", content=image, headers=PNG, params=params).json()


def text(page):
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())


def test_every_page_asks_this_server_alone_and_runs_nothing_inline(client, images):
    number = judged(client, images[1])["id"]
    for place in (*PAGES, f"/inspections/{number}", "/inspections/999"):
        answer = client.get(place)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http" not in policy
        assert "frame-ancestors 'none'" in policy
        assert (answer.headers["x-content-type-options"], answer.headers["cache-control"]) == ("nosniff", "no-store")
        assert not re.search(r"\s(style|on[a-z]+)=|<style|<script(?![^>]* src=)|javascript:", answer.text)
        found = re.findall(r'(?:src|href|action)="([^"]*)"', answer.text)
        assert len(found) > 5
        assert all(one.startswith(("/", "#")) and not one.startswith("//") for one in found)
        for one in found:
            if one.startswith("/static/"):
                assert client.get(one).status_code == 200


def test_files_of_the_page_are_asked_for_again_only_if_they_have_changed(client):
    answer = client.get("/static/style.css")
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    again = client.get("/static/style.css", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for name in ("none.js", "..%2froutes.py", "%2e%2e/routes.py", "style.css%00"):
        assert client.get(f"/static/{name}").status_code == 404


def test_names_are_text_wherever_they_stand(client, images, standing):
    one = judged(client, images[1], name=HOSTILE, source=HOSTILE)
    standing.history.correct(one["id"], Correction(verdict="OK", who=HOSTILE, why=HOSTILE))
    client.post("/v1/models/brick/thresholds", json={"review": 0.5, "ng": 0.6, "who": HOSTILE, "why": HOSTILE})
    for place in (f"/inspections/{one['id']}", "/history", "/models", f"/history?name={HOSTILE[:8]}"):
        page = client.get(place)
        assert page.status_code == 200
        assert "<img src=x" not in page.text
        assert "\u202e" not in page.text
        assert "&lt;img src=x" in page.text
    assert "\\u202egnp.exe" in client.get("/history").text


def test_an_inspection(client, images):
    first, one, last = (judged(client, image, name="part") for image in (images[0], images[1], images[0]))
    page = client.get(f"/inspections/{one['id']}").text
    assert f'href="/inspections/{first["id"]}"' in page
    assert f'href="/inspections/{last["id"]}"' in page
    shown = text(page)
    assert "Overlay, with the verdict of the model" in shown  # which stays on it when a person says something else
    assert f"{one['score']:.3f} the model said {one['verdict']}" in shown
    for region in one["regions"]:
        assert f"{region['box'][0]}, {region['box'][1]} {region['area']:,} px {region['peak']:.3f}" in shown
    missing = client.get("/inspections/999")
    assert missing.status_code == 404
    assert "inspection 999 is not there" in text(missing.text)
    assert client.get("/inspections/x").status_code == 404


def service_counts(standing):
    """What the page counts itself, where all is on one page."""
    return views.history(standing.service, {})["counts"]


def test_the_history_filters_counts_and_pages(client, images, standing):
    ids = [judged(client, images[number % 2], name=f"part {number}")["id"] for number in range(6)]
    standing.history.correct(ids[1], Correction(verdict="OK", who="Ada"))
    standing.history.correct(ids[0], Correction(verdict="NG", who="Ada"))
    page = client.get("/history")
    assert re.findall(r'href="/inspections/(\d+)"', page.text) == [str(one) for one in ids[::-1]]
    counts = standing.history.counts()
    assert f"false alarms {counts.false_alarms}" in text(page.text)
    assert service_counts(standing) == counts
    escapes = client.get("/history?mistake=escape")
    assert re.findall(r'href="/inspections/(\d+)"', escapes.text) == [str(ids[0])]
    assert 'href="/v1/export.zip?mistake=escape"' in escapes.text
    named = client.get("/history?name=PART+3&verdict=&zone=")
    assert re.findall(r'href="/inspections/(\d+)"', named.text) == [str(ids[3])]
    tomorrow = (now() + timedelta(days=2)).date()
    assert "No parts agree" in client.get(f"/history?first={tomorrow}").text
    today = client.get(f"/history?first={now().date()}&last={now().date()}&zone=0")
    assert len(re.findall(r'href="/inspections/(\d+)"', today.text)) == 6


def test_parts_of_two_models_are_not_exported_together(client, images, standing):
    standing.history.correct(judged(client, images[0])["id"], Correction(verdict="OK", who="Ada"))
    page = client.get("/history").text
    assert ("/v1/export.zip" in page, "manifest.csv --add" in page) == (True, True)
    standing.history.add(record(1).model_copy(update={"model": "tile"}), b"\x89PNG\r\n\x1a\n1")
    for query, exported, commands in (("", False, False), ("?model=tile", True, False), ("?model=brick", True, True)):
        page = client.get(f"/history{query}").text
        assert ("/v1/export.zip" in page, "manifest.csv --add" in page) == (exported, commands)
    for kind in ("csv", "zip"):
        assert "several models" in refusal(client.get(f"/v1/export.{kind}?verdict=OK"), 422)
        assert client.get(f"/v1/export.{kind}?model=brick").status_code == 200


def test_parts_of_two_bundles_of_one_name_are_not_exported_together(client, images, standing, loading):
    one = judged(client, images[0])
    for number, verdict in ((1, "OK"), (2, "NG")):  # of the bundle before
        standing.history.add(record(number, verdict=verdict), b"\x89PNG\r\n\x1a\n%d" % number)
    now = loading.now.models["brick"].fingerprint
    standing.history.correct(one["id"], Correction(verdict="OK", who="Ada"))
    page = client.get("/history").text
    assert f"/v1/export.zip?model=brick&amp;fingerprint={now}" in page
    assert f"Exported is what {now[:12]} has judged, the one that judges now" in text(page)
    assert "manifest.csv --add" in page  # the NG of the other does not matter
    for kind in ("csv", "zip"):
        for query in ("", "?model=brick"):
            line = refusal(client.get(f"/v1/export.{kind}{query}"), 422)
            assert "several bundles" in line
            assert line.endswith(f"?model=brick&fingerprint={'b' * 64}")
        for fingerprint, rows in ((now, 1), ("b" * 64, 2)):
            answer = client.get(f"/v1/export.{kind}?model=brick&fingerprint={fingerprint}")
            assert answer.status_code == 200
            assert kind == "zip" or len(answer.text.splitlines()) == 1 + rows
        assert "fingerprint" in refusal(client.get(f"/v1/export.{kind}?fingerprint=x"), 422)
    standing.history.add(record(3, model="tile", fingerprint="c" * 64), b"\x89PNG\r\n\x1a\n3")
    standing.history.add(record(4, model="tile"), b"\x89PNG\r\n\x1a\n4")
    page = text(client.get("/history?model=tile").text)
    assert f"Exported is what {'b' * 12} has judged, the last of them" in page
    assert "several models" in refusal(client.get(f"/v1/export.csv?fingerprint={'b' * 64}"), 422)


def test_nothing_is_calibrated_with_while_verdicts_wait_to_be_looked_at(client, standing, loading):
    now = loading.now.models["brick"].fingerprint
    ids = [
        standing.history.add(record(number, verdict=verdict, fingerprint=now), b"\x89PNG\r\n\x1a\n%d" % number).id
        for number, verdict in enumerate(("OK", "REVIEW", "NG"))
    ]
    for number, left in ((None, 2), (ids[1], 1), (ids[2], 0)):
        if number:
            standing.history.correct(number, Correction(verdict="NG", who="Ada"))
        page = client.get("/history").text
        assert standing.history.unseen() == left
        assert ("manifest.csv --add" in page, f"{left} of these parts" in page) == (not left, bool(left))
    for query in ("verdict=OK", "mistake=false+alarm"):  # a part of the scores only
        assert "manifest.csv --add" not in client.get(f"/history?{query}").text


@pytest.mark.parametrize(
    "query",
    [
        "verdict=GOOD",
        "mistake=x",
        "first=2026-13-01",
        "zone=x",
        "other=1",
        "before=x",
        "zone=100000",
        "last=9999-12-31",
        "last=0001-01-01",
        "first=9999-12-31",
    ],
)
def test_filters_that_mean_nothing(client, query):
    answer = client.get(f"/history?{query}")
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("text/html")
    assert query.partition("=")[0] in answer.text or "page" in answer.text
    assert "Traceback" not in answer.text


def test_pages_of_fifty(client, standing):
    for number in range(60):
        standing.history.add(record(number, name=f"part {number}"), b"\x89PNG\r\n\x1a\n%d" % number)
    first = client.get("/history")
    names = re.findall(r"<bdi>(part \d+)</bdi>", first.text)
    older = unescape(re.search(r'id="next" href="([^"]*)"', first.text)[1])
    names += re.findall(r"<bdi>(part \d+)</bdi>", client.get(older).text)
    assert sorted(names) == sorted(f"part {number}" for number in range(60))


def test_what_a_model_promises_stands_there_and_what_makes_a_threshold_permanent(client, loading):
    before = client.get("/models").text
    lines = promise_lines(loading.now.models["brick"].header)
    assert len(lines) > 1
    assert all(line in text(before) for line in lines)
    assert "blemish calibrate" not in before
    client.post("/v1/models/brick/thresholds", json={"review": 0.41, "ng": 0.52, "who": "Ada", "why": "dust"})
    page = unescape(client.get("/models").text)
    assert "--threshold 0.41,0.52 --out" in page
    assert "dust" in page
    assert "golden images" in page


def test_where_good_scores_have_moved():
    known = usual([0.1 + 0.01 * number for number in range(41)])
    assert (known.low, known.median, known.high) == pytest.approx((0.11, 0.30, 0.49))
    assert usual([]) is None
    hour = datetime(2026, 3, 4, 12, tzinfo=UTC)

    def band(low, median, high, count=20):
        return Band(hour, count, low, median, high)

    assert not leaves(band(0.12, 0.3, 0.48), known)
    assert not leaves(band(0.2, 0.35, 0.7), known)
    assert leaves(band(0.31, 0.35, 0.4), known)  # all of them above what is usual for half
    assert leaves(band(0.11, 0.2, 0.29), known)
    assert leaves(band(0.2, 0.5, 0.7), known)
    assert not leaves(band(0.6, 0.7, 0.8, count=ENOUGH - 1), known)


def test_the_plot():
    start = datetime(2026, 3, 4, tzinfo=UTC)
    known = usual([0.1, 0.2, 0.3])
    bands = [Band(start + timedelta(hours=hour), 20, 0.1, 0.2, 0.3 + 0.2 * hour) for hour in range(3)]
    bands.append(Band(start + timedelta(hours=3), 20, 0.5, 0.6, 0.7))
    drawn = plot(bands, known, Thresholds(0.4, 0.5), start=start, end=start + timedelta(hours=4), hours=1)
    assert [bar["x"] for bar in drawn.bars] == [163.8, 399.2, 634.8, 870.2]
    assert drawn.bars[0]["high"] < drawn.bars[0]["y"] < drawn.bars[0]["low"]  # up is less
    assert [level["word"] for level in drawn.levels] == ["REVIEW", "NG"]
    assert drawn.levels[1]["y"] < drawn.levels[0]["y"]
    assert (drawn.left, drawn.now) == ([bands[3]], True)
