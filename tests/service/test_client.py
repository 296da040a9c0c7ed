"""The client where a service is none, answers what is no answer, or cannot be asked at all."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from blemish.client import Client, ServiceError

HERE = "http://127.0.0.1:1"


@contextmanager
def answering(body):
    """A server that answers the same, whatever it is asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("body", [b"<html>", b"{}", b"\xff", b""])
def test_a_server_that_is_no_blemish(body):
    with answering(body) as url, Client(url) as client:
        for ask in (client.models, client.counts, client.page, lambda: client.inspection(1)):
            with pytest.raises(ServiceError, match="none of blemish serve") as refused:
                ask()
            assert refused.value.status == 200


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:1", "ftp://127.0.0.1", "http://", "http://127.0.0.1:x", "http://\udc80"]
)
def test_what_is_no_address(url):
    with pytest.raises(ServiceError, match="expected one of http or https") as refused:
        Client(url)
    assert refused.value.status == 400


@pytest.mark.parametrize("token", ["caf\u00e9", "a\nb", "\udc80"])
def test_a_token_that_cannot_be_sent(token):
    with pytest.raises(ServiceError, match="token: expected printable ASCII") as refused:
        Client(HERE, token=token)
    assert refused.value.status == 400


@pytest.mark.parametrize("model", ["a\0b", "\udc80"])
def test_what_cannot_be_asked(model):
    with Client(HERE) as client, pytest.raises(ServiceError, match="cannot be asked") as refused:
        client.inspect(model, b"bytes", name="1.png")
    assert refused.value.status == 400
    assert len(str(refused.value).splitlines()) == 1
