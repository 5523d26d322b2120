"""Thin stand-ins for modules that are not here yet. To be deleted, with the imports of it."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from fastapi import FastAPI
from sqlalchemy import Connection, Engine, MetaData, event

from fastapi_asyncdb.database import BaseDatabase
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.settings import DatabaseSettings
from fastapi_asyncdb.url import parse_url

if TYPE_CHECKING:
    import httpx


class _Server(Protocol):
    def url(self) -> str: ...


def postgres_server() -> AbstractContextManager[_Server]:
    """Run a private server: ``servers.postgres_server``."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="XDG_RUNTIME_DIR is not set")
        from tests.servers import PostgresServer

        return PostgresServer()


def given_server() -> str | None:
    """Return TEST_DATABASE_URL, guarded: ``servers.given_server``."""
    url = os.environ.get("TEST_DATABASE_URL", "").strip()
    return guarded_url(url, "TEST_DATABASE_URL") if url else None


def guarded_url(url: str, variable: str) -> str:
    """Refuse what is not for tests: ``servers._refuse_what_is_not_for_tests``."""
    target = parse_url(url).url
    if target.get_backend_name() != "postgresql":
        raise ConfigurationError(
            f"{variable} is a URL of {target.get_backend_name()}, and tests that need a server need "
            "PostgreSQL. Name one, or take the line away."
        )
    if not re.search(r"(^|[^a-z])test(s|ing|db)?([^a-z]|$)", (target.database or "").lower()):
        raise ConfigurationError(
            f"{variable} names the database {target.database!r}, which does not look like one for "
            "tests, and tests throw away what they find. Name a database with the word 'test' in it, "
            "such as 'app_test'."
        )
    return url


@contextmanager
def forced_settings(database: BaseDatabase, settings: DatabaseSettings) -> Iterator[None]:
    """Let a handle start with these settings, whatever it is told: the seam of ``isolated``."""

    async def start(_: object = None, *, create_tables: MetaData | None = None) -> None:
        await type(database).start(database, settings, create_tables=create_tables)

    vars(database)["start"] = start
    try:
        yield
    finally:
        del vars(database)["start"]


@asynccontextmanager
async def async_client(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Run the application and talk to it: ``client.async_client``."""
    import httpx

    assert isinstance(app, FastAPI)  # noqa: S101
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        yield client


class QueryCount:
    """``queries.QueryCount``."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def __len__(self) -> int:
        return len(self.statements)


@contextmanager
def count_queries(database: BaseDatabase) -> Iterator[QueryCount]:
    """Note the statements: ``queries.count_queries``."""
    seen = QueryCount()

    def note(connection: Connection, cursor: object, sql: str, *rest: object) -> None:
        if not sql.lower().startswith(("pragma", "set ")):
            seen.statements.append(sql)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)
