"""What the tests of the service share: a real bundle served, images, and one line for what is refused."""

from io import BytesIO

import numpy as np
from PIL import Image

from blemish.history.history import History
from blemish.service.app import make_app
from blemish.service.http.tokens import Tokens
from blemish.service.service import Service

HOSTS = ("testserver",)


def encoded(picture, kind="PNG", **options):
    """The bytes of a picture."""
    out = BytesIO()
    Image.fromarray(picture).save(out, kind, **options)
    return out.getvalue()


def noise(*, side=64, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)


def refusal(answer, status):
    """Return the line of a refusal, which says nothing of the machine."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    line = answer.json()["error"]
    assert answer.headers["content-type"] == "application/json"
    assert "access-control-allow-origin" not in answer.headers
    assert len(line.splitlines()) == 1
    for word in ("/tmp", ".py", "Traceback", "tensor"):
        assert word not in line
    return line


class Standing:
    """A service in this process."""

    def __init__(self, models, pool, folder, *, tokens=None, hosts=HOSTS, keep="all"):
        self.history = History.open(folder, keep=keep)
        self.service = Service(models, pool, self.history)
        self.app = make_app(self.service, tokens=tokens or Tokens(), hosts=hosts)
