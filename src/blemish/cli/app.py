"""The command line: its commands, and how each of them ends. Results go to stdout, progress and errors to stderr.

Exit codes: 0; 2 for a bad input or option; 3 for a bad model file; 4 for a file, or stdout, that cannot be written; 130
for Ctrl-C.
Nothing heavy is imported before a command runs.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, cast, get_args, get_type_hints

import typer
from typer.models import ArgumentInfo

from blemish.checks import given_path
from blemish.cli.allocator import keep_freed_memory
from blemish.cli.commands.benchmark import benchmark, tables
from blemish.cli.commands.calibrate import calibrate
from blemish.cli.commands.evaluate import evaluate
from blemish.cli.commands.export import export
from blemish.cli.commands.fit import fit
from blemish.cli.commands.inspect import inspect
from blemish.cli.commands.line.serve import serve
from blemish.cli.commands.line.watch import watch
from blemish.cli.commands.predict import predict
from blemish.cli.commands.report import report
from blemish.cli.commands.teacher import teacher_app
from blemish.cli.commands.weigh import weigh
from blemish.errors import BlemishError, InputError, StorageError
from blemish.printing.output import watched_output

HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=HELP,
)
app.add_typer(teacher_app, name="teacher")

OUT_OF_MEMORY = "out of memory", "DefaultCPUAllocator", "Cannot allocate memory"  # what torch and the system say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, sys.argv if no arguments are given, and return the exit code."""
    keep_freed_memory()
    with watched_output() as streams:
        code = _run(arguments)
        for stream in streams:
            if fault := stream.finish():
                _tell(f"error: {fault}")
        return code or (StorageError.exit_code if any(stream.fault for stream in streams) else 0)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        app(arguments, prog_name="blemish")
    except BlemishError as error:
        _tell(str(error) if error.exit_code == 130 else f"error: {error}")
        return error.exit_code
    except ModuleNotFoundError as error:
        return _not_installed(error)
    except MemoryError:
        return _out_of_memory()
    except RuntimeError as error:  # what torch raises on a CPU; its CUDA error is a RuntimeError too
        if not any(sign in str(error) for sign in OUT_OF_MEMORY):
            raise
        return _out_of_memory()
    except SystemExit as end:  # typer always ends so, and turns Ctrl-C into 130
        if end.code == 130:
            _tell("interrupted")
        return cast(int, end.code)
    return 0


def _tell(line: str) -> None:
    """Print a line to stderr, if that can still be written."""
    with suppress(StorageError):
        print(line, file=sys.stderr)


def _not_installed(error: ModuleNotFoundError) -> int:
    """Name what is missing: who installed blemish for bundles only has no torch."""
    if error.name is None or error.name.startswith("blemish"):
        raise error
    _tell(f"error: {error.name} is not installed; this needs pip install 'blemish[train]'")
    return InputError.exit_code


def _out_of_memory() -> int:
    _tell("error: out of memory; use fewer images, smaller --sizes or fewer --levels")
    return InputError.exit_code


def _show_version(wanted: bool) -> None:
    if wanted:
        from blemish.version import __version__

        print(f"blemish {__version__}")
        raise typer.Exit


@app.callback()
def blemish(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Learn what good parts look like; show, pixel by pixel, where a new part differs."""


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new or empty folder, or that of an earlier demo.")] = Path(
        "blemish-demo"
    ),
) -> None:
    """See it work on photographs.

    Cuts parts out of photographs of textures, paints defects into some, fits, evaluates, and draws what is found.
    """
    from blemish.demo.run import run
    from blemish.printing.bars import error_console

    run(out, console=error_console())


def _refuse_empty_paths(command: Callable[..., None]) -> None:
    """Let each parameter that is a path refuse an empty one, by the name that is typed, or shown for an argument."""
    for name, hint in get_type_hints(command, include_extras=True).items():
        if _holds(hint, Path):
            (info,) = hint.__metadata__
            typed = [one for one in (info.default, *(info.param_decls or ())) if isinstance(one, str)]  # as "--json" is
            shown = info.metavar if isinstance(info, ArgumentInfo) else [*typed, f"--{name}"][0]
            info.parser = partial(given_path, name=str(shown))


def _holds(hint: object, kind: type) -> bool:
    return hint is kind or any(_holds(one, kind) for one in get_args(hint))


for command in (
    fit, predict, evaluate, report, weigh, calibrate, export, inspect, serve, watch, demo, benchmark, tables,
):  # fmt: skip
    _refuse_empty_paths(command)
    app.command()(command)
