"""The addresses of the service, with a real bundle in a real pool: what is judged, remembered, drawn and corrected."""

from hashlib import sha256
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from blemish.runtime import Runtime
from blemish.runtime.bundle import identity
from serving import CHANGE, LOOK, Standing, refusal

INSPECT = "/v1/models/brick/inspections"
PNG = {"Content-Type": "image/png"}


def judged(client, image, **options):
    answer = client.post(INSPECT, content=image, headers=PNG, **options)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_an_image_is_judged_as_the_runtime_does(client, images, bundle, brick):
    runtime = Runtime.load(bundle, threads=1)
    for image in images:
        (expected,) = runtime.predict([np.array(Image.open(BytesIO(image)).convert("RGB"))])
        found = judged(client, image, params={"name": "part 1.png", "source": "camera"})
        assert found["score"] == pytest.approx(expected.score)
        assert found["verdict"] == found["standing"] == expected.verdict
        assert [region["area"] for region in found["regions"]] == [region.area for region in expected.regions]
        assert (found["height"], found["width"]) == expected.score_map.shape
        assert found["thresholds"] == {"review": runtime.thresholds_.review, "ng": runtime.thresholds_.ng}
        assert (found["name"], found["source"], found["model"]) == ("part 1.png", "camera", "brick")
        assert (found["sha256"], found["fingerprint"]) == (sha256(image).hexdigest(), identity(bundle))
        assert set(found["times"]) == {"queue", "decode", "score"}
        assert client.get(found["links"]["inspection"]).json() == found


def test_a_form_with_one_file_is_an_image(client, images):
    answer = client.post(INSPECT, files={"any": ("part é.png", images[0], "image/png")})
    assert answer.status_code == 201
    assert answer.json()["name"] == "part é.png"
    assert answer.json()["score"] == pytest.approx(judged(client, images[0])["score"])


def test_map_and_overlay_are_made_again(client, images, bundle):
    found = judged(client, images[1])
    links = found["links"]
    (expected,) = Runtime.load(bundle, threads=1).predict([np.array(Image.open(BytesIO(images[1])).convert("RGB"))])
    scores = np.load(BytesIO(client.get(links["scores"]).content))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected.score_map, atol=1e-6)
    grey = np.asarray(Image.open(BytesIO(client.get(links["map"]).content)))
    np.testing.assert_allclose(grey / 65535, expected.score_map, atol=1e-4)
    overlay = client.get(links["overlay"])
    assert overlay.headers["content-type"] == "image/png"
    assert Image.open(BytesIO(overlay.content)).size == (found["width"], found["height"])
    shown = np.asarray(Image.open(BytesIO(client.get(links["image"]).content)))
    np.testing.assert_array_equal(shown, np.asarray(Image.open(BytesIO(images[1])).convert("RGB")))
    assert max(Image.open(BytesIO(client.get(links["small"]).content)).size) <= 400


def test_what_is_not_kept_has_no_map(loading, tmp_path, images):
    standing = Standing(loading, tmp_path / "none", keep="none")
    client = TestClient(standing.app)
    found = judged(client, images[0])
    assert found["kept"] is False
    assert found["links"]["overlay"] is None
    line = refusal(client.get(f"/v1/inspections/{found['id']}/overlay.png"), 404)
    assert line == "the image is not kept"
    standing.history.close()


def test_pages_and_filters(client, images):
    ids = [judged(client, images[number % 2], params={"name": f"part {number}"})["id"] for number in range(5)]
    first = client.get("/v1/inspections", params={"limit": 3}).json()
    second = client.get("/v1/inspections", params={"limit": 3, "before": first["next"]}).json()
    assert [one["id"] for one in first["inspections"] + second["inspections"]] == ids[::-1]
    assert second["next"] is None
    found = client.get("/v1/inspections", params={"name": "PART 3"}).json()["inspections"]
    assert [one["name"] for one in found] == ["part 3"]
    at = found[0]["at"]
    later = client.get("/v1/inspections", params={"start": at, "model": "brick"}).json()["inspections"]
    assert [one["name"] for one in later] == ["part 4", "part 3"]
    assert client.get("/v1/inspections", params={"model": "x\0y"}).json()["inspections"] == []


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"verdict": "good"}, "verdict"),
        ({"start": "2026-03-04T12:00:00"}, "start"),
        ({"mistake": "none"}, "mistake"),
        ({"image_url": "http://169.254.169.254/"}, "image_url"),
        ({"before": "x"}, "page"),
        ({"name": "n" * 3000}, "name"),
    ],
)
def test_a_page_that_cannot_be_asked_for_is_refused(client, params, field):
    assert field in refusal(client.get("/v1/inspections", params=params), 422)


def test_a_correction_stands_and_is_remembered(client, images):
    found = judged(client, images[1])
    place = f"{found['links']['inspection']}/corrections"
    answer = client.post(place, json={"verdict": "OK", "who": "Ada", "why": "dust"})
    assert answer.status_code == 201
    assert answer.json()["standing"] == "OK"
    assert answer.json()["verdict"] == found["verdict"]
    (correction,) = client.get(found["links"]["inspection"]).json()["corrections"]
    assert (correction["who"], correction["why"], correction["verdict"]) == ("Ada", "dust", "OK")
    assert "who" in refusal(client.post(place, json={"verdict": "OK"}), 422)
    assert "verdict" in refusal(client.post(place, json={"verdict": "BAD", "who": "Ada"}), 422)
    assert "who" in refusal(client.post(place, json={"verdict": "OK", "who": ""}), 422)
    strange = client.post(place, json={"verdict": "OK", "who": "Ada", "image_url": "http://169.254.169.254/"})
    assert "image_url" in refusal(strange, 422)
    refusal(client.post("/v1/inspections/999/corrections", json={"verdict": "OK", "who": "Ada"}), 404)


def test_other_thresholds_count_from_then_on_also_after_a_restart(standing, loading, client, images):
    before = client.get("/v1/models").json()["models"][0]
    assert before["thresholds"] == before["own_thresholds"]
    asked = {"review": 0.9, "ng": 0.95, "who": "Ada", "why": "dust"}
    answer = client.post("/v1/models/brick/thresholds", json=asked)
    assert answer.status_code == 201, answer.text
    assert answer.json()["thresholds"] == {"review": 0.9, "ng": 0.95}
    assert answer.json()["own_thresholds"] == before["thresholds"]
    assert answer.json()["changes"][0]["who"] == "Ada"
    found = judged(client, images[1])
    assert found["thresholds"] == {"review": 0.9, "ng": 0.95}
    again = Standing(loading, standing.history.images.folder.parent)
    assert again.service.thresholds(again.service.model("brick")).review == 0.9
    again.history.close()
    assert "threshold" in refusal(client.post("/v1/models/brick/thresholds", json=asked | {"review": 2}), 422)
    refusal(client.post("/v1/models/other/thresholds", json=asked), 404)


@pytest.mark.parametrize("name", ["other", "..%2f..%2fx", "%2e%2e", "x%00", "x" * 10000, "brick%2f"])
def test_an_unknown_model_is_not_there(client, images, name):
    refusal(client.post(f"/v1/models/{name}/inspections", content=images[0], headers=PNG), 404)


@pytest.mark.parametrize("number", ["0", "999", "-1", "x", "9" * 30, "1.0", "%2e%2e", "²"])
def test_an_unknown_inspection_is_not_there(client, number):
    refusal(client.get(f"/v1/inspections/{number}"), 404)
    refusal(client.get(f"/v1/inspections/{number}/map.png"), 404)


def test_health_and_figures(client, images, loading):
    found = judged(client, images[0])
    assert client.get("/livez").json() == {"live": True}
    assert client.get("/readyz").json() == {"ready": True}
    text = client.get("/metrics").text
    assert f'blemish_verdicts_total{{model="brick",verdict="{found["verdict"]}"}} 1.0' in text
    assert 'blemish_score_count{model="brick"} 1.0' in text
    for stage in ("queue", "decode", "score", "store", "total"):
        assert f'blemish_stage_seconds_count{{model="brick",stage="{stage}"}} 1.0' in text
    assert f'fingerprint="{loading.now.models["brick"].fingerprint}"' in text
    assert 'blemish_requests_total{method="POST",route="/v1/models/{model}/inspections",status="201"} 1.0' in text
    assert "blemish_queue 0.0" in text


def test_a_history_that_cannot_be_used_is_said_without_its_place(client, standing, images, monkeypatch, caplog):
    from blemish.errors import StorageError

    def broken(*_):
        raise StorageError("history: /secret/place: disk I/O error")

    monkeypatch.setattr(standing.history, "add", broken)
    answer = client.post(INSPECT, content=images[0], headers=PNG)
    assert "history" in refusal(answer, 503)
    assert answer.headers["retry-after"]
    assert "/secret/place" in caplog.text


def test_who_has_which_token_may_do_what(guarded, images):
    def asked(path, token, **options):
        headers = {} if token is None else {"Authorization": token}
        return guarded.request("POST" if options else "GET", path, headers=headers, **options)

    for token in (
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        f"Basic {LOOK}",
        LOOK,
        f"Bearer {LOOK}x",
        "Bearer é".encode(),
    ):
        for path in ("/v1/models", "/v1/inspections", "/v1/inspections/1", "/metrics", "/openapi.json"):
            answer = asked(path, token)
            refusal(answer, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
    change = {"json": {"review": 0.5, "who": "Ada"}}
    assert asked("/v1/models", f"Bearer {LOOK}").status_code == 200
    assert asked("/v1/models", f"bearer {CHANGE}").status_code == 200
    refusal(asked("/v1/models/brick/thresholds", f"Bearer {LOOK}", **change), 403)
    refusal(asked("/v1/models/brick/thresholds", None, **change), 401)
    assert asked("/v1/models/brick/thresholds", f"Bearer {CHANGE}", **change).status_code == 201
    assert asked("/livez", None).status_code == 200
    refusal(asked(INSPECT, None, content=images[0]), 401)
