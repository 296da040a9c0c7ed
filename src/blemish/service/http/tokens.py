"""Who may do what: one token to look and to correct, another that may change thresholds and models as well."""

import hmac
import re
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path

from starlette.requests import Request

from blemish.errors import InputError, printable
from blemish.service.http.bounds import SAFE
from blemish.service.http.faults import RefusedError

TOKEN = re.compile(r"[!-~]{16,200}")
RULE = (
    "expected one or two lines, each a token of 16 to 200 characters without spaces: the first to look and to "
    "correct, the second to change thresholds and models as well"
)


COOKIE = "blemish"
LASTS = 90 * 24 * 3600  # s that a browser stays signed in


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a service; without `look` everything is free, without `change` nobody may change thresholds.

    A program sends a token with every request; a browser has been given a cookie for one, which cannot be turned back
    into it, and must name the page that it asks from where something is changed.
    """

    look: str | None = None
    change: str | None = None

    def check_look(self, request: Request) -> None:
        """Refuse with 401 who has neither token."""
        self._check(request)

    def check_change(self, request: Request) -> None:
        """Refuse with 401 who has neither token, with 403 who has only that to look."""
        if not self._check(request):
            raise RefusedError(403, "this needs the token that may change thresholds and models")

    def may_look(self, request: Request) -> bool:
        """Return whether a request has either token, or none is needed."""
        return self.look is None or any(self._shown(request))

    def may_change(self, request: Request) -> bool:
        """Return whether a request may change thresholds and models."""
        return self.look is None or self._shown(request)[1]

    def cookie(self, given: str) -> str | None:
        """Return what a browser is to send instead of a token; None if it is no token of this service."""
        looks, changes = _same(given, self.look), _same(given, self.change)
        return _cookie(given) if looks or changes else None

    def _check(self, request: Request) -> bool:
        """Return whether thresholds and models may be changed."""
        if self.look is None:
            return True
        looks, changes = self._shown(request)
        if not (looks or changes):
            line = "a token is needed: Authorization: Bearer TOKEN"
            raise RefusedError(401, line, headers={"WWW-Authenticate": "Bearer"})
        by_cookie = "authorization" not in request.headers
        if by_cookie and request.method not in SAFE and "origin" not in request.headers:
            raise RefusedError(403, "a browser that is signed in has to say from which Origin it asks")
        return changes

    def _shown(self, request: Request) -> tuple[bool, bool]:
        """Return whether a request has the first token and the second; all comparisons are made."""
        if "authorization" in request.headers:
            scheme, _, given = request.headers["authorization"].partition(" ")
            bearer = scheme.lower() == "bearer"
            looks, changes = (_same(given, token) for token in (self.look, self.change))
            return bearer and looks, bearer and changes
        given = request.cookies.get(COOKIE, "")
        looks, changes = (_same(given, token and _cookie(token)) for token in (self.look, self.change))
        return looks, changes


def _cookie(token: str) -> str:
    return hmac.new(token.encode(), b"blemish: a browser that is signed in", sha256).hexdigest()


def _same(given: str, token: str | None) -> bool:
    # Of equal length, so that not even that of the token can be measured.
    one, other = (sha256(text.encode()).digest() for text in (given, token or ""))
    return compare_digest(one, other) and token is not None


def read_tokens(path: Path) -> Tokens:
    """Return the tokens in a file; raises InputError for one that cannot be read or holds anything else."""
    name = printable(path)
    try:
        lines = path.read_text(encoding="ascii").split()
    except UnicodeDecodeError:
        raise InputError(f"{name}: not a file of tokens, {RULE}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(lines) not in (1, 2) or len(set(lines)) < len(lines) or not all(map(TOKEN.fullmatch, lines)):
        raise InputError(f"{name}: not a file of tokens, {RULE}")
    return Tokens(*lines)
