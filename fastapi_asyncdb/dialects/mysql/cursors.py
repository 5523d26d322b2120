"""Cursors that read rows while they arrive: what happens beside them, and when they are left early.

https://dev.mysql.com/doc/c-api/8.4/en/mysql-use-result.html
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from fastapi_asyncdb.dialects.mysql.errors import number_of

_INTERRUPTED = 1317
"""ER_QUERY_INTERRUPTED"""
_READ_AT_MOST = 1000
"""Rows that are read to end a stream; the query of a longer one is ended on the server."""

if TYPE_CHECKING:

    class _Cursor:
        """What both drivers have."""

        OperationalError: type[Exception]
        arraysize: int
        connection: Any

        async def close(self) -> None: ...
        async def fetchone(self) -> Any: ...
        async def fetchmany(self, size: int | None = None) -> Any: ...
        async def fetchall(self) -> Any: ...
        async def _query(self, q: Any) -> Any: ...
else:
    _Cursor = object


class _StreamingCursor(_Cursor):
    """An unbuffered cursor of either driver."""

    _arriving: Any = None
    """The driver's result."""
    _ahead: deque[Any] | None = None
    """The rows that were read ahead; ``None`` while they arrive."""

    async def _query(self, q: Any) -> Any:
        count = await super()._query(q)
        connection = self.connection
        self._arriving = connection._result
        connection.begin_stream(self.read_ahead)
        return count

    async def read_ahead(self) -> None:
        """Read all rows that have not arrived yet, since another command is to be sent."""
        if self._ahead is None and self._is_arriving():
            self._ahead = deque(await super().fetchall())

    async def fetchone(self) -> Any:
        """Fetch a row."""
        if self._ahead is None:
            return await super().fetchone()
        return self._ahead.popleft() if self._ahead else None

    async def fetchmany(self, size: int | None = None) -> Any:
        """Fetch some rows."""
        if self._ahead is None:
            return await super().fetchmany(size)
        count = min(size or self.arraysize, len(self._ahead))
        return [self._ahead.popleft() for _ in range(count)]

    async def fetchall(self) -> Any:
        """Fetch the other rows."""
        if self._ahead is None:
            return await super().fetchall()
        rows, self._ahead = list(self._ahead), deque()
        return rows

    async def close(self) -> None:
        """Read what is left if it is little, and let the server end the query otherwise."""
        try:
            if self._ahead is None and self._is_arriving():
                await self._end_query()
        except self.OperationalError as error:
            if number_of(error) != _INTERRUPTED:
                raise
        finally:
            await super().close()

    async def _end_query(self) -> None:
        if len(await super().fetchmany(_READ_AT_MOST)) == _READ_AT_MOST:
            await self.connection.server_thread.kill(query=True)
            await super().fetchall()

    def _is_arriving(self) -> bool:
        return self._arriving is not None and bool(self._arriving.unbuffered_active)


def streaming(cursor: type[Any]) -> type[Any]:
    """Return such a cursor on a driver's own."""
    return type(f"Streaming{cursor.__name__}", (_StreamingCursor, cursor), {})
