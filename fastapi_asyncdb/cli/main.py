"""The commands of ``asyncdb``, and what is the same for all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from fastapi_asyncdb import __version__
from fastapi_asyncdb.cli import failures
from fastapi_asyncdb.cli.console import fail
from fastapi_asyncdb.cli.doctor import doctor
from fastapi_asyncdb.cli.init.command import init
from fastapi_asyncdb.cli.lint import lint
from fastapi_asyncdb.cli.options import Options, moved_to_front
from fastapi_asyncdb.cli.ping import ping
from fastapi_asyncdb.cli.reset import reset
from fastapi_asyncdb.cli.revisions import heads, history, merge, revision
from fastapi_asyncdb.cli.schema import check, current
from fastapi_asyncdb.cli.seed import seed
from fastapi_asyncdb.cli.servers import mariadb, postgres
from fastapi_asyncdb.cli.shell import shell
from fastapi_asyncdb.cli.upgrades import downgrade, sql, stamp, upgrade


class Commands(TyperGroup):
    """The group of the commands: reports their errors in words."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Accept the options of every command behind the command's name as well."""
        return super().parse_args(ctx, moved_to_front(args))

    def invoke(self, ctx: Any) -> Any:
        """Run a command; an error ends it with 1 and a message, and with a traceback for ``--debug``."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if ctx.params.get("debug") or failures.is_of_the_command_line(error):
                raise
            fail(failures.describe(error))
            raise typer.Exit(1) from None


app = typer.Typer(
    name="asyncdb",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> None:  # noqa: FBT001 - typer passes it so
    if value:
        typer.echo(f"asyncdb {__version__}")
        raise typer.Exit


def _names(incomplete: str) -> list[str]:
    from fastapi_asyncdb.migrations.config import MigrationConfig

    names = (config.name for config in MigrationConfig.load_all())
    return [name for name in names if name is not None and name.startswith(incomplete)]


@app.callback()
def main(
    context: typer.Context,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="A further database: \\[tool.fastapi-asyncdb.databases.NAME].",
            autocompletion=_names,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="A pyproject.toml or an alembic.ini; by default the nearest."
        ),
    ] = None,
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Migrate and look after the database of a FastAPI application.

    The database is that of DATABASE_URL. What the project consists of stands in the table
    tool.fastapi-asyncdb of pyproject.toml, which 'asyncdb init' writes.
    """
    context.obj = Options(database, config, debug)


def _add(command: Callable[..., Any], panel: str, *examples: str, **settings: Any) -> None:
    """Add a command, with examples below its help."""
    epilog = "\n\n".join(["Examples:", *(f"$ asyncdb {example}" for example in examples)])
    app.command(
        rich_help_panel=panel, epilog=epilog.replace("[", "\\["), context_settings=settings or None
    )(command)


_PROJECT = "The project"
_add(init, _PROJECT, "init --dry-run", "init --app shop.main:app --metadata shop.models")
_add(shell, _PROJECT, "shell", "shell -c \"print(await session.scalar(text('SELECT 1')))\"")
_add(seed, _PROJECT, "seed")

_REVISIONS = "Revisions"
_add(revision, _REVISIONS, 'revision -m "add users"', 'revision --empty -m "fill the new column"')
_add(history, _REVISIONS, "history", "history --range -3:head --indicate-current")
_add(heads, _REVISIONS, "heads")
_add(merge, _REVISIONS, 'merge -m "join both branches"')
_add(lint, _REVISIONS, "lint", "lint --since main", "lint --all --json")
_add(sql, _REVISIONS, "sql > upgrade.sql", "sql --from 0001 0002")

_DATABASE = "The database"
# The target of a downgrade may be -1, which is no option.
_add(upgrade, _DATABASE, "upgrade", "upgrade +1", "--database analytics upgrade")
_add(downgrade, _DATABASE, "downgrade -1", "downgrade base", ignore_unknown_options=True)
_add(current, _DATABASE, "current", "current --json")
_add(check, _DATABASE, "check", "check --json")
_add(stamp, _DATABASE, "stamp head", "stamp --purge base")
_add(ping, _DATABASE, "ping", "ping --timeout 1 --json")
_add(doctor, _DATABASE, "doctor", "doctor --workers 4 --instances 3", "doctor --json")
_add(reset, _DATABASE, "reset", "reset --yes && asyncdb seed")
_add(postgres, _DATABASE, "postgres", "postgres --keep .postgres --port 5433")
_add(mariadb, _DATABASE, "mariadb", "mariadb --keep .mariadb --port 3307")
