"""The command ``ping``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastapi_asyncdb.cli.console import say, write_json
from fastapi_asyncdb.cli.project import load_config, load_database, load_settings, run
from fastapi_asyncdb.cli.upgrades import Json

if TYPE_CHECKING:
    from fastapi_asyncdb.database import Database
    from fastapi_asyncdb.pool.status import ReplicaStatus
    from fastapi_asyncdb.settings import DatabaseSettings


def ping(
    context: typer.Context,
    timeout: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long to try to connect.")
    ] = 5.0,
    *,
    as_json: Json = False,
) -> None:
    """Connect to the database, and show how long it takes to answer.

    With read replicas it shows which ones serve, too.
    """
    config = load_config(context)
    settings = load_settings(config).model_copy(update={"startup_timeout": timeout})
    seconds, replicas = run(_ping(load_database(config), settings))
    if as_json:
        found = {each.host: each.problem for each in replicas}
        write_json({"database": describe(settings), "seconds": seconds, "replicas": found})
        return
    say(f"{describe(settings)} answers in {seconds * 1000:.1f} ms.")
    for each in replicas:
        words = "serves." if each.problem is None else f"does not serve: {each.problem}"
        say(f"Replica {each.host} {words}")


async def _ping(
    database: Database[Any], settings: DatabaseSettings
) -> tuple[float, tuple[ReplicaStatus, ...]]:
    await database.start(settings)
    try:
        await database.ping()  # This one connects.
        return await database.ping(), database.pool_status().replicas
    finally:
        await database.stop()


def describe(settings: DatabaseSettings) -> str:
    """Return which database it is, without user and password."""
    from fastapi_asyncdb.dialects import parse_url

    target = parse_url(settings.url)
    host = ", ".join(target.hosts) or target.url.host or ""
    port = f":{target.url.port}" if target.url.port else ""
    name = target.url.database or ("in memory" if not host else "")
    return f"{target.url.get_backend_name()} {host}{port}{'/' if host else ''}{name}"
