"""How long the history takes with a million inspections, by query and by whole page: p50 and p95, on any database.

    python benchmarks/history/run.py FOLDER [--url URL] [--rows 1000000] [--times 40]

FOLDER and the database are filled first, unless they are already: four models, 2 % NG and 3 % REVIEW, one every 16
seconds, half a year in all, one in a hundred corrected. No image is written.
"""

import argparse
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from sqlalchemy import func, insert, select, text

from blemish.history.history import History
from blemish.history.records import Correction, Judged, NamedModel, Selection
from blemish.history.tables import DAY, EPOCH, HOUR, corrections, images, inspections, models
from blemish.service.page import views
from blemish.verdict.threshold import Thresholds

START = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(seconds=16)
NAMES = ("brick", "grass", "gravel", "tile")
BATCH = 20_000


def main() -> None:
    """Fill, and print a line for each query."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--url")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=40)
    given = parser.parse_args()
    history = History.open(given.folder, url=given.url)
    fill(history, given.rows)
    end = START + given.rows * STEP
    for name, query in {**queries(history, end), **pages(history, end)}.items():
        took = []
        for _ in range(given.times):
            begun = time.perf_counter()
            query()
            took.append(1e3 * (time.perf_counter() - begun))
        p50, p95 = np.percentile(took, (50, 95))
        print(f"{name:48s} p50 {p50:7.1f} ms  p95 {p95:7.1f} ms", flush=True)


def fill(history: History, rows: int) -> None:
    """Put in what is missing of so many rows."""
    with history.database.reading() as connection:
        there = connection.scalar(select(func.count()).select_from(inspections)) or 0
    if there >= rows:
        return
    begun = time.perf_counter()
    with history.database.writing() as connection:
        known = [{"name": name, "fingerprint": f"{number:064x}"} for number, name in enumerate(NAMES)]
        connection.execute(insert(models), known)
    for first in range(there, rows, BATCH):
        made = [row(number) for number in range(first, min(first + BATCH, rows))]
        with history.database.writing() as connection:
            connection.execute(insert(inspections), made)
            said = [
                {"inspection_id": one["id"], "at": one["at"], "who": "Ada", "why": "looked", "verdict": one["standing"]}
                for one in made
                if one["id"] % 100 == 0
            ]
            connection.execute(insert(corrections), said)
            kept = [
                {"sha256": one["sha256"], "suffix": ".png", "bytes": 100_000, "at": one["at"]}
                for one in made
                if one["id"] % 5 == 0
            ]
            connection.execute(insert(images), kept)
    if not history.database.is_sqlite:
        with history.database.writing() as connection:
            connection.execute(text("SELECT setval('inspections_id_seq', (SELECT max(id) FROM inspections))"))
        # What its autovacuum does by itself, within a minute of such a load.
        with history.database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("SET statement_timeout = 0"))
            connection.execute(text("VACUUM ANALYZE"))
            connection.execute(text("RESET statement_timeout"))
    print(f"filled {rows - there} rows in {time.perf_counter() - begun:.0f} s", flush=True)


def row(number: int) -> dict[str, Any]:
    """Return an inspection, always the same for a number."""
    random = np.random.default_rng(number)
    at, score = START + number * STEP, float(random.beta(2, 8))
    chance = random.random()
    verdict = "NG" if chance < 0.02 else "REVIEW" if chance < 0.05 else "OK"
    other = "OK" if verdict != "OK" else "NG" if random.random() < 0.1 else "OK"
    name = f"line {number % 3}/{at:%Y-%m-%d}/Camera_{number:07d}.png"
    box = [int(value) for value in random.integers(0, 600, 4)]
    found = {"area": 120, "share": 0.001, "box": box, "peak": score, "mean": score / 2}
    return {
        "id": number + 1,
        "at": at,
        "hour": (at - EPOCH) // HOUR,
        "day": (at - EPOCH) // DAY,
        "model_id": 1 + number % 4 * (number % 7 > 0),
        "sha256": random.bytes(32).hex(),
        "name": name,
        "folded": name.casefold(),
        "width": 1280,
        "height": 1024,
        "review": 0.4,
        "ng": 0.5,
        "score": score,
        "verdict": verdict,
        "standing": other if (number + 1) % 100 == 0 else verdict,
        "regions": [found] * 3 if verdict != "OK" else [],
        "times": {"decode": 3.1, "score": 24.9, "regions": 1.5},
        "source": f"line {number % 3}",
    }


def queries(history: History, end: datetime) -> dict[str, Callable[[], Any]]:
    """Return what the page and the API ask for; those that find nothing or little are the hardest."""
    middle = history.page(Selection(end=START + (end - START) / 2), limit=1).inspections[0]
    cursor = history.page(Selection(end=middle.at), limit=1).next
    model = next(one for one in history.models() if one.name == "brick")
    day, week = timedelta(days=1), timedelta(days=7)

    def page(**fields: Any) -> Callable[[], Any]:
        return lambda: history.page(Selection(**fields))

    def scores(each: Any, start: datetime) -> Callable[[], Any]:
        return lambda: history.scores(model, each=each, start=start, end=end)

    def add() -> None:
        thresholds = Thresholds(0.4, 0.5)
        history.add(
            Judged(
                name="new.png", width=64, height=64, model=model.name, fingerprint=model.fingerprint,
                thresholds=thresholds, score=0.1, verdict="OK", at=START,
            ),
            b"BM" + bytes(62),
        )  # fmt: skip

    return {
        "page, newest": page(),
        "page, from the middle on": lambda: history.page(before=cursor),
        "page, one model": page(model="grass"),
        "page, NG": page(verdict="NG"),
        "page, NG, one model, one source, a month": page(
            verdict="NG", model="tile", source="line 2", start=end - 60 * day, end=end - 30 * day
        ),
        "page, a source that is not there": page(source="line 9"),
        "page, OK of one model and no source": page(verdict="OK", model="tile", source="line 9"),
        "page, a common part of the name": page(name="camera_"),
        "page, one name": page(name="CAMERA_0000017"),
        "page, OK, no such name": page(verdict="OK", name="nothing is called so"),
        "page, no such name": page(name="nothing is called so"),
        "page, false alarms": page(mistake="false alarm"),
        "page, escapes of one model": page(mistake="escape", model="brick"),
        "one inspection": lambda: history.one(middle.id),
        "counts, a day": lambda: history.counts(Selection(start=end - day)),
        "counts, a week of one model": lambda: history.counts(Selection(start=end - week, model="tile")),
        "counts, all": history.counts,
        "counts, all of one model": lambda: history.counts(Selection(model="brick")),
        "scores by hour, two weeks": scores("hour", end - 2 * week),
        "scores by day, all": scores("day", START),
        "manifest, false alarms": lambda: history.manifest(Selection(mistake="false alarm")),
        "manifest, all NG of a week": lambda: history.manifest(Selection(verdict="NG", start=end - week)),
        "correct": lambda: history.correct(middle.id, Correction(verdict="NG", who="Ada")),
        "add, no new image": add,
    }


def pages(history: History, end: datetime) -> dict[str, Callable[[], Any]]:
    """Return what the History page asks for with the filters that make it work hardest: all but its HTML."""
    models = {model.name: _served(model) for model in history.models()}
    # All of a service that it looks at.
    service: Any = SimpleNamespace(
        history=history, models=models, model=models.get, thresholds=lambda _: Thresholds(0.4, 0.5)
    )
    half = {"first": f"{START:%Y-%m-%d}", "last": f"{end:%Y-%m-%d}"}
    middle = history.page(Selection(end=START + (end - START) / 2), limit=1).next
    old = f"{START:%Y-%m-%d}/camera"
    asked = {
        "newest": {},
        "one model": {"model": "tile"},
        "two weeks": {"first": f"{end - 14 * DAY:%Y-%m-%d}"},
        "half a year": half,
        "half a year of one model": half | {"model": "brick"},
        "half a year, NG": half | {"verdict": "NG"},
        "half a year, from the middle on": half | {"before": middle},
        "a common part of the name": {"name": "camera_"},
        "a common part of the name, half a year": half | {"name": "camera_"},
        "names of the first day": {"name": old},
        "names of the first day, half a year": half | {"name": old},
        "no such name": {"name": "nothing is called so"},
        "no such name, OK": {"name": "nothing is called so", "verdict": "OK"},
        "no such name, OK, half a year": half | {"name": "nothing is called so", "verdict": "OK"},
        "one name, OK": {"name": "CAMERA_0000017", "verdict": "OK"},
        "a source that is not there": {"source": "line 9", "model": "tile"},
        "escapes of one model": {"mistake": "escape", "model": "brick"},
    }
    return {f"History: {name}": partial(views.history, service, given) for name, given in asked.items()}


def _served(model: NamedModel) -> Any:
    calibration = SimpleNamespace(scores=[0.1, 0.2, 0.3])
    header, place = SimpleNamespace(calibration=calibration), Path(model.name)
    return SimpleNamespace(named=model, fingerprint=model.fingerprint, header=header, place=place)


if __name__ == "__main__":
    main()
