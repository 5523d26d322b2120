"""The command ``seed``: the project's own function that fills a database."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastapi_asyncdb.cli.console import confirm, say
from fastapi_asyncdb.cli.ping import describe
from fastapi_asyncdb.cli.project import load_config, load_database, load_settings, run

if TYPE_CHECKING:
    from fastapi_asyncdb.database import Database
    from fastapi_asyncdb.migrations import MigrationConfig


def seed(
    context: typer.Context,
    *,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask, in production either.")
    ] = False,
) -> None:
    """Run the project's own function that fills a database, in one transaction.

    The line seed = "shop.seed:seed" of the configuration names it: an async function that takes a
    session. If it fails, nothing of it is stored.
    """
    config = load_config(context)
    function = _function(config)
    settings = load_settings(config)
    if settings.environment == "production":
        confirm(f"Fill {describe(settings)}, which is in production?", yes=yes)
    run(_run(load_database(config), function))
    say(f"{config.seed} has run on {describe(settings)}.")


def _function(config: MigrationConfig) -> Callable[..., Any]:
    from fastapi_asyncdb.errors import ConfigurationError

    if config.seed is None:
        raise ConfigurationError(
            f"No function fills the database: {config.file.name} has no line seed. Write an async "
            'function that takes a session, and name it: seed = "shop.seed:seed".'
        )
    reference = config.reference("seed", config.seed)
    return reference.load_coroutine_function("an async function that takes a session")


async def _run(database: Database[Any], function: Callable[..., Any]) -> None:
    async with database, database.session() as session:
        await function(session)
