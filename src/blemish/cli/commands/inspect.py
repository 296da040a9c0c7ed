"""The command `blemish inspect`. Nothing heavy is imported before it runs."""

from typing import Annotated

import typer

from blemish.cli.options import ModelOrBundle


def inspect(
    model: ModelOrBundle, *, as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False
) -> None:
    """Show what a model file or a bundle holds."""
    from blemish.model.file import load
    from blemish.model.tested import read_tested, with_tested
    from blemish.printing.bundles import print_bundle
    from blemish.printing.layout import print_json
    from blemish.printing.models import model_facts, print_model
    from blemish.runtime.bundle import identity, is_bundle, read_bundle

    if is_bundle(model):
        found = read_bundle(model)
        known = with_tested(found.model, read_tested(model, sha256=identity(model)))
        bundle = found.model_copy(update={"model": known})
        print_json(bundle.model_dump()) if as_json else print_bundle(model, bundle)
        return
    header, tensors = load(model)
    header = with_tested(header, read_tested(model, sha256=identity(model)))
    if as_json:
        print_json(model_facts(model, header, tensors))
    else:
        print_model(model, header, tensors)
