"""A selection that is taken along: read as it is by calibrate, evaluate and fit."""

import csv
import io
import json
import time
import zipfile
from datetime import timedelta
from hashlib import sha256

import pytest

from blemish.cli.app import main
from blemish.errors import StorageError
from blemish.history.history import History
from blemish.history.records import Selection, now
from blemish.service import exports
from blemish.service.tidying import Tidying
from histories import judged as record
from histories import picture
from serving import refusal

PNG = {"Content-Type": "image/png"}


@pytest.fixture
def judged(client, brick):
    """Bricks that were judged and corrected where the model was wrong; {sha256: whether it is good}."""
    truth = {}
    for folder in sorted((brick / "test").iterdir()):
        for path in sorted(folder.iterdir())[:4]:
            data, good = path.read_bytes(), folder.name == "good"
            one = client.post("/v1/models/brick/inspections", content=data, headers=PNG, params={"name": path.name})
            number, wanted = one.json()["id"], "OK" if good else "NG"
            if one.json()["verdict"] != wanted:
                said = {"verdict": wanted, "who": "Ada", "why": "looked at"}
                assert client.post(f"/v1/inspections/{number}/corrections", json=said).status_code == 201
            truth[sha256(data).hexdigest()] = good
    return truth


def unpacked(answer, folder):
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as packed:
        assert packed.testzip() is None
        packed.extractall(folder)
    rows = csv.DictReader((folder / "manifest.csv").read_text().splitlines())
    return list(rows), json.loads((folder / "inspections.json").read_text())


def test_a_corrected_selection_makes_a_better_bundle_with_two_commands(client, judged, bundle, tmp_path, capsys):
    rows, told = unpacked(client.get("/v1/export.zip"), parts := tmp_path / "parts")
    for row in rows:
        digest = sha256((parts / row["path"]).read_bytes()).hexdigest()
        assert (row["label"] == "good") == judged[digest]
    assert len(rows) == len(judged)
    assert {one["sha256"] for one in told} == set(judged)
    assert {one["path"] for one in told} == {row["path"] for row in rows}
    assert all((one["standing"] == "OK") == judged[one["sha256"]] for one in told)
    manifest, better = str(parts / "manifest.csv"), str(tmp_path / "better")
    assert main(["calibrate", str(bundle), manifest, "--add", "--out", better]) == 0
    assert main(["evaluate", better, manifest]) == 0
    assert "AUROC" in capsys.readouterr().out


def test_a_part_of_it_and_nothing(client, judged, standing, tmp_path):
    defects, told = unpacked(client.get("/v1/export.zip", params={"verdict": "NG"}), tmp_path / "ng")
    assert {row["label"] for row in defects} == {"defect"}
    assert len(defects) == len(told) == list(judged.values()).count(False)
    assert unpacked(client.get("/v1/export.zip", params={"name": "no such"}), tmp_path / "none") == ([], [])
    text = client.get("/v1/export.csv", params={"verdict": "NG"}).text
    for row in csv.DictReader(io.StringIO(text)):
        assert (standing.history.images.folder / row["path"]).is_file()
    # An image that is gone meanwhile is left out, and so is its row.
    (standing.history.images.folder / defects[0]["path"]).unlink()
    fewer, told = unpacked(client.get("/v1/export.zip", params={"verdict": "NG"}), tmp_path / "fewer")
    assert (len(fewer), len(told)) == (len(defects) - 1, len(defects))


def test_one_export_at_a_time_and_room_for_a_large_one(client, standing, monkeypatch):
    standing.history.add(record(0), picture(0))
    for begun in (False, True):
        first = exports.alone(exports.archive, standing.history, Selection())
        if begun:
            next(first)
        for kind in ("csv", "zip"):
            answer = client.get(f"/v1/export.{kind}")
            assert "another export" in refusal(answer, 503)
            assert answer.headers["retry-after"]
        del first  # who has asked is gone
    monkeypatch.setattr("zipfile.ZIP64_LIMIT", 100)  # for 2 GiB
    assert client.get("/v1/export.zip").status_code == 200
    assert client.get("/v1/export.csv").status_code == 200


def test_what_is_too_old_goes_by_itself(tmp_path):
    history = History.open(tmp_path)
    history.add(record(0, at=now() - timedelta(days=3)), picture(0))
    new = history.add(record(1, at=now()), picture(1)).id
    stray = history.images.folder / "ab" / f"{'ab' * 32}.png"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"left by a crash")
    with Tidying(history, age=timedelta(days=1), every=0.02):
        time.sleep(0.5)
    assert [one.id for one in history.page().inspections] == [new]
    assert not stray.exists()
    assert len([path for path in history.images.folder.rglob("*") if path.is_file()]) == 1
    history.close()


def test_a_history_that_cannot_be_tidied_is_said_once(tmp_path, monkeypatch, caplog):
    history = History.open(tmp_path)
    monkeypatch.setattr(history, "tidy", lambda **_: (_ for _ in ()).throw(StorageError("history: disk I/O error")))
    with Tidying(history, every=0.02):
        time.sleep(0.4)
    assert caplog.text.count("cannot be tidied") == 1
    history.close()
