"""What the tests of the command line share: a small model, a run in this process, one in a process of its own."""

import subprocess
import sys
from dataclasses import replace

import pytest

from blemish.cli.app import main
from blemish.demo.textures import make_textures
from blemish.method.learning import training
from blemish.model import file as modelfile
from blemish.printing import bars

QUICK = replace(training.RECIPES["fast"], steps=20, warm_steps=20)


SIZES = ["--sizes", "64", "--levels", "2,3"]


@pytest.fixture(scope="module", autouse=True)
def quick_recipe():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(training.RECIPES, "fast", QUICK)
        patch.setattr(bars, "EVERY", 1e9)  # no line more on a slow machine
        yield


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """A category in MVTec AD layout: 12 good images to learn from, 4 good and 8 defective ones to test."""
    return make_textures(tmp_path_factory.mktemp("textures"), train=10, validation=2, test=4, defects=2)[0]


@pytest.fixture(scope="module")
def model(parts, tmp_path_factory):
    out = tmp_path_factory.mktemp("model") / "brick.safetensors"
    assert main(["fit", str(parts), "--out", str(out), *SIZES]) == 0
    return out


def run(capsys, *arguments):
    """Run a command; return exit code, stdout, stderr."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def child(*arguments, before="", **options):
    """Run a command in a process of its own, with a short recipe."""
    code = f"""
import dataclasses, os, signal, sys
from blemish.method.learning import fitting, training
training.RECIPES["fast"] = dataclasses.replace(training.RECIPES["fast"], steps=20, warm_steps=20)
{before}
from blemish.cli.app import main
sys.exit(main())
"""
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **options)


def digest(path):
    """What a model file holds, but for when it was made."""
    header, tensors = modelfile.load(path)
    return header.model_copy(update={"created": ""}), {name: tensor.tobytes() for name, tensor in tensors.items()}
