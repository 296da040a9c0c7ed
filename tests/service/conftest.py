"""A service in this process, on a real bundle in a real pool."""

import pytest
from starlette.testclient import TestClient

from blemish.service.http.tokens import Tokens
from blemish.service.work.loading import Loading
from blemish.service.work.models import take
from serving import CHANGE, LOOK, Standing


@pytest.fixture(scope="module")
def loading(bundle, tmp_path_factory):
    own = tmp_path_factory.mktemp("own")
    with Loading(take([bundle], own), own, workers=1) as loading:
        yield loading


@pytest.fixture
def standing(loading, tmp_path):
    standing = Standing(loading, tmp_path / "data")
    yield standing
    standing.history.close()


@pytest.fixture
def client(standing):
    return TestClient(standing.app)


@pytest.fixture
def guarded(loading, tmp_path):
    other = Standing(loading, tmp_path / "other", tokens=Tokens(LOOK, CHANGE))
    yield TestClient(other.app)
    other.history.close()


@pytest.fixture(scope="module")
def images(brick):
    """Bytes of a good brick and of a defective one."""
    defective = next(path for path in sorted((brick / "test").iterdir()) if path.name != "good")
    return [sorted(folder.iterdir())[0].read_bytes() for folder in (brick / "test" / "good", defective)]
