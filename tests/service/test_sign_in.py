"""Who is let in: tokens of programs, cookies of browsers, and what neither may do."""

import pytest
from starlette.testclient import TestClient

from blemish.service.http import tokens as room
from blemish.service.http.tokens import COOKIE, Tokens
from serving import CHANGE, LOOK, Standing, refusal

OWN = {"Origin": "http://testserver"}
PAGES = ("/", "/drop", "/history", "/models", "/inspections/1")
THRESHOLDS = "/v1/models/brick/thresholds"


def sign_in(client, token, **headers):
    return client.post("/sign-in", json={"token": token}, headers=OWN | headers)


def test_who_is_not_signed_in_sees_a_form_and_nothing_else(guarded):
    for place in PAGES:
        answer = guarded.get(place)
        assert answer.status_code == 401
        assert 'id="sign-in"' in answer.text
        assert "brick" not in answer.text
    assert guarded.get("/static/sign-in.js").status_code == 200


@pytest.mark.parametrize("token", ["", "x", LOOK[:-1], LOOK + "x", "é" * 20])
def test_a_wrong_token_gives_no_cookie(guarded, token):
    answer = sign_in(guarded, token)
    refusal(answer, 401)
    assert "set-cookie" not in answer.headers


def test_a_browser_types_its_token_once(guarded):
    answer = sign_in(guarded, LOOK)
    assert answer.status_code == 204
    said = answer.headers["set-cookie"].lower()
    for word in ("httponly", "samesite=strict", "path=/", "max-age=7776000"):
        assert word in said
    assert "secure" not in said
    assert LOOK not in said
    assert guarded.get("/history").status_code == 200
    assert guarded.get("/v1/models").status_code == 200
    change = {"review": 0.5, "who": "Ada"}
    refusal(guarded.post(THRESHOLDS, json=change, headers=OWN), 403)
    assert "second token" in guarded.get("/models").text
    assert guarded.post("/sign-out", json={}, headers=OWN).status_code == 204
    assert guarded.get("/history").status_code == 401


def test_behind_tls_the_cookie_goes_over_tls_only(guarded):
    answer = guarded.post("/sign-in", json={"token": LOOK}, headers={"Origin": "https://testserver"})
    assert "secure" in answer.headers["set-cookie"].lower()


def test_a_proxy_with_tls_in_front(loading, tmp_path):
    """What Caddy and nginx hand on: the Host and the Origin that a browser has sent them."""
    standing = Standing(loading, tmp_path / "data", tokens=Tokens(LOOK, CHANGE), hosts=["parts.example"])
    browser = TestClient(standing.app, base_url="https://parts.example")
    own = {"Origin": "https://parts.example", "X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https"}
    assert browser.post("/sign-in", json={"token": CHANGE}, headers=own).status_code == 204
    assert browser.get("/history").status_code == 200
    change = {"review": 0.5, "who": "Ada"}
    assert browser.post(THRESHOLDS, json=change, headers=own).status_code == 201
    refusal(browser.post(THRESHOLDS, json=change, headers=own | {"Origin": "https://evil.example"}), 403)
    refusal(browser.get("/", headers={"Host": "evil.example", "X-Forwarded-Host": "parts.example"}), 400)
    standing.history.close()


def test_the_second_token_may_change_thresholds(guarded):
    sign_in(guarded, CHANGE)
    assert 'class="thresholds"' in guarded.get("/models").text
    change = {"review": 0.5, "who": "Ada"}
    # A page of somebody else that a browser has been led to has another Origin, or hides it.
    refusal(guarded.post(THRESHOLDS, json=change, headers={"Origin": "http://evil.example"}), 403)
    assert "Origin" in refusal(guarded.post(THRESHOLDS, json=change), 403)
    assert guarded.post(THRESHOLDS, json=change, headers=OWN).status_code == 201
    refusal(guarded.post("/v1/models/brick/load", json={"who": "Ada"}), 403)


@pytest.mark.parametrize("value", ["", "x", LOOK, CHANGE, "0" * 64])
def test_a_cookie_cannot_be_made_up(guarded, value):
    guarded.cookies.set(COOKIE, value)
    refusal(guarded.get("/v1/models"), 401)
    assert guarded.get("/").status_code == 401


def test_a_wrong_token_beside_a_right_cookie_is_wrong(guarded):
    sign_in(guarded, LOOK)
    refusal(guarded.get("/v1/models", headers={"Authorization": "Bearer wrong"}), 401)


def test_whatever_is_shown_the_same_is_compared(guarded, monkeypatch):
    counts = []

    def counting(one, other):
        counts[-1] += 1
        assert len(one) == len(other) == 32
        return one == other

    monkeypatch.setattr(room, "compare_digest", counting)
    for shown in (None, "", "Bearer ", "Bearer x", f"Bearer {LOOK}", f"Bearer {CHANGE}", f"Bearer {'x' * 8000}"):
        counts.append(0)
        guarded.get("/v1/models", headers={} if shown is None else {"Authorization": shown})
    assert set(counts) == {2}


def test_without_tokens_nobody_is_asked(client):
    assert "Sign out" not in client.get("/").text
    refusal(sign_in(client, "x" * 20), 401)
