"""Databases for tests on a PostgreSQL server: made, copied and dropped."""

from __future__ import annotations

import asyncio

from fastapi_asyncdb.testing.databases.server import ServerCopies

# The version from which on CREATE DATABASE has STRATEGY.
_HAS_STRATEGY = (15,)
# How often to look whether clients are still connected, and the seconds between.
_LOOKS = 50
_LOOK_AGAIN = 0.002


class PostgreSQLCopies(ServerCopies):
    """Databases on one server, each a copy of another one."""

    async def create(self, name: str, template: str | None = None) -> None:
        """Make an empty database, or a copy, which the server does file by file.

        The other strategy, WAL_LOG, also writes each page to the log.
        https://www.postgresql.org/docs/current/sql-createdatabase.html
        """
        async with self.server:
            source = "" if template is None else self._copied_from(template)
            await self._execute(f"CREATE DATABASE {self._quoted(name)}{source}")

    def _copied_from(self, template: str) -> str:
        version = self.server.engine.dialect.server_version_info or ()
        strategy = " STRATEGY FILE_COPY" if version >= _HAS_STRATEGY else ""
        return f" TEMPLATE {self._quoted(template)}{strategy}"

    async def freeze(self, name: str) -> None:
        """Refuse connections: a database with a client cannot be copied."""
        async with self.server:
            await self._execute(f"ALTER DATABASE {self._quoted(name)} WITH ALLOW_CONNECTIONS false")
            await self._disconnect(name)

    async def drop(self, name: str) -> None:
        """Disconnect the clients, and drop it."""
        async with self.server:
            await self._disconnect(name)
            await self._execute(f"DROP DATABASE IF EXISTS {self._quoted(name)} WITH (FORCE)")

    def _quoted(self, name: str) -> str:
        return self.server.engine.dialect.identifier_preparer.quote_identifier(name)

    async def _disconnect(self, name: str) -> None:
        """Wait until no client is connected: psycopg's close and DROP ... WITH (FORCE) do not wait.

        A server that copies or drops a database with a client looks again after 100 ms only.
        """
        # Not autovacuum: it ends by itself, and only a superuser may end it.
        clients = f"FROM pg_stat_activity WHERE datname = '{name}' AND usesysid IS NOT NULL"
        for _ in range(_LOOKS):
            if not await self._execute(f"SELECT pg_terminate_backend(pid) {clients}"):
                return
            await asyncio.sleep(_LOOK_AGAIN)

    async def _execute(self, sql: str) -> bool:
        """Run SQL, and return whether its result has a row."""
        engine = self.server.engine.execution_options(isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            result = await connection.exec_driver_sql(sql)
            return result.returns_rows and result.first() is not None
