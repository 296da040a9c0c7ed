"""The nginx of docs/serving.md in front of a real server: TLS, signing in, images, events."""

import re
import shutil
import socket
import ssl
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from serving import CHANGE, LOOK, encoded, noise, served

DOCS = Path(__file__).parents[2] / "docs" / "serving.md"
NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
NAME = "parts.example"
AROUND = """daemon off; pid {0}/pid; error_log {0}/log; worker_processes 1; events {{}}
http {{ access_log off; {1} {2} }}"""
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")

pytestmark = pytest.mark.skipif(not (NGINX and shutil.which("openssl")), reason="nginx or openssl is not installed")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """The folder of a certificate for the name that signs itself, and of its key."""
    folder = tmp_path_factory.mktemp("certificate")
    made = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}"]
    files = ["-addext", f"subjectAltName=DNS:{NAME}", "-keyout", folder / "parts.key", "-out", folder / "parts.pem"]
    subprocess.run(["openssl", *made, *files], check=True, capture_output=True)
    return folder


def from_docs(port, *, behind, certificate):
    """Return what the docs show for nginx, with other places."""
    lines = DOCS.read_text().partition("blemish.conf\n")[2].partition("\n\n")[0]
    for old, new in (
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
        ("/etc/ssl/certs/parts.pem", f"{certificate}/parts.pem"),
        ("/etc/ssl/private/parts.key", f"{certificate}/parts.key"),
        ("127.0.0.1:8765", f"127.0.0.1:{behind}"),
    ):
        assert lines.count(old) == 1
        lines = lines.replace(old, new)
    return lines


@contextmanager
def proxied(server, certificate, folder):
    """Run nginx in front of a server, and yield a transport that finds it by its name."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    kept = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in TEMPORARY)
    text = AROUND.format(folder, kept, from_docs(port, behind=server.port, certificate=certificate))
    (folder / "nginx.conf").write_text(text)
    trusted = ssl.create_default_context(cafile=certificate / "parts.pem")
    with subprocess.Popen([NGINX, "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "log"]) as process:
        try:
            until = time.monotonic() + 10
            while time.monotonic() < until and process.poll() is None:
                try:
                    socket.create_connection(("127.0.0.1", port)).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield Named(port, trusted)
        finally:
            process.terminate()


class Named(httpx.BaseTransport):
    """Calls a port of this machine as a browser calls the name: by TLS, the Host and the Origin say the name."""

    def __init__(self, port, trusted):
        self.port, self.inner = port, httpx.HTTPTransport(verify=trusted)

    def handle_request(self, request):
        assert (request.url.scheme, request.url.host) == ("https", NAME)
        url = request.url.copy_with(host="127.0.0.1", port=self.port)
        extensions = request.extensions | {"sni_hostname": NAME}
        sent = httpx.Request(request.method, url, headers=request.headers, stream=request.stream, extensions=extensions)
        return self.inner.handle_request(sent)

    def close(self):
        self.inner.close()


@pytest.fixture(scope="module")
def browser(bundle, certificate, tmp_path_factory):
    folder = tmp_path_factory.mktemp("proxy")
    (folder / "tokens").write_text(f"{LOOK}\n{CHANGE}\n")
    options = ("--data", folder / "data", "--token", folder / "tokens", "--allow-host", NAME)
    with served(bundle, *options) as server, proxied(server, certificate, folder) as transport:
        headers = {"Origin": f"https://{NAME}"}
        with httpx.Client(transport=transport, base_url=f"https://{NAME}", headers=headers, timeout=30) as browser:
            yield browser


def test_a_day_behind_nginx(browser):
    assert browser.get("/v1/models").status_code == 401
    answer = browser.post("/sign-in", json={"token": CHANGE})
    assert answer.status_code == 204
    assert "secure" in answer.headers["set-cookie"].lower()
    assert browser.get("/history").status_code == 200
    sent = browser.post("/v1/models/brick/inspections", content=encoded(noise()), headers={"Content-Type": "image/png"})
    assert sent.status_code == 201
    number = sent.json()["id"]
    assert browser.get(f"/v1/inspections/{number}/overlay.png").content.startswith(b"\x89PNG")
    changed = browser.post("/v1/models/brick/thresholds", json={"review": 0.5, "who": "Ada"})
    assert changed.status_code == 201
    evil = browser.post("/v1/models/brick/thresholds", json={"review": 0.4}, headers={"Origin": "https://evil.example"})
    assert evil.status_code == 403
    other = browser.get("/livez", headers={"Host": "evil.example"})
    assert other.status_code == 400
    assert "Host" in other.json()["error"]


def test_bodies_up_to_the_servers_own_limit_reach_it(browser):
    for size, status in ((16 << 20, 415), ((16 << 20) + 1, 413)):
        place, kind = "/v1/models/brick/inspections", {"Content-Type": "image/png"}
        answer = browser.post(place, content=bytes(size), headers=kind | {"Authorization": f"Bearer {LOOK}"})
        assert answer.status_code == status
        assert list(answer.json()) == ["error"]  # the server's words, not nginx's


def test_events_come_through_at_once(browser):
    token = {"Authorization": f"Bearer {LOOK}"}
    with browser.stream("GET", "/v1/events", headers=token) as events:
        lines = events.iter_lines()
        assert next(lines) == ": welcome"
        time.sleep(1)  # the first look of the server finds what was there before
        start = time.monotonic()
        place, kind = "/v1/models/brick/inspections?name=seen.png", {"Content-Type": "image/png"}
        assert browser.post(place, content=encoded(noise(seed=9)), headers=kind | token).status_code == 201
        line = next(line for line in lines if re.match("data: ", line))
        assert "seen.png" in line
        assert time.monotonic() - start < 10
