"""The command line: one thin function per command. Results go to stdout, progress and errors to stderr.

Exit codes: 0; 2 for a bad input or option; 3 for a bad model file; 4 for a file that cannot be written; 130 for Ctrl-C.
Nothing heavy is imported before a command runs.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, cast

import typer

from blemish import model_commands, teacher_commands
from blemish.benchmark import commands
from blemish.errors import BlemishError, InputError, printable
from blemish.memory import keep_freed_memory
from blemish.options import Device, Good, Overwrite, Scorer, Weights, whole_numbers

HELP = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=HELP,
)
app.add_typer(teacher_commands.teacher_app, name="teacher")

OUT_OF_MEMORY = "out of memory", "DefaultCPUAllocator", "Cannot allocate memory"  # what torch and the system say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, sys.argv if no arguments are given, and return the exit code."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    keep_freed_memory()
    try:
        app(arguments, prog_name="blemish")
    except BlemishError as error:
        print(str(error) if error.exit_code == 130 else f"error: {error}", file=sys.stderr)
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
            print("interrupted", file=sys.stderr)
        return cast(int, end.code)
    return 0


def _not_installed(error: ModuleNotFoundError) -> int:
    """Name what is missing: who installed blemish for bundles only has no torch."""
    if error.name is None or error.name.startswith("blemish"):
        raise error
    print(f"error: {error.name} is not installed; this needs pip install 'blemish[train]'", file=sys.stderr)
    return InputError.exit_code


def _out_of_memory() -> int:
    print("error: out of memory; use fewer images, smaller --sizes or fewer --levels", file=sys.stderr)
    return InputError.exit_code


def _show_version(wanted: bool) -> None:
    if wanted:
        from blemish import __version__

        print(f"blemish {__version__}")
        raise typer.Exit


@app.callback()
def blemish(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Learn what good parts look like; show, pixel by pixel, where a new part differs."""


@app.command()
def fit(
    data: Good,
    *,
    out: Annotated[Path, typer.Option(metavar="MODEL.safetensors", help="The model file to write.")],
    sizes: Annotated[str, typer.Option(metavar="LIST", help="Sides of the square network inputs, px.")] = "128,256,384",
    levels: Annotated[str, typer.Option(metavar="LIST", help="Levels of the teacher, of 2 to 5.")] = "2,3,4",
    teacher: Annotated[str, typer.Option(metavar="NAME", help="See blemish teacher list.")] = "tf_efficientnet_lite0",
    weights: Weights = None,
    recipe: Annotated[str, typer.Option(metavar="fast|quick|paper", help="How to train.")] = "fast",
    score: Annotated[str, typer.Option(metavar="whitened|paper", help="How to score.")] = "whitened",
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed gives the same model on one machine.")] = 0,
    device: Device = "auto",
    embed_teacher: Annotated[bool, typer.Option("--embed-teacher", help="Put its weights into the file.")] = False,
    cache_gb: Annotated[
        float, typer.Option(metavar="GB", help="The most memory and temporary files for features of the teacher.")
    ] = 8.0,
    overwrite: Overwrite = False,
) -> None:
    """Learn from images of good parts.

    The same command continues a fit that was interrupted.
    """
    from blemish import progress, summaries
    from blemish.detector import Detector

    detector = Detector(
        sizes=whole_numbers(sizes, "sizes", example="128,256"),
        levels=whole_numbers(levels, "levels", example="2,3"),
        teacher=teacher,
        weights=weights,
        recipe=recipe,
        score=score,  # type: ignore[arg-type]  # checked by fit
        seed=seed,
        device=device,
    )
    console = progress.error_console()
    seconds = progress.fit_to_file(
        detector, data, out=out, console=console, embed_teacher=embed_teacher, overwrite=overwrite, cache_gb=cache_gb
    )
    summaries.print_fit(out, detector.header_, seconds=seconds)


@app.command()
def predict(
    model: Scorer,
    *,
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Images, and folders of images.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new or empty folder for the results.")],
    weights: Weights = None,
    device: Device = "auto",
    save_maps: Annotated[
        bool, typer.Option("--save-maps", help="Write DIR/maps/NAME.npy too: float32, the image's height and width.")
    ] = False,
    self_test: Annotated[
        bool, typer.Option("--self-test/--no-self-test", help="Score a bundle's golden images first.")
    ] = True,
    overwrite: Overwrite = False,
) -> None:
    """Score images and draw overlays.

    MODEL is a model file, or a bundle that blemish export has written: a bundle needs no torch, and is faster.
    Writes DIR/results.jsonl, one line per image, and DIR/overlays/NAME.png. An image that cannot be used does not stop
    the others; the exit code is then 2.
    """
    from blemish import progress, results, summaries
    from blemish.predictor import load_predictor

    images = results.name_images(paths)
    results.check_inputs(out, paths)
    predictor = load_predictor(model, weights=weights, device=device, images=len(images), self_test=self_test)
    results.prepare_folder(out, overwrite=overwrite)
    records = results.write(predictor, images, out, save_maps=save_maps)
    summary = results.summarise(progress.follow(records, total=len(images), console=progress.error_console()))
    summaries.print_predictions(summary, threshold=predictor.threshold_, out=out)
    if summary.failed:
        raise typer.Exit(InputError.exit_code)


@app.command()
def evaluate(
    model: Scorer,
    *,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="A data set, or a folder of many (docs/datasets.md).")],
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures to a file.")
    ] = None,
    resolution: Annotated[
        str,
        typer.Option(metavar="256|original", help="Where maps and masks are compared: 256x256, or the image's own."),
    ] = "256",
    used: Annotated[
        str,
        typer.Option(metavar="refuse|skip|include", help="Images that the model has met before, or copies of them."),
    ] = "refuse",
    record: Annotated[
        bool, typer.Option("--record/--no-record", help="Note in a model file which images it was tested on.")
    ] = True,
    weights: Weights = None,
    device: Device = "auto",
    overwrite: Overwrite = False,
) -> None:
    """Measure a model on labelled images.

    Compares score maps and verdicts with the truth, for each type of defect and overall.
    """
    from blemish import evaluation, modelfile, progress, summaries
    from blemish.files import check_writable
    from blemish.predictor import load_predictor
    from blemish.runtime.bundle import is_bundle

    if resolution not in ("256", "original"):
        raise InputError(f"resolution: {printable(resolution)} is not allowed, expected 256 or original")
    if json_file is not None:
        check_writable(json_file, overwrite=overwrite)
    detector = load_predictor(model, weights=weights, device=device)
    console = progress.error_console()
    chosen = evaluation.choose(detector, data, used=used)
    with progress.counting(console, "test images") as report:
        result = evaluation.measure(detector, chosen, resolution=256 if resolution == "256" else None, report=report)
    if json_file is not None:
        evaluation.save(json_file, result)
    for line in summaries.warnings(result):
        console.out(f"warning: {line}")
    summaries.print_evaluation(result)
    if record and not is_bundle(model):
        try:
            modelfile.record_tested(model, detector.header_, chosen.images)
        except BlemishError as error:
            console.out(f"warning: the test images are not noted in the model file: {error}")


app.command()(model_commands.weigh)
app.command()(model_commands.export)


@app.command()
def inspect(
    model: Scorer, *, as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False
) -> None:
    """Show what a model file or a bundle holds."""
    from blemish import bundle_summaries, modelfile, summaries
    from blemish.runtime.bundle import is_bundle, read_bundle

    if is_bundle(model):
        bundle = read_bundle(model)
        summaries.print_json(bundle.model_dump()) if as_json else bundle_summaries.print_bundle(model, bundle)
        return
    header, tensors = modelfile.load(model)
    if as_json:
        summaries.print_json(summaries.model_facts(model, header, tensors))
    else:
        summaries.print_model(model, header, tensors)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="A new or empty folder, or that of an earlier demo.")] = Path(
        "blemish-demo"
    ),
) -> None:
    """See it work on photographs.

    Cuts parts out of photographs of textures, paints defects into some, fits, evaluates, and draws what is found.
    """
    from blemish.demo import run
    from blemish.progress import error_console

    run(out, console=error_console())


app.command()(commands.benchmark)
app.command()(commands.tables)
