"""The options of every command: which database, of which configuration, and how errors are shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

_FLAGS = ("--debug",)
_WITH_VALUE = ("--database", "--config")


@dataclass(frozen=True, slots=True)
class Options:
    """What stands before the command, or after it."""

    database: str | None = None
    """The name of a further database of the configuration; ``None`` is the first."""
    config: Path | None = None
    """A pyproject.toml or an alembic.ini; by default the nearest."""
    debug: bool = False
    """Show tracebacks."""


def options_of(context: typer.Context) -> Options:
    """Return the options that the command was called with."""
    found = context.find_object(Options)
    return Options() if found is None else found


def moved_to_front(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with the options of every command first: they may be written last, too."""
    own: list[str] = []
    others: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            others += [argument, *rest]
        elif argument in _FLAGS or argument.partition("=")[0] in _WITH_VALUE:
            own += [argument, *_value(argument, rest)]
        else:
            others.append(argument)
    return own + others


def _value(option: str, rest: Iterator[str]) -> list[str]:
    """Return the value that follows an option, if it has one that is not in the option itself."""
    return [value] if option in _WITH_VALUE and (value := next(rest, None)) is not None else []
