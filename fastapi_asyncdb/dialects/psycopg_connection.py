"""psycopg's connection, whose queries end on the server whoever cancels them. Imports the driver."""

from __future__ import annotations

from typing import Any

import psycopg

from fastapi_asyncdb.shield import finish

# Seconds for the server to take note; psycopg would wait five, and as long again for its answer.
_LIMIT = 2.0


class _ServerCursor(psycopg.AsyncServerCursor[Any]):
    """A cursor that is gone with its connection: there is nothing left to close, and to warn of."""

    def __del__(self, *warn: Any) -> None:
        if not self.connection.closed:
            super().__del__(*warn)


class PsycopgConnection(psycopg.AsyncConnection[Any]):
    """Ask the server to cancel, to the end.

    psycopg asks when it is interrupted, but gives up and closes the socket when it is interrupted once
    more, as AnyIO's scopes do again and again. A server in the middle of a query, and of a transaction
    with its locks, does not notice that.
    https://github.com/psycopg/psycopg/issues/1435
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.server_cursor_factory = _ServerCursor

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - psycopg's own
        """Cancel the query that runs."""
        await finish(super().cancel_safe(timeout=min(timeout, _LIMIT)))
