"""The client where a service is none, answers what is no answer, or cannot be asked at all."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from blemish.client import Client, ServiceError
from blemish.verdict.threshold import Thresholds

HERE = "http://127.0.0.1:1"


@contextmanager
def answering(body, asked=None):
    """A server that answers the same, whatever it is asked; asked: a list that gets the addresses."""
    asked = [] if asked is None else asked

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"model": "\udc80"}, r"model: \\udc80 is not allowed"),
        ({"model": "brick", "name": "\udc80"}, "cannot be asked"),
        ({"model": "brick", "source": "\udc80"}, "cannot be asked"),
    ],
)
def test_what_cannot_be_asked(words, said):
    with Client(HERE) as client, pytest.raises(ServiceError, match=said) as refused:
        client.inspect(image=b"bytes", **words)
    assert refused.value.status == 400
    assert len(str(refused.value).splitlines()) == 1


def test_a_file_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "folder.png").mkdir()
    with Client(HERE) as client:
        for name, said in (
            ("none\udc80.png", rf"no such file: {tmp_path}/none\udc80.png"),
            ("folder.png", f"{tmp_path}/folder.png: cannot be read (Is a directory)"),
            ("a\0.png", rf"{tmp_path}/a\x00.png: cannot be read (embedded null byte)"),
        ):
            with pytest.raises(ServiceError) as refused:
                client.inspect("brick", tmp_path / name)
            assert (str(refused.value), refused.value.status) == (said, 400)


@pytest.mark.parametrize("model", ["a b", "a/b", "a?b=c", "a#b", "a%2Fb", "50 %", "a\0b", "ä部"])
def test_the_name_of_a_model_is_sent_whole_whatever_it_holds(model, tmp_path):
    (image := tmp_path / "1\udc80.png").write_bytes(b"bytes")
    with answering(b"{}", asked := []) as url, Client(url) as client:
        for ask in (
            lambda: client.inspect(model, image),
            lambda: client.load(model, who="Ada"),
            lambda: client.set_thresholds(model, Thresholds(0.5), who="Ada"),
        ):
            with pytest.raises(ServiceError, match="none of blemish serve"):
                ask()
    addresses = [urlsplit(one) for one in asked]
    assert [one.path.split("/")[:3] for one in addresses] == [["", "v1", "models"]] * 3
    assert [list(map(unquote, one.path.split("/")[3:])) for one in addresses] == [
        [model, "inspections"],
        [model, "load"],
        [model, "thresholds"],
    ]
    assert parse_qs(addresses[0].query) == {"name": [r"1\udc80.png"]}
