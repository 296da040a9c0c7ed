"""A bundle that takes the place of another: only whole, only after its self-test, and nobody notices until then."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from starlette.testclient import TestClient

from blemish.errors import ModelFileError
from blemish.runtime.bundle import identity
from blemish.service.work import loading as room
from blemish.service.work.loading import Loading, LoadingError
from blemish.service.work.models import take
from bundles import copied, edit
from serving import Standing, encoded, noise, refusal

INSPECT = "/v1/models/copy/inspections"
LOAD = "/v1/models/copy/load"
PNG = {"Content-Type": "image/png"}
GOOD = encoded(noise())


@pytest.fixture
def place(bundle, tmp_path):
    return copied(bundle, tmp_path)


@pytest.fixture
def loading(place, tmp_path):
    with Loading(take([place], tmp_path / "own"), tmp_path / "own", workers=1) as loading:
        yield loading


@pytest.fixture
def client(loading, tmp_path):
    standing = Standing(loading, tmp_path / "data")
    yield TestClient(standing.app)
    standing.history.close()


def other(place, review=0.9):
    edit(place, lambda fields: fields["model"]["calibration"].update(review=review, ng=None))


def judged(client):
    answer = client.post(INSPECT, content=GOOD, headers=PNG)
    assert answer.status_code == 201, answer.text
    return answer.json()


def test_another_bundle_judges_and_no_image_is_refused_meanwhile(client, place, loading):
    before = judged(client)
    changed = {"review": 0.8, "ng": 0.85, "who": "Ada"}
    assert client.post("/v1/models/copy/thresholds", json=changed).status_code == 201
    old = loading.now
    other(place)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(client.post, LOAD, json={"who": "Ada"})
        during = [judged(client)]
        while not asked.done():
            during.append(judged(client))
        answer = asked.result()
    assert answer.status_code == 200, answer.text
    # Thresholds that people have set were for the other bundle.
    assert answer.json()["thresholds"] == {"review": 0.9, "ng": None}
    assert answer.json()["fingerprint"] == identity(place)
    assert {one["fingerprint"] for one in during} <= {before["fingerprint"], identity(place)}
    assert during[0]["fingerprint"] == before["fingerprint"]
    after = judged(client)
    assert (after["fingerprint"], after["thresholds"]["review"]) == (identity(place), 0.9)
    assert old.pool.ready == 0
    assert not old.models["copy"].folder.exists()
    text = client.get("/metrics").text
    assert identity(place) in text
    assert before["fingerprint"] not in text
    # What the other bundle has judged cannot be drawn by this one, but be looked at.
    assert client.get(before["links"]["small"]).headers["content-type"] == "image/jpeg"
    assert "no overlay" in client.get(f"/inspections/{before['id']}").text
    assert "not served" in refusal(client.get(f"/v1/inspections/{before['id']}/overlay.png"), 404)


def test_thresholds_for_one_bundle_do_not_land_on_another(client, place):
    seen = client.get("/v1/models").json()["models"][0]["fingerprint"]
    assert f'data-fingerprint="{seen}"' in client.get("/models").text
    asked = {"review": 0.6, "ng": 0.7, "who": "Ada", "fingerprint": seen}
    assert client.post("/v1/models/copy/thresholds", json=asked).status_code == 201
    other(place)
    assert client.post(LOAD, json={"who": "Ada"}).json()["fingerprint"] != seen
    assert "another bundle" in refusal(client.post("/v1/models/copy/thresholds", json=asked), 409)
    assert client.get("/v1/models").json()["models"][0]["changes"] == []


def half(place):
    (place / "graph.onnx").write_bytes((place / "graph.onnx").read_bytes()[:1000])
    edit(place, lambda fields: fields.update(exported="2026-01-01T00:00:00Z"))


def untrue(place):
    edit(place, lambda fields: fields["golden"][0].update(score=0.99))


def gone(place):
    (place / "bundle.json").unlink()


@pytest.mark.parametrize("break_it", [half, untrue, gone])
def test_a_bundle_that_cannot_be_used_changes_nothing(client, place, break_it, caplog):
    before = judged(client)
    break_it(place)
    line = refusal(client.post(LOAD, json={"who": "Ada"}), 422)
    assert "judges on" in line
    assert str(place) in caplog.text or "blemish" in caplog.text
    assert judged(client)["fingerprint"] == before["fingerprint"]
    assert client.get("/readyz").json() == {"ready": True}


def test_the_same_bundle_is_left_as_it_is(client, loading):
    before = loading.now
    assert client.post(LOAD, json={"who": "Ada"}).json()["fingerprint"] == before.models["copy"].fingerprint
    assert loading.now is before
    refusal(client.post("/v1/models/none/load", json={"who": "Ada"}), 404)
    assert "who" in refusal(client.post(LOAD, json={}), 422)


def test_one_bundle_at_a_time(loading, client, monkeypatch):
    begun, go_on = Event(), Event()

    def slow(*_):
        begun.set()
        go_on.wait(10)
        raise ModelFileError("bundle: broken")

    monkeypatch.setattr(room, "copied", slow)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(loading.again, "copy")
        begun.wait(10)
        with pytest.raises(LoadingError):
            loading.again("copy")
        assert client.post(LOAD, json={"who": "Ada"}).headers["retry-after"] == "5"
        go_on.set()
        assert isinstance(first.exception(), ModelFileError)


def test_servers_that_share_a_history_agree_about_thresholds(loading, tmp_path):
    one, two = (Standing(loading, tmp_path / "shared") for _ in range(2))
    here, there = TestClient(one.app), TestClient(two.app)
    judged(there)
    asked = {"review": 0.6, "ng": 0.7, "who": "Ada", "why": "dust"}
    assert here.post("/v1/models/copy/thresholds", json=asked).status_code == 201
    assert judged(there)["thresholds"] == {"review": 0.6, "ng": 0.7}
    assert there.get("/v1/models").json()["models"][0]["changes"][0]["why"] == "dust"
    one.history.close()
    two.history.close()
