"""The commands that look at the schema of the database: ``current`` and ``check``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from fastapi_asyncdb.cli.console import counted, fail, say, write_json
from fastapi_asyncdb.cli.forgotten import warn_of_forgotten_models
from fastapi_asyncdb.cli.project import load_migrator, run
from fastapi_asyncdb.cli.upgrades import Json

if TYPE_CHECKING:
    from fastapi_asyncdb.migrations import Migrator


def current(context: typer.Context, *, as_json: Json = False) -> None:
    """Show the revision of the database."""
    migrator = load_migrator(context)
    revisions = run(migrator.current())
    heads = migrator.scripts.get_heads()
    if as_json:
        write_json(
            {"current": revisions, "heads": heads, "up_to_date": set(revisions) == set(heads)}
        )
    for revision in () if as_json else revisions:
        say(f"{revision}{' (head)' if revision in heads else ''}{_doc(migrator, revision)}")
    if not (revisions or as_json):
        say("No revision: no migration has run on this database.")


def check(context: typer.Context, *, as_json: Json = False) -> None:
    """Compare the models with the database; exit with 1 if they differ, or revisions are pending."""
    migrator = load_migrator(context)
    warn_of_forgotten_models(migrator.config)
    pending, differences = run(_look(migrator))
    if as_json:
        write_json({"pending": pending, "differences": differences})
    elif pending is not None:
        fail(f"Migrations are pending: {pending} Run 'asyncdb upgrade', then compare again.")
    elif differences:
        fail(f"The models differ from the database in {counted(len(differences), 'place')}:")
        for line in differences:
            say(f"  {line}")
        say("Run 'asyncdb revision -m MESSAGE' to write a revision with them.")
    else:
        say("The database is at the newest revision, and has what the models have.")
    if pending is not None or differences:
        raise typer.Exit(1)


async def _look(migrator: Migrator) -> tuple[str | None, list[str]]:
    pending = await migrator.pending()
    return pending, [] if pending else await migrator.differences()


def _doc(migrator: Migrator, revision: str) -> str:
    script = {each.revision: each for each in migrator.scripts.walk_revisions()}.get(revision)
    return f"  {script.doc}" if script is not None else "  (this code has no such revision)"
