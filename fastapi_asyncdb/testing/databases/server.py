"""Databases for tests on a server of any kind: what PostgreSQL's and MySQL's have in common."""

from __future__ import annotations

from pydantic import SecretStr

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.settings import DatabaseSettings
from fastapi_asyncdb.testing.servers.address import with_database


class ServerCopies:
    """Databases on one server.

    Args:
        url: A database of the server to connect to; it is neither copied nor changed.
        settings: How to connect to it; by default those of the environment, without timeouts.
    """

    def __init__(self, url: SecretStr, settings: DatabaseSettings | None = None) -> None:
        self._url = url
        self.server: Database = Database(
            settings
            or DatabaseSettings(
                url=url, environment="test", statement_timeout=None, lock_timeout=None
            )
        )

    async def open(self) -> None:
        """Connect. Each event loop has a connection of its own."""
        await self.server.start()

    async def close(self) -> None:
        """Disconnect."""
        await self.server.stop()

    def url(self, name: str) -> SecretStr:
        """Return the server's URL with another database in it, and everything else as it was."""
        return with_database(self._url, name)
