"""Who may do what: one token to look and to correct, another that may change thresholds as well."""

import re
from dataclasses import dataclass
from hashlib import sha256
from hmac import compare_digest
from pathlib import Path

from starlette.requests import Request

from blemish.errors import InputError, printable
from blemish.service.http.faults import RefusedError

TOKEN = re.compile(r"[!-~]{16,200}")
RULE = (
    "expected one or two lines, each a token of 16 to 200 characters without spaces: the first to look and to "
    "correct, the second to change thresholds as well"
)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a service; without `look` everything is free, without `change` nobody may change thresholds."""

    look: str | None = None
    change: str | None = None

    def check_look(self, request: Request) -> None:
        """Refuse with 401 who has neither token."""
        self._check(request)

    def check_change(self, request: Request) -> None:
        """Refuse with 401 who has neither token, with 403 who has only that to look."""
        if not self._check(request):
            raise RefusedError(403, "this needs the token that may change thresholds")

    def _check(self, request: Request) -> bool:
        """Return whether thresholds may be changed; all comparisons are made, however one of them ends."""
        if self.look is None:
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        looks, changes = (_same(given, token) for token in (self.look, self.change))
        if scheme.lower() != "bearer" or not (looks or changes):
            line = "a token is needed: Authorization: Bearer TOKEN"
            raise RefusedError(401, line, headers={"WWW-Authenticate": "Bearer"})
        return changes


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
