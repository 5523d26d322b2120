"""Where a server for tests is. Starts and stops none."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import SecretStr

from fastapi_asyncdb.testing.databases.copies import with_database


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A PostgreSQL server that all workers share: nobody's to stop.

    A test that stops, kills or reconfigures a server takes one of its own.
    """

    _url: str = field(repr=False)
    """May hold a password."""

    def url(self, database: str | None = None) -> str:
        """Return a URL to one of its databases; by default to the one to start from."""
        if database is None:
            return self._url
        return with_database(SecretStr(self._url), database).get_secret_value()
