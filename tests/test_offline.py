"""Nothing leaves this machine, and nothing is written but what was asked for: watched from outside, call by call."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from blemish.demo.textures import make_textures

ROOT = Path(__file__).resolve().parents[1]
LOUD = {"onnxruntime", "openvino", "matplotlib"}  # imported by storage/offline.py, or with its help, only
EVERYTHING = """
import dataclasses, sys
from blemish.cli.app import main
from blemish.method.learning import training
training.RECIPES["fast"] = dataclasses.replace(training.RECIPES["fast"], steps=4, warm_steps=4)
good = "parts/train/good"
for line in (
    "fit parts --out m.safetensors --sizes 64 --levels 2,3",
    "weigh m.safetensors parts --out w.safetensors --budget-ms 1000 --plot front.png",
    "evaluate m.safetensors parts --json figures.json",
    "export m.safetensors --to onnx --good parts --out onnx",
    "export m.safetensors --to openvino --good parts --out openvino",
    "predict m.safetensors parts/test --out torch-results",
    "predict onnx parts/test --out onnx-results",
    "predict openvino parts/test --out openvino-results",
    "report m.safetensors parts --out report.html",
    "report onnx-results --out results.html",
    "inspect m.safetensors",
    "teacher list",
):
    if main(line.split()):
        sys.exit(line)
from blemish.runtime import Runtime
for folder in ("onnx", "openvino"):
    assert len(Runtime.load(folder).predict(good)) == 8
"""
OUTPUTS = {"m.safetensors", "m.safetensors.tested.json", "w.safetensors", "front.png", "figures.json", "onnx",
           "openvino", "parts", "torch-results", "onnx-results", "openvino-results",
           "report.html", "results.html"}  # fmt: skip
ELSEWHERE = re.compile(r'sa_family=AF_INET6?,(?!.*(?:"127\.|"::1"|"::ffff:127\.))')
WRITES = re.compile(
    r'(?:openat\([^"]*|open\(|creat\(|mkdir\(|mkdirat\([^"]*)"(?P<path>[^"]*)"(?P<rest>[^=]*)= (?P<code>-?\d+)'
)


def traces():
    """Whether strace is there, and may trace."""
    tool = shutil.which("strace")
    return bool(tool) and subprocess.run([tool, "-f", "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """Run everything with an empty HOME; return its working folder, HOME, folder for temporary files, and calls."""
    if not traces():
        pytest.skip("strace is not there (Debian: apt-get install strace), or may not trace")
    place = tmp_path_factory.mktemp("watched")
    work, home, temporary = (place / name for name in ("work", "home", "tmp"))
    for folder in (work, home, temporary):
        folder.mkdir()
    make_textures(place / "textures", train=8, validation=2, test=2, defects=2)
    (place / "textures" / "brick").rename(work / "parts")
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1",
                   "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": os.pathsep.join(sys.path)}  # fmt: skip
    calls = "trace=connect,sendto,sendmsg,sendmmsg,openat,open,creat,mkdir,mkdirat"
    command = ["strace", "-f", "-qq", "-e", calls, "-o", place / "calls", sys.executable, "-c", EVERYTHING]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return work, home, temporary, (place / "calls").read_text(errors="replace").splitlines()


def test_no_address_but_those_of_this_machine_is_called(watched):
    *_, calls = watched
    assert len(calls) > 1000
    assert [call for call in calls if ELSEWHERE.search(call)] == []


def test_nothing_is_written_but_what_was_asked_for(watched):
    work, home, temporary, calls = watched
    assert list(home.iterdir()) == []
    assert list(temporary.iterdir()) == []
    assert {path.name for path in work.iterdir()} == OUTPUTS
    written = set()
    for call in calls:
        found = WRITES.search(call)
        if (
            found
            and int(found["code"]) >= 0
            and ("mkdir" in call or re.search("O_WRONLY|O_RDWR|O_CREAT", found["rest"]))
        ):
            written.add(found["path"])
    assert any(path.startswith(str(temporary)) for path in written)
    # A lock tries, with a file that has no name, what the disk can do; the call names the folder itself.
    ours = f"{work}/", f"{temporary}/"
    strange = {path for path in written if path.startswith("/") and not f"{path}/".startswith(ours)}
    assert {path for path in strange if not path.startswith(("/dev/", "/proc/"))} == set()
    assert {path for path in strange if path.startswith("/dev/shm/") and Path(path).exists()} == set()


def test_a_library_that_is_loud_is_imported_through_the_one_that_keeps_it_quiet():
    found = {}
    for path in sorted((ROOT / "src").rglob("*.py")):
        tree, text = ast.parse(path.read_text()), path.read_text()
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                node.body = []  # imported by mypy alone
        for node in ast.walk(tree):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if LOUD & {name.split(".")[0] for name in names} and "storage.offline import" not in text:
                found[path.name] = names
    assert set(found) == {"offline.py"}


def test_what_the_user_has_set_comes_back(monkeypatch, tmp_path):
    from blemish.storage.offline import folder_dropped

    for before in (None, str(tmp_path)):
        if before is None:
            monkeypatch.delenv("MPLCONFIGDIR", raising=False)
        else:
            monkeypatch.setenv("MPLCONFIGDIR", before)
        with folder_dropped("MPLCONFIGDIR"):
            assert Path(os.environ["MPLCONFIGDIR"]).is_dir()
            assert os.environ["MPLCONFIGDIR"] != before
        assert os.environ.get("MPLCONFIGDIR") == before
