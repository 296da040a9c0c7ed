"""benchmarks/gpu, dry on the CPU: every part runs and keeps what it finds; what fails or has no time left says so."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from blemish.demo.textures import make_textures
from blemish.method.learning import training

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "gpu" / "run.py"
PARTS = ["machine", "fit", "same", "speed", "paper"]


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("benchmarks_gpu_run", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # a dataclass looks for its module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def begin(bench, tmp_path, monkeypatch):
    """Run the script with options; every part is `part(name, seconds)`, and stdout is returned with the exit code."""

    def begin(capsys, part, *options):
        def run(command, *, check, timeout):
            assert command[-2:] == ["--part", command[-1]]
            part(command[-1], timeout)

        monkeypatch.setattr(bench.subprocess, "run", run)
        monkeypatch.setattr(sys, "argv", [str(SCRIPT), str(tmp_path), str(tmp_path / "out"), *options])
        with pytest.raises(SystemExit) as ended:
            bench.main()
        return capsys.readouterr().out.splitlines(), ended.value.code

    return begin


def test_every_part_runs_and_keeps_what_it_finds(bench, tmp_path, monkeypatch, capsys):
    category = make_textures(tmp_path / "textures", train=6, validation=2, test=1, defects=1)[0]
    for name in ("fast", "paper"):
        monkeypatch.setitem(training.RECIPES, name, training.RECIPES[name])  # put back in the end
    assert list(bench.LIMITS) == list(bench.PARTS) == PARTS
    for part in PARTS:
        bench.alone(part, bench.Run(category, tmp_path, dry=True))
    lines = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [line["part"] for line in lines] == [
        *("machine", "fit", "fit", "same", "same", "same"),
        *("speed", "speed", "speed", "speed", "paper", "paper"),
    ]
    assert len(capsys.readouterr().out.splitlines()) == len(lines)
    fitted, until, differences, one, other = lines[1:6]
    assert (fitted["modules"], fitted["images"]) == (5, 6)
    assert list(until)[1:] == [*(f"until {name}" for name in ("read", "64/2", "64/3", "96/2", "96/3")), "until the end"]
    assert until["until read"] < until["until 96/3"] < until["until the end"] == fitted["seconds"]
    # Both are the CPU here.
    assert (differences["largest difference of a map"], differences["of an image score"]) == (0, 0)
    assert one | {"on": ""} == other | {"on": ""}
    assert [line["batch"] for line in lines[6:10]] == ["files, one by one", 1, 8, 64]
    assert all(line["images/s"] > 0 for line in lines[6:10])
    assert [line["sizes"] for line in lines[10:]] == ["(96,)", "(64, 96)"]


def test_each_part_has_a_limit_and_the_last_what_is_left(begin, capsys):
    asked = {}
    assert begin(capsys, asked.__setitem__) == ([], 0)
    assert list(asked) == PARTS
    assert [asked[name] for name in PARTS[:4]] == [60, 150, 150, 90]
    assert 490 < asked["paper"] < 500


def test_a_part_that_fails_or_takes_too_long_is_named_and_the_others_run(begin, capsys):
    def part(name, seconds):
        if name == "fit":
            raise subprocess.CalledProcessError(1, [])
        if name == "speed":
            raise subprocess.TimeoutExpired([], seconds)

    assert begin(capsys, part) == (["fit: failed with 1", "speed: stopped after its 0 s"], 1)


@pytest.mark.parametrize(("slow", "expected"), [("speed", 1), ("paper", 0)])
def test_only_the_last_part_is_meant_to_be_cut(begin, capsys, slow, expected):
    def part(name, seconds):
        if name == slow:
            raise subprocess.TimeoutExpired([], seconds)

    assert begin(capsys, part) == ([f"{slow}: stopped after its 0 s"], expected)


def test_what_has_no_time_left_is_not_begun(begin, capsys):
    lines, code = begin(capsys, lambda name, seconds: pytest.fail(name), "--seconds", "5")
    assert (lines, code) == ([f"{part}: not begun, 5 s are left" for part in PARTS], 0)
