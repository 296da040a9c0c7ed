"""The commands `blemish benchmark` and `blemish tables`. Nothing heavy is imported before one of them runs."""

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from blemish.checks import given_path
from blemish.cli.options import Sizes, whole_numbers
from blemish.errors import InputError, printable

DATA = "Categories, folders of many, or manifests."
SETS = "Levels of the teacher; several sets are separated by a semicolon. The first is that of every experiment."
FILE = "The teacher's weights; NAME=FILE where there are several teachers; may be repeated."

Out = Annotated[Path, typer.Option(metavar="DIR", help="The folder of rows, models and maps.")]
Teachers = Annotated[str, typer.Option(metavar="LIST", help="See blemish teacher list.")]
Files = Annotated[list[str] | None, typer.Option(metavar="[NAME=]FILE", help=FILE)]
Levels = Annotated[str, typer.Option(metavar="SETS", help=SETS)]
Seeds = Annotated[str, typer.Option(metavar="LIST", help="Each seed trains models of its own.")]
Recipes = Annotated[str, typer.Option(metavar="LIST", help="fast, quick or paper.")]
Categories = Annotated[str, typer.Option(metavar="LIST", help="Only these; default: all that are there.")]
Experiments = Annotated[str, typer.Option(metavar="LIST", help="Of sizes, levels, weights, coverage, keep, methods.")]
Objectives = Annotated[str, typer.Option(metavar="LIST", help="Of the weight search; default: all.")]
Draws = Annotated[int, typer.Option(metavar="N", help="How often the images that weigh are drawn.")]
Where = Annotated[str, typer.Option(metavar="auto|cpu|cuda", help="Where to compute.")]
Plan = Annotated[bool, typer.Option("--plan", help="Only say what there is to do, and how long it takes.")]
Data = Annotated[list[Path], typer.Argument(metavar="DATA", help=DATA)]


def benchmark(
    data: Data,
    *,
    out: Out,
    teachers: Teachers = "tf_efficientnet_lite0",
    weights: Files = None,
    sizes: Sizes = "128,256,384",
    levels: Levels = "2,3,4",
    seeds: Seeds = "0",
    recipe: Recipes = "fast",
    categories: Categories = "",
    experiments: Experiments = "sizes",
    objectives: Objectives = "",
    draws: Draws = 5,
    device: Where = "auto",
    plan: Plan = False,
) -> None:
    """Measure a grid of settings.

    Writes DIR/rows.jsonl, one line for each thing measured. The same command continues a run that was stopped; what is
    done is not done again. The exit code is 2 if a row failed.
    """
    from blemish.experiments.grid.grid import Grid
    from blemish.experiments.runs import plan as plans
    from blemish.experiments.runs.run import run
    from blemish.printing.bars import error_console
    from blemish.weighing.search import OBJECTIVES

    names = _words(teachers, "teachers")
    grid = Grid(
        teachers=names, weights=_weights(weights or [], names), sizes=whole_numbers(sizes, "sizes"),
        level_sets=[whole_numbers(part, "levels") for part in levels.split(";")], seeds=whole_numbers(seeds, "seeds"),
        recipes=_words(recipe, "recipe"), experiments=_words(experiments, "experiments"),
        objectives=_words(objectives, "objectives") if objectives else list(OBJECTIVES), draws=draws, device=device,
    )  # fmt: skip
    only = _words(categories, "categories") if categories else []
    if plan:
        plans.print_plan(plans.plan(data, grid, out=out, only=only))
        return
    _tell(run(data, grid, out=out, only=only, console=error_console()), out)


def _tell(counts: Counter[str], out: Path) -> None:
    """Print how many rows there are of each status; ends with exit code 2 if a row failed."""
    print(f"{printable(out / 'rows.jsonl')}: " + ", ".join(f"{count} {status}" for status, count in counts.items()))
    if counts["error"]:
        raise typer.Exit(InputError.exit_code)


def tables(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a benchmark.")],
    *,
    table: Annotated[int | None, typer.Option(metavar="1..5", help="Of the paper; default: all, and more.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write Markdown and pictures to a folder.")] = None,
    figure: Annotated[list[Path] | None, typer.Option(metavar="DATA", help="Draw Figure 3 from it, too.")] = None,
    categories: Annotated[str, typer.Option(metavar="LIST", help="Of Figure 3; default: all that are there.")] = "",
) -> None:
    """Make the paper's tables from a benchmark.

    Prints Markdown: our figures, the paper's beside them, and the difference. With --out also pictures of the curves,
    and Figure 3 (image, truth, map) where --figure names the data. Files of an earlier report are replaced.
    """
    from blemish.experiments.tables.files import report

    only = _words(categories, "categories") if categories else []
    print(report(folder, number=table, out=out, data=figure or [], only=only), end="")


def _words(text: str, name: str) -> list[str]:
    words = [word.strip() for word in text.split(",")]
    if not all(words) or len(set(words)) < len(words):
        raise InputError(f"{name}: {printable(text)} is not allowed, expected one or more different names")
    return words


def _weights(given: list[str], teachers: list[str]) -> dict[str, Path]:
    """Return the file of each teacher that has one."""
    files: dict[str, Path] = {}
    for text in given:
        name, equals, file = text.partition("=")
        if equals and name in teachers:
            files[name] = given_path(file, "--weights")
        elif len(teachers) == 1:
            files[teachers[0]] = given_path(text, "--weights")
        else:
            names = ", ".join(teachers)
            raise InputError(f"weights: {printable(text)} is not allowed, expected NAME=FILE with a name of {names}")
    return files
