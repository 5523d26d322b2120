"""psycopg's connection, whose queries end on the server whoever cancels them. Imports the driver."""

from __future__ import annotations

from typing import Any

import psycopg

from fastapi_asyncdb.shield import finish

# Seconds for the server to take note; psycopg would wait five, and as long again for its answer.
_LIMIT = 2.0


class PsycopgConnection(psycopg.AsyncConnection[Any]):
    """Ask the server to cancel, to the end.

    psycopg asks when it is interrupted, but gives up and closes the socket when it is interrupted once
    more, as AnyIO's scopes do again and again. A server in the middle of a query, and of a transaction
    with its locks, does not notice that.
    https://github.com/psycopg/psycopg/issues/1435
    """

    async def cancel_safe(self, *, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - psycopg's own
        """Cancel the query that runs."""
        await finish(super().cancel_safe(timeout=min(timeout, _LIMIT)))

    async def forget_plans(self) -> bool:
        """Drop all plans, here and on the server; in a transaction the server hears of it later.

        psycopg does the same after a rollback. It has no public call for it.

        Returns:
            Whether there is a transaction.
        """
        self._prepared.clear()
        if self.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            return True
        async with self.lock:
            await self.wait(self._prepared.maintain_gen(self))
        return False
