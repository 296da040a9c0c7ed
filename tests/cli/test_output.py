"""stdout and stderr that are closed, full, or read by nobody: one line, exit code 4, and no word of Python's."""

import os
import subprocess
import sys
import threading

import pytest

from blemish.errors import StorageError
from blemish.printing.output import Watched, watched_output
from commands import SIZES, child, model, parts, quick_recipe  # noqa: F401

FAULTS = {">&-": "it is closed", "> /dev/full": "no space left on device", "< /dev/null 1<&0": "bad file descriptor"}
COMMANDS = "--version", "--help", "teacher list", "predict --help", "inspect MODEL", "inspect MODEL --json"


def shell(arguments, redirection, model):
    """Run a command in a shell that redirects its output; return exit code, and what is left of stdout and stderr."""
    words = arguments.replace("MODEL", str(model))
    line = f'"$0" -W error -m blemish {words} {redirection}'
    done = subprocess.run(["bash", "-c", line, sys.executable], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("redirection", FAULTS)
@pytest.mark.parametrize("command", COMMANDS)
def test_output_that_cannot_be_written_is_one_line_and_ends_with_4(model, command, redirection):
    expected = f"error: the output cannot be written: {FAULTS[redirection]}\n"
    assert shell(command, redirection, model) == (4, "", expected)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_reader_that_went_away_is_one_line_and_ends_with_4(model, command):
    ends = os.pipe()
    os.close(ends[0])
    words = command.replace("MODEL", str(model)).split()
    done = subprocess.run([sys.executable, "-W", "error", "-m", "blemish", *words], stdout=ends[1], text=True,
                          stderr=subprocess.PIPE, check=False)  # fmt: skip
    os.close(ends[1])
    assert (done.returncode, done.stderr) == (4, "error: the output cannot be written: broken pipe\n")


@pytest.mark.parametrize("redirection", ["2>&-", "2> /dev/full"])
def test_messages_that_cannot_be_written_end_with_4_and_an_error_keeps_its_code(model, redirection):
    assert shell("teacher fetch tf_efficientnet_lite0", redirection, model)[::2] == (4, "")  # it has a message
    code, printed, _ = shell("--version", redirection, model)  # it has none
    assert (code, printed[:8]) == (0, "blemish ")
    assert shell("inspect /nowhere", redirection, model) == (2, "", "")
    assert shell("--version", f"{redirection} > /dev/full", model) == (4, "", "")
    assert shell("teacher list", f"{redirection} >&-", model) == (4, "", "")


def test_a_fit_has_saved_its_model_before_it_prints(parts, tmp_path):
    out = tmp_path / "m.safetensors"
    stuck = "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1)"
    done = child("fit", parts, "--out", out, *SIZES, before=stuck)
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1] == "error: the output cannot be written: no space left on device"
    assert os.listdir(tmp_path) == ["m.safetensors"]
    out.unlink()
    done = child("fit", parts, "--out", out, *SIZES, before=stuck.replace(", 1)", ", 2)"))
    assert (done.returncode, done.stdout, done.stderr) == (4, "", "")
    assert os.listdir(tmp_path) == []


def test_a_thread_that_draws_does_not_die_but_the_command_ends_with_4(monkeypatch):
    with open("/dev/full", "w") as full:
        stream = Watched(full)
        thread = threading.Thread(target=lambda: (stream.write("x"), stream.flush()))
        thread.start()  # a traceback in it would be a warning of pytest's, and so an error
        thread.join()
        assert stream.fault == "no space left on device"
        assert stream.finish() == "the output cannot be written: no space left on device"
        stream.release()
    with open("/dev/full", "w") as full:
        stream = Watched(full)
        with pytest.raises(StorageError, match=r"^the output cannot be written: no space left on device$"):
            print("x", file=stream, flush=True)
        assert stream.finish() == ""  # it was said
        stream.release()


def test_streams_are_as_before_once_a_command_has_ended(capsys):
    before = sys.stdout, sys.stderr
    with watched_output() as streams:
        assert (sys.stdout, sys.stderr) == streams
        print("x")
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().out == "x\n"
