"""Every exception of the library. Raises nothing itself.

    AsyncDBError
    ├── ConfigurationError (ValueError)
    │   ├── InvalidDatabaseURL
    │   ├── UnsupportedDriver
    │   ├── MissingExtra (ImportError)
    │   ├── InsecureConnectionError
    │   └── AutoCreateTablesProductionError
    ├── DatabaseNotStarted (RuntimeError)
    ├── NotASession (TypeError, AttributeError)
    ├── DatabaseUnavailable (ConnectionError)
    ├── CannotConnect (sqlalchemy.exc.OperationalError)
    ├── PoolTimeout (sqlalchemy.exc.TimeoutError)
    │   └── TooManyWaiting
    ├── CommitOutcomeUnknown (sqlalchemy.exc.DBAPIError)
    ├── RollbackTimeout (sqlalchemy.exc.DBAPIError, TimeoutError)
    ├── ServerReadOnly (sqlalchemy.exc.DBAPIError)
    └── SessionError (sqlalchemy.exc.InvalidRequestError)
        ├── SessionClosed
        ├── ReadOnlySession
        ├── TransactionAborted
        ├── ConcurrentSessionUse
        ├── TransactionInProgress
        └── SandboxError

A message has three parts: the fact, the likely cause, the next step. No message holds a password.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

from sqlalchemy.exc import DBAPIError, InvalidRequestError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolLimitError

Outcome = Literal["committed", "aborted", "unknown"]
"""What became of a transaction."""


class _Asked(Protocol):
    async def transaction_outcome(self, transaction_id: int) -> Outcome: ...


class AsyncDBError(Exception):
    """Base of every exception that this library raises."""


class ConfigurationError(AsyncDBError, ValueError):
    """A setting, or a combination of settings, that cannot work."""


class InvalidDatabaseURL(ConfigurationError):
    """A database URL that cannot be read, or that asks for what the driver cannot do."""


class UnsupportedDriver(ConfigurationError):
    """A database or driver that the library does not serve, a synchronous one for example."""


class MissingExtra(ConfigurationError, ImportError):
    """The driver that the URL asks for is not installed; the message has the ``pip install`` line."""


class InsecureConnectionError(ConfigurationError):
    """Production, another host, and no verified TLS."""


class AutoCreateTablesProductionError(ConfigurationError):
    """Tables were to be created from the models while ``environment`` is ``production``."""


class DatabaseNotStarted(AsyncDBError, RuntimeError):
    """The handle was used before its lifespan ran, after it ended, or on another event loop.

    In a request it comes with the first statement, so that one that runs none is served.
    """


class NotASession(AsyncDBError, TypeError, AttributeError):
    """What was used as a session is a dependency that FastAPI did not call, or was not entered."""


class DatabaseUnavailable(AsyncDBError, ConnectionError):
    """No first connection could be made, at once or within ``startup_timeout``."""


class CannotConnect(AsyncDBError, OperationalError):
    """No connection could be made, so nothing was done. A request answers it with 503.

    What SQLAlchemy raises for it from every driver, with the cause and the next step in words. Its
    ``orig`` is the driver's own error, whose frames are cleared: drivers keep the password there.
    """

    def __init__(self, message: str, orig: BaseException | None) -> None:
        # Not SQLAlchemy's own, which would call a web framework's in a class of both kinds.
        Exception.__init__(self, message)
        self.orig = orig  # type: ignore[assignment]
        self.hide_parameters = False

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.orig)


class PoolTimeout(AsyncDBError, PoolLimitError):
    """No connection became free within ``pool_timeout``. A request answers it with 503."""


class TooManyWaiting(PoolTimeout):
    """No connection was free, and ``max_waiting`` others waited already. It did not wait itself."""


class CommitOutcomeUnknown(AsyncDBError, DBAPIError):
    """The connection was lost while COMMIT was under way: the work is stored, or it is not.

    Never try such work again without looking first: it may be done twice. A ``DBAPIError`` whose
    ``orig`` and cause is the driver's own error. Its ``connection_invalidated`` is ``False``, although
    the connection is lost: loops that repeat work after a lost connection go by it.
    """

    transaction_id: int | None
    """The server's number of the transaction, if ``remember_transaction_id`` asked for it."""

    def __init__(
        self, message: str, orig: BaseException, *, transaction_id: int | None = None
    ) -> None:
        super().__init__(None, None, orig)
        self.args: tuple[Any, ...] = (message,)
        self.transaction_id = transaction_id

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args[0], self.orig, self.transaction_id)

    async def resolve(self, database: _Asked) -> Outcome:
        """Ask the database, on another connection, what became of the transaction.

        Args:
            database: The handle that the session came from.

        Returns:
            ``committed`` or ``aborted``, which are final; ``unknown`` when no transaction id was
            remembered, the server has forgotten it or knows nothing of it, or the transaction is
            still open there: a server may take long to notice that its client is gone.

        Raises:
            DatabaseNotStarted: the handle has stopped.
            sqlalchemy.exc.SQLAlchemyError: the database still cannot be reached.
        """
        if self.transaction_id is None:
            return "unknown"
        return await database.transaction_outcome(self.transaction_id)


def _rebuild(
    cls: type[CommitOutcomeUnknown], message: str, orig: BaseException, transaction_id: int | None
) -> CommitOutcomeUnknown:
    return cls(message, orig, transaction_id=transaction_id)


class RollbackTimeout(AsyncDBError, DBAPIError, TimeoutError):
    """A rollback got no answer in time, and its connection was discarded. Nothing was stored.

    A ``DBAPIError`` like any other of a connection that was lost before COMMIT was sent.
    """

    def __init__(self, message: str, orig: BaseException) -> None:
        super().__init__(None, None, orig, connection_invalidated=True)
        self.args: tuple[Any, ...] = (message,)

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.orig)


class ServerReadOnly(AsyncDBError, DBAPIError):
    """The server became read-only, after a failover for example: nothing of the transaction is stored.

    The same transaction may be run again; it gets another connection. A ``DBAPIError`` whose ``orig``
    and cause is the driver's own error.
    """

    def __init__(self, message: str, orig: BaseException) -> None:
        super().__init__(None, None, orig)
        self.args: tuple[Any, ...] = (message,)

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.orig)


class SessionError(AsyncDBError, InvalidRequestError):
    """A session was asked for what it cannot do any more, or was never meant to do."""


class SessionClosed(SessionError):
    """The session was used after its request, or its ``async with`` block, had ended."""


class ReadOnlySession(SessionError):
    """A write was sent through a reading session."""


class TransactionAborted(SessionError):
    """The transaction cannot go on: it must be rolled back before the session is used again."""


class ConcurrentSessionUse(SessionError):
    """Two tasks used one session at the same moment."""


class TransactionInProgress(SessionError):
    """``run_in_transaction`` was called inside of an open transaction of the same handle."""


class SandboxError(SessionError):
    """What happened in a test's sandbox cannot be made to look as in production."""
