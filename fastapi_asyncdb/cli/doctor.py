"""The command ``doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fastapi_asyncdb.cli.console import counted, show, table, write_json
from fastapi_asyncdb.cli.project import load_migrator, run
from fastapi_asyncdb.cli.upgrades import Json

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from fastapi_asyncdb.doctor import Finding, Look, Report
    from fastapi_asyncdb.migrations import Migrator


def doctor(
    context: typer.Context,
    workers: Annotated[int, typer.Option(min=1, help="Processes of one instance.")] = 1,
    instances: Annotated[int, typer.Option(min=1, help="Containers, or machines.")] = 1,
    *,
    as_json: Json = False,
) -> None:
    """Examine the database: what is wrong, and what cures it; exit with 1 if a check fails.

    It only reads. With --workers and --instances it compares the connections of the whole application
    with those that the server allows.
    """
    report = run(_examine(load_migrator(context), workers, instances))
    if as_json:
        write_json(report.as_json())
    else:
        rows = [
            (each.status, each.check, f"{each.fact}\n{each.cure}".strip())
            for each in report.findings
        ]
        show(table(("", "Check", "What is so, and what to do"), rows))
    if report.exit_code:
        raise typer.Exit(report.exit_code)


async def _examine(migrator: Migrator, workers: int, instances: int) -> Report:
    from fastapi_asyncdb.doctor import examine
    from fastapi_asyncdb.migrations.engines import configured_source

    source = configured_source(migrator.config)
    return await examine(
        source.settings,
        password=source.password,
        workers=workers,
        instances=instances,
        checks={"migrations": _migrations(migrator), "models": _models(migrator)},
    )


def _migrations(migrator: Migrator) -> Look:
    """Return the check for revisions that the database lacks."""
    from fastapi_asyncdb.doctor import Finding
    from fastapi_asyncdb.migrations.revisions import applied, pending

    def look(connection: Connection) -> Finding:
        lacks = pending(applied(connection), migrator.scripts)
        if lacks:
            return Finding(
                "migrations", "fail", f"Migrations are pending: {lacks}", "Run 'asyncdb upgrade'."
            )
        return Finding("migrations", "ok", "No migration is pending.")

    return look


def _models(migrator: Migrator) -> Look:
    """Return the check for differences between the models and the tables."""
    from fastapi_asyncdb.doctor import Finding
    from fastapi_asyncdb.migrations.differences import differences

    def look(connection: Connection) -> Finding:
        lines = [
            line
            for each in migrator.config.load_metadata()
            for line in differences(connection, each)
        ]
        if lines:
            fact = (
                f"The models differ from the tables in {counted(len(lines), 'place')}: {lines[0]}."
            )
            return Finding("models", "warn", fact, "Run 'asyncdb check', which shows all.")
        return Finding("models", "ok", "The tables are those of the models.")

    return look
