"""What an exception means for the person at the terminal: the fact, its cause, the next step."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.exc import DBAPIError

_NO_RIGHTS = "42501"
"""PostgreSQL's SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html"""


def is_of_the_command_line(error: BaseException) -> bool:
    """Return whether typer reports the error: wrong usage, an exit, an answer that did not come."""
    # Its newer versions contain click, older ones depend on it.
    return any(cls.__module__.partition(".")[0] in ("click", "typer") for cls in type(error).mro())


def describe(error: Exception) -> str:
    """Return the message for an error that ends a command."""
    from alembic.util import CommandError
    from sqlalchemy.exc import DBAPIError

    from fastapi_asyncdb.errors import AsyncDBError

    if isinstance(error, AsyncDBError):
        return str(error)
    if isinstance(error, CommandError):
        from fastapi_asyncdb.migrations.failures import described

        return described(error)
    if isinstance(error, DBAPIError):
        return _describe_database_error(error)
    return _describe_any(error)


def _describe_database_error(error: DBAPIError) -> str:
    """Describe an error of the database, without the parameters of the statement."""
    cause = str(error.orig).strip() or type(error.orig).__name__
    statement = " ".join((error.statement or "").split())
    lines = [_sentence(f"The database refused a statement: {cause}")]
    if statement:
        lines.append(f"  {statement[:300]}{'...' if len(statement) > 300 else ''}")
    if getattr(error.orig, "sqlstate", None) == _NO_RIGHTS:
        lines.append(
            "The role of DATABASE_URL lacks a right. Grant it, or let the owner of the tables migrate: "
            "DATABASE_MIGRATION_URL."
        )
    place = place_in_project(error)
    lines.append(
        f"It comes from {place}." if place else "Run it again with --debug for the traceback."
    )
    return "\n".join(lines)


def _describe_any(error: Exception) -> str:
    place = place_in_project(error)
    where = f", in {place}" if place else ""
    return (
        f"{_sentence(f'{type(error).__name__}: {error}{where}')} Run it again with --debug for the "
        "traceback."
    )


def place_in_project(error: BaseException) -> str | None:
    """Return ``file:line`` of the last line of the project's own code that the error has passed."""
    from fastapi_asyncdb.tracebacks import place_of

    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    places = (place_of(frame) for frame in reversed(frames))
    return next((place for place in places if place is not None), None)


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
