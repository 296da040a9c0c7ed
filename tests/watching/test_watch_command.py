"""`blemish watch` as a process: a real bundle, a real server, signals, and what is refused before any work."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from blemish.cli.app import main
from blemish.client import Client
from blemish.data.listing import find_images
from blemish.runtime import Runtime
from serving import encoded, noise, served
from watched import lines, names, until


class Command:
    def __init__(self, process):
        self.process = process

    def end(self, number=signal.SIGTERM):
        """End it, and return exit code, stdout and stderr."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out, err


@contextmanager
def command(*arguments, **options):
    line = [sys.executable, "-W", "error", "-m", "blemish", "watch", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(line, env=environment, **pipes, **options) as process:
        try:
            yield Command(process)
        finally:
            process.kill()


def test_a_bundle_watches_as_predict_judges(bundle, brick, tmp_path):
    folder, out, told = tmp_path / "parts", tmp_path / "out", tmp_path / "told"
    images = find_images(brick / "test")[:6]
    expected = Runtime.load(bundle).predict(images)
    scores = sorted(prediction.score for prediction in expected)
    threshold = (scores[2] + scores[3]) / 2
    folder.mkdir()
    shutil.copy(images[0], folder / "0.png")
    tell = f"{sys.executable} -c \"import sys; open('{told}', 'a').write(sys.argv[1] + chr(10))\""
    with command(folder, "--model", bundle, "--out", out, "--on-ng", tell, "--threshold", threshold) as watch:
        until(lambda: len(lines(out)) == 1, seconds=40)
        for number, image in enumerate(images[1:], start=1):
            shutil.copy(image, folder / f"{number}.png")
        (folder / "text.png").write_text("text")
        until(lambda: len(lines(out)) == 7)
        code, printed, said = watch.end()
    assert code == 0
    records = {os.path.basename(one["path"]): one for one in lines(out)}
    for number, prediction in enumerate(expected):
        record = records[f"{number}.png"]
        assert record["score"] == pytest.approx(prediction.score, abs=1e-4)
        assert record["verdict"] == ("NG" if prediction.score > threshold else "OK")
    shown = printed.splitlines()
    assert len(shown) == 7
    for line in shown[:-1]:
        assert re.fullmatch(
            r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  (OK|REVIEW|NG) +\d\.\d{4} +\d+ ms  .*/parts/\d\.png", line
        )
    assert re.fullmatch(r"7 images: \d OK, \d REVIEW, \d NG, 1 could not be used", shown[-1])
    watching, error = said.splitlines()
    assert watching == f"watching {folder}; Ctrl-C ends it"
    assert error.startswith(f"error: {folder}/text.png: not an image (magic bytes")
    ng = [one["path"] for one in lines(out) if one.get("verdict") == "NG"]
    assert len(ng) == 3
    assert told.read_text().split() == ng
    assert json.loads((out / "model.json").read_text())["header"]["schema_version"]
    assert main(["report", str(out), "--out", str(tmp_path / "report.html")]) == 0


def test_ctrl_c_ends_it_and_quiet_shows_no_images(bundle, brick, tmp_path):
    folder, out = tmp_path / "parts", tmp_path / "out"
    folder.mkdir()
    shutil.copy(find_images(brick / "test")[0], folder / "0.png")
    with command(folder, "--model", bundle, "--out", out, "--quiet", "--poll", "0.2") as watch:
        until(lambda: len(lines(out)) == 1, seconds=40)
        code, printed, said = watch.end(signal.SIGINT)
    assert (code, said.splitlines()) == (0, [f"watching {folder}; Ctrl-C ends it"])
    assert printed.startswith("1 image: ")
    assert len(printed.splitlines()) == 1


def test_a_server_judges_and_remembers(bundle, tmp_path):
    folder, token = tmp_path / "parts", tmp_path / "token"
    token.write_text("look-and-correct-0001\n")
    folder.mkdir()
    with served(bundle, "--data", tmp_path / "data", "--token", token) as server:
        given = (folder, "--server", server.url, "--token", token, "--source", "line 4")
        with Client(server.url, token="look-and-correct-0001") as client:

            def known():
                return [one.name for one in client.inspections(source="line 4")][::-1]

            with command(*given) as watch:
                for number in range(3):
                    (folder / f"{number}.png").write_bytes(encoded(noise(seed=number)))
                    until(lambda: len(known()) > number, seconds=40)  # noqa: B023
                (folder / "text.png").write_text("text")
                time.sleep(1)
                watch.process.kill()
            (folder / "new.png").write_bytes(encoded(noise(seed=7)))
            (folder / "1.png").write_bytes(encoded(noise(seed=8)))
            with command(*given) as watch:
                until(lambda: len(known()) == 5, seconds=40)
                time.sleep(1)
                code, printed, _ = watch.end()
            assert known() == ["0.png", "1.png", "2.png", "new.png", "1.png"]
            assert (code, len(printed.splitlines())) == (0, 3)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "out, server: expected one of both"),
        (("--out", "out", "--server", "http://127.0.0.1:1"), "out, server: expected one of both"),
        (("--out", "out"), "model: is missing"),
        (("--model", "none", "--out", "."), "choose another"),
        (("--model", "none", "--out", "out"), "none"),
        (("--model", "none", "--out", "out", "--on-ng", "no-such-command-here"), "no such command"),
        (("--model", "none", "--out", "out", "--settle", "0"), "settle: 0.0 is not allowed, expected seconds above 0"),
        (("--model", "none", "--out", "out", "--poll", "nan"), "poll: nan is not allowed, expected seconds above 0"),
        (("--server", "http://127.0.0.1:1", "--threshold", "0.5"), "are for --out only"),
        (("--server", "127.0.0.1:1"), "expected one of http or https"),
        (("--server", "http://127.0.0.1:port"), "expected one of http or https"),
        (("--server", "http://127.0.0.1:1", "--token", "token"), "token: expected"),
    ],
)
def test_what_is_refused(tmp_path, monkeypatch, capsys, arguments, line):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "x.txt").touch()
    (tmp_path / "token").write_text("caf\u00e9")
    assert main(["watch", "parts", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, len(err.splitlines())) == ("", 1), err
    assert line in err
    assert not (tmp_path / "out").exists()


def test_results_of_another_model(bundle, tmp_path, capsys):
    from bundles import copied, edit

    (tmp_path / "parts").mkdir()
    with command(tmp_path / "parts", "--model", bundle, "--out", tmp_path / "out") as watch:
        until((tmp_path / "out" / "model.json").exists, seconds=40)
        time.sleep(0.5)
        assert watch.end()[0] == 0
    other = copied(bundle, tmp_path)
    edit(other, lambda found: found.update(tolerance=0.5))
    assert main(["watch", str(tmp_path / "parts"), "--model", str(other), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.endswith("out: holds verdicts of another model; choose another folder\n")
    assert names(tmp_path / "out", tmp_path) == []
