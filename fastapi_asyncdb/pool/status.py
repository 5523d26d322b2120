"""``PoolStatus``: the numbers of a pool, at one moment."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy.pool import Pool

from fastapi_asyncdb.pool.checkout_warnings import CheckoutWatch
from fastapi_asyncdb.pool.fair_pool import FairPool


@dataclass(frozen=True, slots=True)
class LongestCheckout:
    """The session that has had its connection for longest."""

    seconds: float
    """Seconds since the checkout."""
    holder: str
    """Method and route of its request: ``GET /users/{user_id}``."""
    place: str
    """The lines of the application that made the checkout, the innermost first."""
    server: str = ""
    """Which server the connection is to, if there are replicas: ``replica db2:5432``."""


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """The numbers of a pool, at one moment."""

    size: int
    """Connections that the pool keeps open: ``pool_size``."""
    limit: int | None
    """Connections that it may open: ``pool_size`` + ``max_overflow``; ``None`` is no limit."""
    in_use: int
    """Connections that are checked out, or being made."""
    idle: int
    """Open connections that are not checked out."""
    overflow: int
    """Connections beyond ``size``, in use or idle."""
    waiting: int
    """Tasks that wait for a connection."""
    longest_wait: float
    """Seconds that the first of them has been waiting; 0 without waiters."""
    longest_checkout: LongestCheckout | None = None
    """The longest of all sessions; ``None`` if no session has a connection, or ``hold_warning`` is 0."""
    read: PoolStatus | None = None
    """The pool of the reading sessions if they have one of their own, as on SQLite."""
    replicas: tuple[ReplicaStatus, ...] = ()
    """The read replicas, each with a pool of its own."""


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """A read replica, as the process has last seen it."""

    host: str
    """Its address: ``db2:5432``."""
    problem: str | None
    """Why sessions do not read from it; ``None`` if they do."""
    lag: float | None
    """Seconds for which it had lacked something that the primary has; 0 if it lacked nothing.
    ``None``: not known, since it was behind already when the ``Database`` started."""
    missing: int
    """Bytes of the primary's log that it lacked."""
    pool: PoolStatus
    """The numbers of its pool. The longest checkout is that of all servers together."""

    @property
    def serves(self) -> bool:
        """Whether new sessions that read may get it."""
        return self.problem is None


def status_of(
    pool: Pool, checkouts: CheckoutWatch | None = None, read: Pool | None = None
) -> PoolStatus:
    """Return the status of a pool.

    Args:
        pool: The pool.
        checkouts: The checkouts of its sessions, and of those of ``read``.
        read: The pool of reading sessions, if it is another one.
    """
    longest = None if checkouts is None else _longest(checkouts)
    reading = None if read is None or read is pool else status_of(read)
    if not isinstance(pool, FairPool):
        # A sandbox has one connection, and a queue of its own.
        out: int = pool.checkedout()  # type: ignore[attr-defined]
        return PoolStatus(1, 1, out, 1 - min(out, 1), 0, 0, 0.0, longest, reading)
    return PoolStatus(
        size=pool.size(),
        limit=pool.limit,
        in_use=pool.checkedout(),
        idle=pool.checkedin(),
        # Negative until the pool has opened as many as it keeps.
        overflow=max(0, pool.overflow()),
        waiting=pool.waiting(),
        longest_wait=pool.longest_wait(),
        longest_checkout=longest,
        read=reading,
    )


def _longest(checkouts: CheckoutWatch) -> LongestCheckout | None:
    checkout = checkouts.longest()
    if checkout is None:
        return None
    seconds = time.monotonic() - checkout.since
    return LongestCheckout(seconds, checkout.holder(), checkout.place(), checkout.server())
