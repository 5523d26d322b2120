"""What is worth another try, and when."""

import random
import sqlite3
import time
from typing import Any

import asyncpg
import psycopg.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import exc
from sqlalchemy.exc import DBAPIError, InvalidRequestError, OperationalError

from fastapi_asyncdb.concurrency import backoff
from fastapi_asyncdb.errors import CommitOutcomeUnknown, ConfigurationError, PoolTimeout
from fastapi_asyncdb.session.retry import Attempts, is_retryable


def sqlite_error(code: int) -> DBAPIError:
    """What SQLAlchemy makes of SQLite's error."""
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = code
    return wrapped(error)


def wrapped(error: Exception, **options: Any) -> DBAPIError:
    """What SQLAlchemy makes of a driver's error."""
    return OperationalError("UPDATE account", {}, error, **options)


def caused(error: Exception, cause: Exception) -> Exception:
    """The first error, raised because of the second."""
    error.__cause__ = cause
    return error


SERIALIZATION = asyncpg.SerializationError("could not serialize access")
UNIQUE = asyncpg.UniqueViolationError("duplicate key")
FAILED = asyncpg.InFailedSQLTransactionError("current transaction is aborted")


@pytest.mark.parametrize(
    "error",
    [
        SERIALIZATION,
        wrapped(SERIALIZATION),
        wrapped(asyncpg.DeadlockDetectedError("deadlock detected")),
        wrapped(psycopg.errors.SerializationFailure()),
        wrapped(psycopg.errors.DeadlockDetected()),
        wrapped(Exception(1213, "Deadlock found when trying to get lock")),
        wrapped(Exception(1205, "Lock wait timeout exceeded")),
        sqlite_error(sqlite3.SQLITE_BUSY),
        sqlite_error(sqlite3.SQLITE_BUSY_SNAPSHOT),
        sqlite_error(sqlite3.SQLITE_BUSY_TIMEOUT),
        sqlite_error(sqlite3.SQLITE_LOCKED),
        sqlite_error(sqlite3.SQLITE_LOCKED_SHAREDCACHE),
        caused(wrapped(FAILED), wrapped(SERIALIZATION)),
        caused(InvalidRequestError("the transaction is aborted"), wrapped(SERIALIZATION)),
    ],
    ids=str,
)
def test_conflicts_are_retried(error: Exception):
    """The database rolled back, and another try may succeed; also when the conflict was swallowed."""
    assert is_retryable(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a bug"),
        wrapped(UNIQUE),
        wrapped(FAILED),
        wrapped(asyncpg.LockNotAvailableError("canceling statement due to lock timeout")),
        wrapped(psycopg.errors.LockNotAvailable()),
        wrapped(asyncpg.QueryCanceledError("canceling statement due to statement timeout")),
        wrapped(asyncpg.AdminShutdownError("terminating connection"), connection_invalidated=True),
        wrapped(SERIALIZATION, connection_invalidated=True),
        CommitOutcomeUnknown("lost", SERIALIZATION),
        caused(InvalidRequestError(), wrapped(SERIALIZATION, connection_invalidated=True)),
        wrapped(Exception(1062, "Duplicate entry")),
        wrapped(ConnectionResetError(104, "reset by peer")),
        sqlite_error(sqlite3.SQLITE_FULL),
        sqlite_error(sqlite3.SQLITE_CONSTRAINT_UNIQUE),
        exc.TimeoutError("QueuePool limit"),
        PoolTimeout("No connection became free"),
        caused(PoolTimeout("No connection became free"), wrapped(SERIALIZATION)),
        caused(ValueError("409"), wrapped(SERIALIZATION)),
        caused(wrapped(UNIQUE), wrapped(SERIALIZATION)),
        caused(ValueError(1213), wrapped(UNIQUE)),
    ],
    ids=str,
)
def test_everything_else_is_not(error: Exception):
    """Nothing that may have been committed, nothing that fails again, nothing of the user's own."""
    assert not is_retryable(error)


@given(
    attempt=st.integers(1, 10**6),
    base=st.floats(0.001, 10),
    cap=st.floats(0.001, 100),
    seed=st.integers(),
)
def test_backoff_stays_below_a_ceiling_that_doubles(
    attempt: int, base: float, cap: float, seed: int
):
    """Between nothing and base, twice base, four times base ... and never more than the cap."""
    random.seed(seed)
    assert (
        0 <= backoff(attempt, base=base, cap=cap) <= min(cap, base * 2.0 ** min(attempt - 1, 100))
    )


def test_backoff_spreads_over_the_whole_range():
    """Many that fail together do not come back together, some at once and some late."""
    delays = [backoff(3, base=1, cap=8) for _ in range(1000)]
    assert min(delays) < 0.5
    assert max(delays) > 3.5
    assert len(set(delays)) > 900


def test_the_last_attempt_is_not_followed_by_another():
    """The limit counts all attempts; the last error says how many there were."""
    tries = Attempts(3, None)
    errors = [wrapped(SERIALIZATION) for _ in range(3)]
    assert [tries.delay_after(error) is None for error in errors] == [False, False, True]
    assert [getattr(error, "__notes__", []) for error in errors] == [
        [],
        [],
        ["Given up at attempt 3, after 0.0 s."],
    ]


def test_no_attempt_starts_after_the_deadline():
    """What would begin too late is not begun."""
    tries = Attempts(100, 10.0, started=time.monotonic() - 9.999)
    tries.made = 50
    random.seed(1)
    assert tries.delay_after(wrapped(SERIALIZATION)) is None


def test_an_error_at_the_first_attempt_has_no_note():
    """What is not a conflict is raised as it was."""
    error = ValueError("a bug")
    assert Attempts(5, 30.0).delay_after(error) is None
    assert not hasattr(error, "__notes__")


@pytest.mark.parametrize(("attempts", "deadline"), [(0, None), (-1, 1.0), (1, -1.0)])
def test_impossible_limits_are_refused(attempts: int, deadline: float | None):
    """Work that would never run is a mistake, and not a success."""
    with pytest.raises(ConfigurationError, match=r"attempts=|deadline="):
        Attempts(attempts, deadline)
