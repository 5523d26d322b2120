"""Where a server for tests is. Starts and stops none."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """A PostgreSQL server that all workers share: nobody's to stop.

    A test that stops, kills or reconfigures a server takes one of its own.
    """

    _url: str = field(repr=False)
    """May hold a password."""

    def url(self, database: str | None = None) -> str:
        """Return a URL to one of its databases; by default to the one to start from."""
        head, mark, query = self._url.partition("?")
        server, _, own = head.rpartition("/")
        return f"{server}/{own if database is None else database}{mark}{query}"
