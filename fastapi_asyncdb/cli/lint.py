"""The command ``lint``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from fastapi_asyncdb.cli.console import counted, say, write_json
from fastapi_asyncdb.cli.project import load_config, load_settings
from fastapi_asyncdb.cli.upgrades import Json

if TYPE_CHECKING:
    from fastapi_asyncdb.migrations import MigrationConfig
    from fastapi_asyncdb.migrations.lint import Finding


def lint(
    context: typer.Context,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="REVISION|BRANCH",
            help="What is new since then; by default since the main branch of git.",
        ),
    ] = None,
    dialect: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="postgresql or sqlite; by default that of DATABASE_URL."),
    ] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Look at every revision.")] = False,
    as_json: Json = False,
) -> None:
    """Find steps of new revisions that block requests, break code or lose data; exit with 1 for errors.

    Each finding says what it would block, and the safe way. A reviewed one is marked in the revision:
    # asyncdb: safe(rule): reason
    """
    findings = _lint(load_config(context), since, dialect, every=every)
    errors = sum(each.level == "error" for each in findings)
    if as_json:
        write_json([asdict(each) for each in findings])
    else:
        _print(findings, errors)
    if errors:
        raise typer.Exit(1)


def _print(findings: Sequence[Finding], errors: int) -> None:
    for each in findings:
        say(f"{each}\n", "red" if each.level == "error" else "yellow")
    numbers = f"{counted(len(findings), 'finding')}, {counted(errors, 'error')}."
    say(numbers if findings else "Nothing was found.")


def _lint(
    config: MigrationConfig, since: str | None, dialect: str | None, *, every: bool
) -> list[Finding]:
    from fastapi_asyncdb.dialects import parse_url
    from fastapi_asyncdb.migrations.lint import lint, main_branch_of

    alembic = config.to_alembic()
    return lint(
        alembic,
        since=None if every else since or main_branch_of(alembic),
        dialect=dialect or parse_url(load_settings(config).url).url.get_backend_name(),
        metadata=config.load_metadata(),
    )
