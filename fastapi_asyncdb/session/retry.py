"""What is worth another try, and when. Pure: looks at the error, and runs nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError

from fastapi_asyncdb.concurrency import backoff
from fastapi_asyncdb.dialects import is_conflict
from fastapi_asyncdb.errors import (
    CommitOutcomeUnknown,
    ConfigurationError,
    PoolTimeout,
    ServerReadOnly,
    TransactionConflict,
)
from fastapi_asyncdb.tracebacks import causes

_FIRST_DELAY = 0.05
_LONGEST_DELAY = 2.0


def is_retryable(error: BaseException) -> bool:
    """Return whether the transaction may succeed when it is run again from the start.

    True after a serialization failure, a deadlock, a change of a table that the transaction had planned
    to use, or when SQLite is busy: the database has rolled back. True when the server became read-only:
    nothing was stored, and the next attempt gets another connection. False when the connection was lost,
    since COMMIT may have been done. False for an exception of the application's own, even one that was
    raised because of such an error. False when the pool was at its limit: another attempt would add to
    the load.
    """
    if isinstance(error, PoolTimeout):
        return False
    chain = list(causes(error))
    if any(_may_be_committed(cause) for cause in chain):
        return False
    if not isinstance(error, SQLAlchemyError) and _verdict(error) is None:
        return False
    return next((found for cause in chain if (found := _verdict(cause)) is not None), False)


def _may_be_committed(error: BaseException) -> bool:
    if isinstance(error, CommitOutcomeUnknown):
        return True
    return bool(getattr(error, "connection_invalidated", False))


def _verdict(error: BaseException) -> bool | None:
    """Return whether one exception is a conflict; ``None`` for one that does not decide."""
    if isinstance(error, ServerReadOnly | TransactionConflict):
        return True
    return is_conflict(error)


@dataclass(slots=True)
class Attempts:
    """Count the attempts of one piece of work, and decide after each failure.

    Args:
        limit: The attempts altogether, at least 1.
        deadline: Seconds after which no further attempt starts; ``None`` is no limit.
    """

    limit: int
    deadline: float | None
    made: int = 0
    started: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ConfigurationError(
                f"attempts={self.limit} would never run the work. Use attempts=1 for no retry."
            )
        if self.deadline is not None and self.deadline < 0:
            raise ConfigurationError(
                f"deadline={self.deadline} lies in the past. It is in seconds from the first "
                "attempt; None is no limit."
            )

    def delay_after(self, error: Exception) -> float | None:
        """Count a failed attempt; return the seconds until the next, or ``None`` for no next one.

        An error that ends it after several attempts gets a note that says so.
        """
        self.made += 1
        waited = time.monotonic() - self.started
        delay = backoff(self.made, base=_FIRST_DELAY, cap=_LONGEST_DELAY)
        retryable = is_retryable(error)
        in_time = self.deadline is None or waited + delay < self.deadline
        if retryable and self.made < self.limit and in_time:
            return delay
        if retryable or self.made > 1:
            error.add_note(f"Given up at attempt {self.made}, after {waited:.1f} s.")
        return None
