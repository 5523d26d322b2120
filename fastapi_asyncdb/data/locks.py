"""``advisory_lock``: one task at a time, in any process, does the work that a key stands for."""

from __future__ import annotations

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from fastapi_asyncdb.data.key_values import fits
from fastapi_asyncdb.dialects import backend_of
from fastapi_asyncdb.dialects.autocommit import reads_in_autocommit
from fastapi_asyncdb.dialects.backend import AdvisoryLocks
from fastapi_asyncdb.errors import ConfigurationError, ReadOnlySession


async def advisory_lock(session: AsyncSession, key: str | int) -> None:
    """Wait for the lock of a key, and keep it until the session's transaction ends.

    The lock protects no row, but work such as a nightly job or a call of another service. A transaction
    may take the same lock again. It works behind poolers, because a transaction keeps its server
    connection. Transactions that take two locks must take them in the same order, or they can deadlock.

    Args:
        session: Any session with transactions.
        key: A string, or an integer of 64 bits. On PostgreSQL a string stands for
            ``hashtextextended(key, 0)``, in SQL too. SQLite has one lock for all keys, which a writing
            session takes when its transaction begins.

    Raises:
        TypeError: the key is neither a string nor an integer.
        ValueError: the integer has more than 64 bits.
        ReadOnlySession: the session reads in autocommit.
        ConfigurationError: its engine is in autocommit, or the database has no such locks.
        sqlalchemy.exc.DBAPIError: the wait took longer than ``lock_timeout`` (SQLSTATE 55P03).
    """
    await session.run_sync(_lock, _checked(key))


async def try_advisory_lock(session: AsyncSession, key: str | int) -> bool:
    """Take the lock of a key if it is free, and keep it until the session's transaction ends.

    Args:
        session: As in ``advisory_lock``.
        key: Likewise.

    Returns:
        Whether the session has the lock. On SQLite always ``True``: a writing transaction waits for the
        lock when it begins.

    Raises:
        ReadOnlySession: as in ``advisory_lock``, like the other errors.
    """
    return await session.run_sync(_try_lock, _checked(key))


def _lock(session: Session, key: str | int) -> None:
    locks, connection = _locks_of(session)
    locks.lock(connection, key)


def _try_lock(session: Session, key: str | int) -> bool:
    locks, connection = _locks_of(session)
    return locks.try_lock(connection, key)


def _checked(key: str | int) -> str | int:
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise TypeError(
            f"The key of a lock is a {type(key).__name__}. Give a string or an integer."
        )
    if isinstance(key, int):
        if not fits(key, 64):
            raise ValueError(f"The key {key} has more than 64 bits. Give a string: str(key).")
        return int(key)
    return str(key)


def _locks_of(session: Session) -> tuple[AdvisoryLocks, Connection]:
    bind = session.get_bind()
    if reads_in_autocommit(bind.get_execution_options()):
        raise ReadOnlySession(
            "A reading session has no transaction that could keep an advisory lock: it would be "
            "released at once. Use DB instead of ReadDB."
        )
    backend = backend_of(bind.dialect)
    if backend is None or backend.locks is None:
        raise ConfigurationError(
            f"Advisory locks that end with the transaction are not supported on {bind.dialect.name}. "
            "Lock a row of a table of your own: select(Lock).where(...).with_for_update()."
        )
    return backend.locks, session.connection()
