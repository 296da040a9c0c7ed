"""blemish benchmark and blemish tables: what is typed, and what is printed."""

import pytest
from filelock import FileLock
from PIL import Image

from benches import copied, out, parts, quick_recipe  # noqa: F401
from blemish.cli.app import main
from blemish.errors import InputError
from blemish.experiments.runs import measure as measures
from blemish.method.pretrained import find_weights
from blemish.storage.files import LOCK


def command(capsys, *arguments):
    """Run a command; return exit code, stdout, stderr."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


GRID_OPTIONS = ("--sizes", "64,96", "--levels", "2,3", "--objectives", "logistic", "--draws", "1")


def test_the_command_line_runs_plans_and_makes_tables(out, parts, tmp_path, capsys):
    again = copied(out, tmp_path)
    code, shown, told = command(capsys, "benchmark", parts, "--out", again, *GRID_OPTIONS)
    assert (code, shown) == (0, f"{again / 'rows.jsonl'}: 6 ok\n")
    assert told == "6 rows of 1 models; 6 rows were measured before\n"
    code, shown, _ = command(capsys, "benchmark", parts, "--out", again, *GRID_OPTIONS, "--plan", "--seeds", "0,1")
    assert code == 0
    assert [" ".join(line.split()) for line in shown.splitlines()[:4]] == [
        "models 2, 1 trained, 1 to do",
        "modules 8, 4 trained, 4 to do",
        "rows 12, 6 measured, 6 to do",
        "disk 1.8 MB of models, 0.2 MB of module maps",
    ]
    command(capsys, "benchmark", parts, "--out", again, *GRID_OPTIONS, "--experiments", "coverage,keep")
    report = tmp_path / "report"
    code, shown, _ = command(capsys, "tables", again, "--out", report, "--figure", parts)
    assert code == 0
    assert (report / "tables.md").read_text() == shown
    assert all(f"Table {number}" in shown for number in ("I", "II", "III", "IV", "V"))
    pictures = {path.name for path in report.glob("*.png")}
    assert "figure-3-paper.png" in pictures
    assert len(pictures) >= 3
    for name in pictures:
        Image.open(report / name).load()
    written = sorted(path.name for path in report.iterdir())
    assert written == sorted([*pictures, "tables.md", "made-by-blemish-tables"])
    code, shown, _ = command(capsys, "tables", again, "--out", report, "--table", "1")  # a report may be made anew
    assert (code, (report / "tables.md").read_text()) == (0, shown)
    assert sorted(path.name for path in report.iterdir()) == written


def test_a_report_replaces_no_file_of_the_users(out, parts, tmp_path, capsys):
    for name in ("tables.md", "figure-3-whitened.png"):  # as a report without a mark has left it, or a user
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text("mine")
        (folder / "notes.txt").write_text("mine")
        code, shown, told = command(capsys, "tables", out, "--out", folder, "--figure", parts)
        why = "exists, and is not known to be of an earlier report; move it away, or choose another --out"
        assert (code, shown, told) == (2, "", f"error: {folder / name}: {why}\n")
        assert {path.name: path.read_text() for path in folder.iterdir()} == {name: "mine", "notes.txt": "mine"}
    (tmp_path / "tables.md" / "tables.md").unlink()
    assert command(capsys, "tables", out, "--out", tmp_path / "tables.md")[0] == 0  # beside other files, it may be
    assert (tmp_path / "tables.md" / "notes.txt").read_text() == "mine"
    code, _, told = command(capsys, "tables", out, "--out", parts / "report", "--figure", parts)
    text = f"error: {parts}/report: lies in the input folder {parts}; choose another place\n"
    assert (code, told, (parts / "report").exists()) == (2, text, False)


def test_one_report_at_a_time_is_written_into_a_folder(out, tmp_path, capsys):
    report = tmp_path / "report"
    report.mkdir()
    with FileLock(report / LOCK):
        code, shown, told = command(capsys, "tables", out, "--out", report)
    text = f"error: {report}: another command is at work in it; wait, or choose another folder\n"
    assert (code, shown, told) == (2, "", text)
    (report / LOCK).touch()  # of a command that was killed
    assert command(capsys, "tables", out, "--out", report)[0] == 0
    assert sorted(path.name for path in report.iterdir()) == ["made-by-blemish-tables", "tables.md"]


@pytest.mark.parametrize(("options", "message"), [
    (["--sizes", "64;96"], "sizes: 64;96 is not allowed, expected whole numbers such as 2,3"),
    (["--teachers", "resnet18,,resnet50"], "teachers: resnet18,,resnet50 is not allowed, expected one or more"),
    (["--experiments", "speed"], "experiments: speed is not allowed"),
    (["--categories", "nut"], "no category of nut found"),
    (["--teachers", "resnet18,resnet50", "--weights", "w.pth"], "expected NAME=FILE with a name of resnet18, resnet50"),
    (["--weights", "nowhere.pth"], "nowhere.pth: no such file"),
    (["--teachers", "resnet18", "--weights", str(find_weights("tf_efficientnet_lite0"))], "conv1.weight of resnet18"),
    (["--device", "tpu"], "device: tpu is not allowed"),
])  # fmt: skip
def test_a_bad_option_is_one_line(options, message, parts, tmp_path, capsys):
    code, _, told = command(capsys, "benchmark", parts, "--out", tmp_path / "out", *options)
    assert code == 2
    assert message in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_tables_without_rows_say_what_is_missing(out, parts, tmp_path, capsys):
    code, _, told = command(capsys, "tables", tmp_path)
    assert (code, told) == (2, f"error: {tmp_path / 'rows.jsonl'}: no rows; blemish benchmark writes them\n")
    code, _, told = command(capsys, "tables", out, "--figure", parts)
    assert (code, told) == (2, "error: figure: a picture needs a folder, name one with --out\n")
    code, _, told = command(capsys, "tables", out, "--table", "4")
    assert code == 2
    assert told.count("\n") == 1


def test_an_error_row_is_exit_code_2(out, parts, tmp_path, capsys, monkeypatch):
    def fail(*arguments, **options):
        raise InputError("no way down")

    again = copied(out, tmp_path)
    monkeypatch.setattr(measures, "search", fail)
    code, shown, told = command(capsys, "benchmark", parts, "--out", again, *GRID_OPTIONS, "--experiments", "weights")
    assert code == 2
    assert "1 error" in shown
    assert "error: no way down" in told
