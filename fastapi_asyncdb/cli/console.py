"""What commands print: results on the standard output, remarks and errors on the standard error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_PIPE_WIDTH = 1000
"""Columns, where no terminal limits them: a line of a file is not wrapped."""


def console(*, stderr: bool = False) -> Console:
    """Return a console of rich: colours on terminals without NO_COLOR, plain text elsewhere."""
    stream = sys.stderr if stderr else sys.stdout
    return _console(stderr, stream.isatty())


@cache
def _console(stderr: bool, terminal: bool) -> Console:  # noqa: FBT001 - the key of the cache
    # Rich takes 0.1 s, which a command that prints JSON does not have to wait for.
    from rich.console import Console

    limited = terminal or "COLUMNS" in os.environ
    return Console(stderr=stderr, width=None if limited else _PIPE_WIDTH, highlight=False)


def say(text: str, style: str = "") -> None:
    """Print one result."""
    console().print(text, style=style, markup=False, soft_wrap=True)


def note(text: str, style: str = "dim") -> None:
    """Print a remark: no part of the result."""
    console(stderr=True).print(text, style=style, markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning."""
    note(f"Warning: {text}", "yellow")


def fail(text: str) -> None:
    """Print an error; the command ends with 1 after it."""
    note(f"Error: {text}", "red")


def write_json(value: Any) -> None:
    """Print a value for machines."""
    typer.echo(json.dumps(value, indent=2, default=str))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Return a table of plain text."""
    from rich.table import Column, Table
    from rich.text import Text

    # On a narrow terminal the first column stays whole: a revision is copied from it.
    first, *others = columns
    made = Table(
        Column(first, no_wrap=True), *others, box=None, pad_edge=False, header_style="bold"
    )
    for row in rows:
        made.add_row(*(Text(cell, _STYLES.get(cell, "")) for cell in row))
    return made


_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red", "error": "bold red"}
"""Of cells that say how something is."""


def show(renderable: Any) -> None:
    """Print a table or another object of rich."""
    screen = console()
    if screen.is_terminal:
        screen.print(renderable)
        return
    with screen.capture() as capture:
        screen.print(renderable)
    # Rich fills the last column with blanks.
    typer.echo("\n".join(line.rstrip() for line in capture.get().splitlines()))


def counted(number: int, noun: str) -> str:
    """Return ``1 file`` or ``2 files``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is changed; end the command with 1 if the answer is no.

    Args:
        question: What will be changed.
        yes: Do not ask.
    """
    if yes:
        return
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        fail("No answer, so nothing was changed. Add --yes where no person can answer.")
        raise typer.Exit(1) from None
    if not agreed:
        note("Nothing was changed.")
        raise typer.Exit(1)
