"""What type checkers know of the testing kit; run by pytest only so that it imports."""

from typing import assert_type

import httpx
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database
from fastapi_asyncdb.testing import (
    AsyncClientOptions,
    CapturedHook,
    DatabaseTemplate,
    PostgresReplica,
    PostgresServer,
    QueryCount,
    SyncDatabase,
    assert_queries,
    async_client,
    capture_commit_hooks,
    count_queries,
    given_server,
    isolated_database,
    override_db,
    postgres_server,
    sandbox,
    sync_sandbox,
    temporary_database,
)


async def kit(app: FastAPI, database: Database) -> None:
    """Each context manager says what it yields."""
    async with sandbox(database, turn_timeout=1) as session:
        assert_type(session, AsyncSession)
        with override_db(app, session, database=database):
            pass
    async with async_client(app, headers={"x": "y"}) as client:
        assert_type(client, httpx.AsyncClient)
    with count_queries(database) as queries, assert_queries(database, max=3) as budget:
        assert_type(queries, QueryCount)
        assert_type(budget, QueryCount)
    with capture_commit_hooks(execute=False) as hooks:
        assert_type(hooks, list[CapturedHook])
    async with DatabaseTemplate("sqlite://", metadata=MetaData()) as template:
        assert_type(template, DatabaseTemplate)
        async with template.database() as copy, template.copy() as url:
            assert_type(copy, Database)
            assert_type(url, SecretStr)
        async with isolated_database(database, template) as isolated:
            assert_type(isolated, Database)
    options: AsyncClientOptions = {"base_url": "https://shop.example", "cookies": {"a": "b"}}
    async with async_client(app, **options), async_client(app, heders={}):  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
        pass
    assert_type(given_server(), str | None)
    with postgres_server() as server, server.replica() as replica:
        assert_type(server, PostgresServer)
        assert_type(replica, PostgresReplica)
        assert_type(replica.promote(timeout=5), None)
        assert_type(server.follow(replica, synchronous=True, timeout=5), None)
        with replica.replica(synchronous=True) as second:
            assert_type(second, PostgresReplica)
            second.follow(server, True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def names(session: AsyncSession, beginning: str) -> list[str]:
    """What a test runs on the application's event loop."""
    return [beginning]


def kit_of_plain_functions(database: Database) -> None:
    """What work gets and returns is known."""
    with temporary_database(database, metadata=MetaData()) as same, sync_sandbox(same) as sync:
        assert_type(same, Database)
        assert_type(sync, SyncDatabase[AsyncSession])
        assert_type(sync.run(names, "A"), list[str])
        assert_type(sync.run(lambda session: session.get(SecretStr, 1)), SecretStr | None)
        sync.run(names, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_types() -> None:
    """The rest of this file is for type checkers."""
