"""The commands `blemish teacher list` and `fetch`. Nothing heavy is imported before one of them runs."""

import sys
from typing import Annotated

import typer

from blemish.errors import printable

teacher_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@teacher_app.callback()
def teachers() -> None:
    """See the networks that can teach."""


@teacher_app.command("list")
def list_teachers() -> None:
    """Show all teachers.

    For each: the channels of its levels, the licence of its weights, and whether they are on this machine.
    """
    from blemish.printing.models import print_teachers

    print_teachers()


@teacher_app.command("fetch")
def fetch_teacher(name: Annotated[str, typer.Argument(metavar="NAME", help="A teacher of the list.")]) -> None:
    """Download a teacher's weights, if they are not on this machine.

    The only command that uses the network. Prints the file they are kept in.
    """
    from blemish.method.pretrained import fetch, find_weights

    here = find_weights(name) is not None
    print(printable(fetch(name)))
    if here:
        print(f"the weights of {name} were on this machine already; nothing was downloaded", file=sys.stderr)
