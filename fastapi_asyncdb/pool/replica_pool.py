"""The pool of a read replica: another server serves its sessions when this one cannot."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

from sqlalchemy.pool import Pool, PoolProxiedConnection

from fastapi_asyncdb.pool.fair_pool import FairPool


class ReplicaPool(FairPool):
    """A pool that checks connections out of another one if its own server accepts none, or lacks data.

    A connection goes back to the pool that it comes from. A full pool has no stand-in: its waiters wait.
    """

    pool_with_more: Callable[[], Pool | None] | None = None
    """Returns the pool of the primary for a session that has to see what this server lacks."""
    stand_in: Callable[[BaseException], Pool] | None = None
    """Called with the failure; returns the pool of another server with the same data."""

    def replace_all(self) -> None:
        """Replace each connection at its next checkout: the server was away, and has lost them."""
        self._invalidate_time = time.time()

    def recreate(self) -> ReplicaPool:
        """Return a new pool like this one."""
        pool = cast(ReplicaPool, super().recreate())
        pool.stand_in, pool.pool_with_more = self.stand_in, self.pool_with_more
        return pool

    def connect(self) -> PoolProxiedConnection:
        """Check a connection out, here or there; the errors are those of the last attempt."""
        if self.stand_in is None:
            return super().connect()
        if self.pool_with_more is not None and (other := self.pool_with_more()) is not None:
            return other.connect()
        # One that is known is not tried again: the attempt would have to wait for its turn.
        failure = self.failure()
        if failure is None:
            try:
                return super().connect()
            except Exception as error:
                if not self.accepts_none(error):
                    raise
                failure = error
        # Out of the except block, since the failure would be the context of another one.
        return self.stand_in(failure).connect()
