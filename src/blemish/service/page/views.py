"""What each page is given to show: plain values, which its template turns into HTML."""

import shlex
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Any
from urllib.parse import urlencode

from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from blemish.errors import InputError, printable
from blemish.history.figures import Span
from blemish.history.records import Mistake, NamedModel
from blemish.model.calibration import promise_lines
from blemish.service.answers import Chosen, Inspected
from blemish.service.page.drift import plot, usual
from blemish.service.service import Service
from blemish.service.work.models import Served
from blemish.verdict.threshold import Thresholds, Verdict

SHOWN = 50  # inspections on a page
USUALLY = timedelta(days=7)  # what the plot shows where no time is chosen
BY_HOUR = timedelta(days=16)  # at most, where the plot has a bar for each hour
FIRST, LAST = date(1970, 1, 1), date(2999, 12, 31)  # days that can be asked for
MOST, LEAST = timedelta(days=390), timedelta(hours=12)


class Filters(BaseModel):
    """What may stand in the address of the history; days are those of the browser, `zone` minutes from UTC."""

    model_config = ConfigDict(extra="forbid")
    model: str | None = None
    verdict: Verdict | None = None
    name: str | None = Field(default=None, max_length=2000)
    source: str | None = Field(default=None, max_length=255)
    mistake: Mistake | None = None
    first: date | None = Field(default=None, ge=FIRST, le=LAST)
    last: date | None = Field(default=None, ge=FIRST, le=LAST)
    zone: int = Field(default=0, ge=-1440, le=1440)
    before: str | None = None

    @field_validator("zone")
    @classmethod
    def _whole_day(cls, minutes: int) -> int:
        return max(min(minutes, 1439), -1439)

    @property
    def chosen(self) -> Chosen:
        """The selection that is meant."""
        zone = timezone(timedelta(minutes=self.zone))
        start = datetime.combine(self.first, time(), zone) if self.first else None
        end = datetime.combine(self.last, time(), zone) + timedelta(days=1) if self.last else None
        words = {name: getattr(self, name) for name in ("model", "verdict", "name", "source", "mistake")}
        return Chosen(**words, start=start, end=end)

    def address(self, **other: Any) -> str:
        """Return the address of the same page with other filters."""
        given = self.model_dump(mode="json", exclude={"before"}) | other
        return "/history?" + urlencode({name: value for name, value in given.items() if value not in (None, "")})


def live(service: Service) -> dict[str, Any]:
    """Return what Live and Drop begin with; all else comes by itself."""
    return {"models": list(service.models)}


def inspection(service: Service, number: int) -> dict[str, Any]:
    """Return an inspection, and the numbers of the ones before and after it."""
    found = Inspected.of(service.history.one(number))
    served = service.models.get(found.model)
    drawn = found.kept and served is not None and served.fingerprint == found.fingerprint

    def there(other: int) -> int | None:
        try:
            return service.history.one(other).id
        except InputError:
            return None

    return {"one": found, "drawn": drawn, "newer": there(number + 1), "older": there(number - 1)}


def history(service: Service, given: Mapping[str, str]) -> dict[str, Any]:
    """Return the inspections that the filters choose, their counts, and the scores of one model over time."""
    filters = _read(given)
    chosen, known = filters.chosen, service.history
    called = chosen.model if chosen.model and chosen.model in service.models else next(iter(service.models))
    with ThreadPoolExecutor(1) as thread:  # both may have to read much of an index
        scores = thread.submit(_scores, service, service.model(called), chosen)
        # Counted without verdict and mistake, so that a person can go on to the others.
        page, counts = known.page_and_counts(chosen.selection, before=filters.before, limit=SHOWN)
    judged = known.models()
    names = sorted({*service.models, *(model.name for model in judged)})
    # Parts of one bundle only make another of it better, and only all of them: without those above its threshold, whose
    # verdicts nobody has looked at, good parts seem to score lower than they do.
    one = chosen.model or (names[0] if len(names) == 1 else None)
    bundle = _bundle(service, one, judged)
    taken = chosen.model_copy(update={"model": one, "fingerprint": bundle} if bundle else {})
    query = urlencode(taken.model_dump(mode="json", exclude_none=True))
    new = bundle is not None and bundle not in {model.fingerprint for model in judged}  # it has judged nothing yet
    complete = one == called and not new and chosen.verdict is None and chosen.mistake is None
    unseen = known.unseen(taken.selection) if complete else None
    return {
        "filters": filters,
        "names": names,
        "inspections": [Inspected.of(one) for one in page.inspections],
        "next": page.next,
        "counts": counts,
        "query": f"?{query}" if query else "",
        "plotted": called,
        "scores": scores.result(),
        "exported": one,
        "bundle": bundle,
        "unseen": unseen,
        "command": shlex.quote(printable(service.model(called).place)) if unseen == 0 else None,
    }


def _bundle(service: Service, name: str | None, judged: Sequence[NamedModel]) -> str | None:
    """Return the fingerprint of the bundle that judges by a name, or did so last; None if there was no other."""
    there = [model.fingerprint for model in judged if model.name == name]  # the newest first
    served = service.models.get(name or "")
    now = served.fingerprint if served else next(iter(there), None)
    return now if {*there} - {now} else None


def _read(given: Mapping[str, str]) -> Filters:
    try:
        return Filters.model_validate({name: value for name, value in given.items() if value})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))[:80]
        raise InputError(f"filter {printable(field)}: {printable(first['msg'][:200])}") from None


def _scores(service: Service, model: Served, chosen: Chosen) -> dict[str, Any]:
    end = chosen.end or datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    start = max(chosen.start or end - USUALLY, end - MOST)
    start = min(start, end - timedelta(hours=1))
    each: Span = "hour" if end - start <= BY_HOUR else "day"
    bands = service.history.scores(model.named, each=each, start=start, end=end)
    if not chosen.start and bands:  # what is shown begins where there is something
        start = max(start, min(bands[0].start - timedelta(hours=1), end - LEAST))
    known = usual(model.header.calibration.scores)
    drawn = plot(bands, known, service.thresholds(model), start=start, end=end, hours=1 if each == "hour" else 24)
    return {"each": each, "bands": bands, "usual": known, "plot": drawn}


def models(service: Service) -> dict[str, Any]:
    """Return what is loaded."""
    return {"models": [_model(service, name) for name in service.models]}


def _model(service: Service, name: str) -> dict[str, Any]:
    model, told = service.model(name), service.described(name)
    in_force = told.thresholds
    header = model.header.model_copy(
        update={
            "calibration": model.header.calibration.model_copy(update={"review": in_force.review, "ng": in_force.ng})
        }
    )
    return {
        "told": told,
        "header": model.header,
        "promises": promise_lines(header),
        "latency": service.metrics.latency(name),
        "place": model.place.name,
        "command": _calibrate(model, in_force),
    }


def _calibrate(model: Served, thresholds: Thresholds) -> str:
    levels = ",".join(f"{level:.6g}" for _, level in thresholds.named)
    place = printable(model.place)
    return shlex.join(["blemish", "calibrate", place, "--threshold", levels, "--out", f"{place}-2"])


def _when(at: datetime) -> Markup:
    """Return a time in UTC; the browser shows it in its own zone."""
    iso = at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    text = at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}">{}</time>').format(iso, text)


FILTERS = {
    "when": _when,
    "score": lambda score: f"{score:.3f}",
    "count": lambda number: f"{number:,}",
    "ms": lambda duration: f"{duration:.1f} ms" if duration < 100 else f"{duration:.0f} ms",
    "bar": lambda score, top: round(100 * min(score / top, 1), 2),
}
