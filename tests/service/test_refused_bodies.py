"""Images, forms and JSON that are refused, each with its status and one line."""

import socket
import struct
import zlib

import numpy as np
import pytest
from starlette.testclient import TestClient

from blemish.service.work.loading import Loading
from blemish.service.work.models import take
from serving import Standing, encoded, noise, refusal

INSPECT = "/v1/models/brick/inspections"
BOUNDARY = "multipart/form-data; boundary=b"


@pytest.fixture(scope="module")
def client(bundle, tmp_path_factory):
    own = tmp_path_factory.mktemp("own")
    with Loading(take([bundle], own), own, workers=1) as loading:
        standing = Standing(loading, tmp_path_factory.mktemp("data"))
        yield TestClient(standing.app)
        standing.history.close()


def send(client, data, kind="image/png"):
    return client.post(INSPECT, content=data, headers={} if kind is None else {"Content-Type": kind})


def part(data=b"x", disposition='form-data; name="file"; filename="a.png"'):
    return b"--b\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n" + data + b"\r\n"


def claimed(width, height):
    """A PNG that claims a size and holds a few bytes."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return head + struct.pack(">I", 900) + b"IDAT" + bytes(904)


def animated():
    from io import BytesIO

    from PIL import Image

    out = BytesIO()
    frames = [Image.fromarray(noise(seed=seed)) for seed in range(2)]
    frames[0].save(out, "PNG", save_all=True, append_images=frames[1:])
    return out.getvalue()


GOOD = encoded(noise())
FLIPPED = bytearray(GOOD)
FLIPPED[len(GOOD) // 2] ^= 1
IMAGES = {
    "empty": (b"", 400, "empty file"),
    "text": (b"hello, world", 415, "not an image"),
    "header only": (GOOD[:8], 400, "truncated"),
    "cut JPEG": (encoded(noise(side=256), "JPEG")[:5000], 400, "truncated"),
    "flipped bit": (bytes(FLIPPED), 400, "corrupt"),
    "60000x60000": (claimed(60000, 60000), 413, "3600 Mpx exceeds limit 16 Mpx"),
    "17 Mpx": (claimed(4200, 4100), 413, "exceeds limit 16 Mpx"),
    "1x1": (encoded(np.zeros((1, 1, 3), np.uint8)), 422, "smaller than minimum 32x32"),
    "strip": (encoded(np.zeros((32, 5000, 3), np.uint8)), 422, "aspect ratio"),
    "no width": (b"BM" + bytes(12) + struct.pack("<IiiHHIIiiII", 40, 0, 9, 1, 24, 0, 0, 0, 0, 0, 0), 400, "dimensions"),
    "animated": (animated(), 415, "multi-frame not supported"),
    "GIF": (b"GIF89a" + bytes(50), 415, "format GIF not allowed"),
    "WEBP": (b"RIFF\0\0\0\0WEBP" + bytes(50), 415, "format WEBP not allowed"),
    "SVG": (b"<svg xmlns='http://x'/>", 415, "format SVG not allowed"),
    "base64": (b"iVBORw0KGgo=", 415, "not an image"),
}


@pytest.mark.parametrize("case", IMAGES)
def test_an_image_that_cannot_be_used(client, case):
    data, status, line = IMAGES[case]
    assert line in refusal(send(client, data), status)


@pytest.mark.parametrize(
    "kind", [None, "", "application/json", "text/plain", "application/octet-stream", "image", "x" * 99]
)
def test_other_content_types(client, kind):
    assert "Content-Type" in refusal(send(client, GOOD, kind), 415)


def test_an_image_in_json_is_no_image(client):
    answer = client.post(INSPECT, json={"image_url": "http://169.254.169.254/"})
    refusal(answer, 415)
    refusal(client.post(INSPECT, params={"image_url": "http://169.254.169.254/"}, content=GOOD), 422)


FORMS = {
    "no boundary": ("multipart/form-data", part()),
    "empty boundary": ("multipart/form-data; boundary=", part()),
    "10 kB boundary": (f"multipart/form-data; boundary={'b' * 10000}", part()),
    "no part": (BOUNDARY, b"--b--\r\n"),
    "nothing": (BOUNDARY, b""),
    "not a form": (BOUNDARY, GOOD),
    "no end": (BOUNDARY, part()),
    "no file name": (BOUNDARY, part(GOOD, 'form-data; name="file"') + b"--b--\r\n"),
    "empty file name": (BOUNDARY, part(GOOD, 'form-data; name="file"; filename=""') + b"--b--\r\n"),
    "no name": (BOUNDARY, part(GOOD, 'form-data; filename="a.png"') + b"--b--\r\n"),
    "two files": (BOUNDARY, part(GOOD) + part(GOOD) + b"--b--\r\n"),
    "file and field": (BOUNDARY, part(GOOD) + part(b"x", 'form-data; name="url"') + b"--b--\r\n"),
    "1e5 parts": (BOUNDARY, part(b"") * 100_000 + b"--b--\r\n"),
    "1e5 headers": (BOUNDARY, b"--b\r\n" + b"A: b\r\n" * 100_000 + b"\r\nx\r\n--b--\r\n"),
    "1 MB header": (BOUNDARY, b"--b\r\nA: " + b"a" * 1_000_000 + b"\r\n\r\nx\r\n--b--\r\n"),
}


@pytest.mark.parametrize("case", FORMS)
def test_a_form_that_is_not_one_file(client, case):
    kind, data = FORMS[case]
    assert refusal(send(client, data, kind), 400).startswith("multipart/form-data: expected")


def test_a_hostile_name_is_shown_on_one_line(client):
    name = "../../etc\r\n\u202epasswd\0<script>.png"
    found = client.post(INSPECT, params={"name": name}, content=GOOD, headers={"Content-Type": "image/png"}).json()
    assert found["name"] == "../../etc\\r\\n\\u202epasswd\\x00<script>.png"
    assert "name" in refusal(client.post(INSPECT, params={"name": "n" * 2001}, content=GOOD), 422)


def test_an_address_in_a_request_is_never_called(client, monkeypatch):
    called = []
    monkeypatch.setattr(socket.socket, "connect", lambda _, place: called.append(place))
    url = "http://169.254.169.254/latest"
    refusal(client.post(INSPECT, params={"image_url": url}, content=GOOD), 422)
    refusal(client.post(INSPECT, json={"image_url": url}), 415)
    refusal(client.post("/v1/models/brick/load", json={"who": "Ada", "bundle": url}), 422)
    assert client.post(
        INSPECT, params={"name": url, "source": url}, content=GOOD, headers={"Content-Type": "image/png"}
    )
    assert called == []


BODIES = {
    "nothing": (b"", 400),
    "no JSON": (b"{", 400),
    "not UTF-8": (b'{"who": "\xff"}', 400),
    "a list": (b"[]", 400),
    "depth 1e5": (b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}", 400),
    "NaN": (b'{"verdict": "OK", "who": NaN}', 400),
    "1e400": (b'{"verdict": "OK", "who": 1e400}', 400),
    "deep NaN": (b'{"verdict": "OK", "who": [[{"a": [Infinity]}]]}', 400),
    "a long number": (b'{"verdict": "OK", "who": ' + b"9" * 5000 + b"}", 400),
    "given twice": (b'{"verdict": "OK", "verdict": "NG", "who": "Ada"}', 400),
    "half a letter twice": (b'{"\\ud800": 1, "\\ud800": 2}', 400),
    "too long": (b'{"who": "' + b"a" * 70_000 + b'"}', 413),
    "another field": (b'{"verdict": "OK", "who": "Ada", "image_url": "http://169.254.169.254/"}', 422),
    "a number": (b'{"verdict": "OK", "who": 5}', 422),
}


@pytest.mark.parametrize("case", BODIES)
def test_json_that_is_refused(client, case):
    data, status = BODIES[case]
    answer = client.post("/v1/inspections/1/corrections", content=data, headers={"Content-Type": "application/json"})
    refusal(answer, status)


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_json_of_another_type(client, kind):
    headers = {} if kind is None else {"Content-Type": kind}
    answer = client.post("/v1/inspections/1/corrections", content=b'{"verdict": "OK", "who": "x"}', headers=headers)
    refusal(answer, 415)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/static/../app.py", 404),
        ("POST", "/history", 405),
        ("GET", "/etc/passwd", 404),
        ("GET", "/v1", 404),
        ("GET", INSPECT, 405),
        ("DELETE", "/v1/inspections/1", 405),
        ("OPTIONS", "/v1/models", 405),
        ("BREW", "/v1/models", 405),
    ],
)
def test_addresses_and_methods(client, method, path, status):
    origin = {"Origin": "http://testserver", "Access-Control-Request-Method": "POST"}
    refusal(client.request(method, path, headers=origin), status)
