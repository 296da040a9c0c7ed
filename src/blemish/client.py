"""A client of `blemish serve`: what it answers, as values."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from blemish.data.listing import path_text, read_file
from blemish.errors import BlemishError, InputError, printable
from blemish.service.answers import Counted, Inspected, InspectedPage, ServedModel, ServedModels
from blemish.verdict.threshold import Thresholds, Verdict

Read = TypeVar("Read", bound=BaseModel)


class ServiceError(BlemishError):
    """What a service has refused, with its status, or that it cannot be reached, with status 0.

    What cannot be sent counts as refused, with 400; an answer that is none of blemish keeps its own status.
    """

    def __init__(self, line: str, *, status: int = 0) -> None:
        super().__init__(line)
        self.status = status


class Client:
    """A service by its address, for any number of threads; every method raises ServiceError."""

    def __init__(self, url: str = "http://127.0.0.1:8765", *, token: str | None = None, timeout: float = 30.0) -> None:
        """Take the address of a service, and the token that it asks for; timeout: s for an answer."""
        if token is not None and not (token.isascii() and token.isprintable()):
            raise ServiceError("token: expected printable ASCII characters", status=400)
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            address = httpx.URL(url)
        except (ValueError, httpx.InvalidURL):
            address = httpx.URL()
        if address.scheme not in ("http", "https") or not address.host:
            raise ServiceError("service: not an address, expected one of http or https", status=400)
        self._http = httpx.Client(base_url=address, headers=headers, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let all connections go."""
        self._http.close()

    def inspect(self, model: str, image: Path | bytes, *, name: str | None = None, source: str = "") -> Inspected:
        """Have a model judge an image, a file or its bytes; name: what it is called, by default as its file."""
        data, called = _opened(image) if isinstance(image, Path) else (image, "")
        params = {"name": called if name is None else name, "source": source}
        headers = {"Content-Type": "image/*"}
        return self._read(Inspected, "POST", _of(model, "inspections"), params=params, content=data, headers=headers)

    def inspection(self, number: int) -> Inspected:
        """Return an inspection."""
        return self._read(Inspected, "GET", f"/v1/inspections/{number}")

    def page(self, *, before: str | None = None, limit: int = 50, **chosen: Any) -> InspectedPage:
        """Return inspections, the newest first; chosen: as the fields of `answers.Chosen`."""
        params = {key: value for key, value in {**chosen, "before": before}.items() if value is not None}
        return self._read(InspectedPage, "GET", "/v1/inspections", params={**params, "limit": limit})

    def inspections(self, **chosen: Any) -> Iterator[Inspected]:
        """Yield all inspections that are chosen, as `page` does, the newest first."""
        page = self.page(limit=1000, **chosen)
        yield from page.inspections
        while page.next is not None:
            page = self.page(before=page.next, limit=1000, **chosen)
            yield from page.inspections

    def scores(self, number: int) -> bytes:
        """Return the score map of an inspection as the content of a file: .npy, float32, (H, W)."""
        return self._ask("GET", f"/v1/inspections/{number}/map.npy")

    def overlay(self, number: int) -> bytes:
        """Return the overlay of an inspection as the content of a PNG file."""
        return self._ask("GET", f"/v1/inspections/{number}/overlay.png")

    def correct(self, number: int, verdict: Verdict, *, who: str, why: str = "") -> Inspected:
        """Let another verdict of an inspection stand."""
        said = {"verdict": verdict, "who": who, "why": why}
        return self._read(Inspected, "POST", f"/v1/inspections/{number}/corrections", json=said)

    def models(self) -> list[ServedModel]:
        """Return the models of the service."""
        return self._read(ServedModels, "GET", "/v1/models").models

    def set_thresholds(
        self, model: str, thresholds: Thresholds, *, who: str, why: str = "", fingerprint: str | None = None
    ) -> ServedModel:
        """Let other thresholds of a model count from now on; fingerprint: of the bundle that they are meant for."""
        said = {"review": thresholds.review, "ng": thresholds.ng, "who": who, "why": why, "fingerprint": fingerprint}
        return self._read(ServedModel, "POST", _of(model, "thresholds"), json=said)

    def load(self, model: str, *, who: str) -> ServedModel:
        """Let the bundle that now lies where a model came from judge, once it has passed its self-test."""
        return self._read(ServedModel, "POST", _of(model, "load"), json={"who": who})

    def counts(self, **chosen: Any) -> Counted:
        """Count the inspections that are chosen, as `page` does."""
        params = {key: value for key, value in chosen.items() if value is not None}
        return self._read(Counted, "GET", "/v1/counts", params=params)

    def _read(self, kind: type[Read], method: str, path: str, **given: Any) -> Read:
        answer = self._answer(method, path, **given)
        try:
            return kind.model_validate_json(answer.content)
        except ValueError:
            raise ServiceError("service: the answer is none of blemish serve", status=answer.status_code) from None

    def _ask(self, method: str, path: str, **given: Any) -> bytes:
        return self._answer(method, path, **given).content

    def _answer(self, method: str, path: str, **given: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **given)
        except httpx.HTTPError as error:
            raise ServiceError(f"service: no answer: {error}") from None
        except (ValueError, httpx.InvalidURL) as error:
            raise ServiceError(f"service: cannot be asked: {printable(error)}", status=400) from None
        if answer.is_success:
            return answer
        try:
            line = str(answer.json()["error"])
        except (ValueError, KeyError, TypeError):
            line = answer.reason_phrase
        raise ServiceError(f"service: {line}", status=answer.status_code)


def _of(model: str, what: str) -> str:
    """Return an address of a model; its name is quoted, so that the server sees all of it, whatever it holds."""
    try:
        return f"/v1/models/{quote(model, safe='')}/{what}"
    except UnicodeEncodeError:
        raise ServiceError(f"model: {printable(model)} is not allowed, it cannot be sent", status=400) from None


def _opened(image: Path) -> tuple[bytes, str]:
    """Return what a file holds, and its name in UTF-8."""
    try:
        return read_file(image), path_text(Path(image.name))
    except InputError as error:
        raise ServiceError(str(error), status=400) from None
