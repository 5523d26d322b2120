"""Databases for tests on a MySQL or MariaDB server: made, copied and dropped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from pydantic import SecretStr
from sqlalchemy.exc import DBAPIError

from fastapi_asyncdb.settings import DatabaseSettings
from fastapi_asyncdb.testing.databases.mysql_schema import (
    Rows,
    Schema,
    quoted,
    read_options,
    read_schema,
)
from fastapi_asyncdb.testing.databases.server import ServerCopies

# Seconds in which a client has to let go of a table that is dropped.
_PATIENCE = "SET SESSION lock_wait_timeout = 30"


class MySQLCopies(ServerCopies):
    """Databases on one server. It has no templates: what created one is run again for each copy.

    Args:
        url: A database of the server to connect to; it is neither copied nor changed.
        settings: How to connect to it; by default those of the environment, without timeouts.
    """

    def __init__(self, url: SecretStr, settings: DatabaseSettings | None = None) -> None:
        super().__init__(url, settings)
        self._frozen: dict[str, Schema] = {}

    async def create(self, name: str, template: str | None = None) -> None:
        """Make an empty database like that of the URL, or a copy."""
        async with self._connection() as rows:
            if template is None:
                await rows(f"CREATE DATABASE {quoted(name)} {await read_options(rows)}")
                return
            schema = self._frozen.get(template) or await read_schema(template, rows)
            for statement in schema.statements(name):
                await rows(statement)

    async def freeze(self, name: str) -> None:
        """Read what created it, once for all copies, and disconnect its clients."""
        async with self._connection() as rows:
            await _disconnect(name, rows)
            self._frozen[name] = await read_schema(name, rows)

    async def drop(self, name: str) -> None:
        """Disconnect the clients, and drop it."""
        self._frozen.pop(name, None)
        async with self._connection() as rows:
            await _disconnect(name, rows)
            await rows(_PATIENCE)
            await rows(f"DROP DATABASE IF EXISTS {quoted(name)}")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Rows]:
        """Yield what runs statements on one connection, whose session ends with the block."""
        async with self.server, self.server.engine.connect() as connection:
            # Not even in autocommit does a text with % in it have parameters.
            options = {"isolation_level": "AUTOCOMMIT", "no_parameters": True}
            connection = await connection.execution_options(**options)

            async def rows(statement: str) -> list[object]:
                result = await connection.exec_driver_sql(statement)
                return list(result) if result.returns_rows else []

            try:
                yield rows
            finally:
                await connection.invalidate()


async def _disconnect(name: str, rows: Rows) -> None:
    """End the connections whose database it is: their locks would keep it."""
    for number, _, _, database, *_ in await rows("SHOW PROCESSLIST"):
        if database == name:
            with suppress(DBAPIError):  # it has ended by itself
                await rows(f"KILL {number}")
