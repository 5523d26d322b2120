"""Every public exception of the library.

    AsyncDBError
    ├── ConfigurationError (ValueError)
    │   ├── InvalidDatabaseURL
    │   ├── UnsupportedDriver
    │   ├── MissingExtra (ImportError)
    │   ├── InsecureConnectionError
    │   ├── AutoCreateTablesProductionError
    │   ├── TransactionsNotSupported
    │   └── IndexMismatch
    ├── DatabaseNotStarted (RuntimeError)
    │   └── DatabaseStopping
    ├── CacheNotStarted (RuntimeError)
    ├── NotASession (TypeError, AttributeError)
    ├── NotFoundError (LookupError)
    ├── TooManyRows (LookupError)
    ├── InvalidCursor (ValueError)
    ├── InvalidValue (ValueError)
    ├── DuplicateKey
    ├── TransactionConflict
    ├── OperationTimeout (TimeoutError)
    ├── MigrationError (RuntimeError)
    │   ├── MigrationFailed
    │   └── SchemaNotMigrated
    ├── AttributeNotLoaded (sqlalchemy.exc.MissingGreenlet)
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
        ├── ImplicitCommit
        ├── ConcurrentSessionUse
        ├── TransactionInProgress
        └── SandboxError

A message states the fact, the likely cause and the next step; ``str()`` appends the page of the class
in ``docs/errors.md``. No message contains a password.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Literal, Protocol

from sqlalchemy.exc import DBAPIError, InvalidRequestError, MissingGreenlet, OperationalError
from sqlalchemy.exc import TimeoutError as PoolLimitError

Outcome = Literal["committed", "aborted", "unknown"]
"""The outcome of a transaction."""


class _LooksUpOutcomes(Protocol):
    async def transaction_outcome(self, transaction_id: int) -> Outcome: ...


class AsyncDBError(Exception):
    """Base class of every exception that the library raises.

    ``args[0]`` is the message without the page.
    """

    page: ClassVar[str] = "docs/errors.md#async-db-error"
    """Where the documentation explains the class: likely causes, next steps, whether to retry."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Derive the page from the name; a subclass defined elsewhere keeps its base's page."""
        super().__init_subclass__(**options)
        if cls.__module__ == __name__ and not cls.__name__.startswith("_"):
            words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", cls.__name__)
            cls.page = f"docs/errors.md#{words.lower()}"

    def __str__(self) -> str:
        message = " ".join(map(str, self.args))
        return f"{message} ({self.page})" if message else self.page


class _OfDriver(AsyncDBError, DBAPIError):
    """Base class of errors that have a driver's error as their ``orig``, and a message of their own."""

    def __init__(
        self, message: str, orig: BaseException | None, *, connection_invalidated: bool = False
    ) -> None:
        # DBAPIError.__init__ composes a message of its own. It also calls the next class's __init__:
        # the web framework's, in a class that is an HTTPException as well.
        Exception.__init__(self, message)
        self.orig = orig  # type: ignore[assignment]
        self.hide_parameters = False
        self.detail: Any = []
        self.connection_invalidated = connection_invalidated

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.args[0], self.orig), self.__dict__


class ConfigurationError(AsyncDBError, ValueError):
    """A setting, an argument or a combination of them cannot work."""


class InvalidDatabaseURL(ConfigurationError):
    """The database URL cannot be parsed, or has a parameter that the driver does not support."""


class UnsupportedDriver(ConfigurationError):
    """The URL names a database or driver that is not supported, such as a synchronous driver."""


class MissingExtra(ConfigurationError, ImportError):
    """A package is not installed; the message has the ``pip install`` or ``apt-get install`` line."""


class InsecureConnectionError(ConfigurationError):
    """In production, the connection to another host would not verify the server's certificate."""


class AutoCreateTablesProductionError(ConfigurationError):
    """``auto_create_tables`` is set and ``environment`` is ``production``."""


class TransactionsNotSupported(ConfigurationError):
    """The server is no member of a replica set, so MongoDB has no transactions there."""


class IndexMismatch(ConfigurationError):
    """An index of a collection differs from the one that its model declares."""


class DatabaseNotStarted(AsyncDBError, RuntimeError):
    """The ``Database`` was used before it started, after it stopped, or on another event loop.

    A request gets it with its first statement: a request that runs no SQL is served.
    """


class DatabaseStopping(DatabaseNotStarted):
    """The ``Database`` is being stopped and opens no new session. A request is answered with 503."""


class CacheNotStarted(AsyncDBError, RuntimeError):
    """A cache was used before it started, or after it stopped."""


class NotASession(AsyncDBError, TypeError, AttributeError):
    """A dependency that FastAPI did not call, or a context manager, was used as a session."""


class NotFoundError(AsyncDBError, LookupError):
    """There is no row with the key. A request is answered with 404, and the name of the model."""

    def __init__(self, message: str, *, model: str | None = None) -> None:
        super().__init__(message)
        self.model = model
        """The name of the model; ``None`` is not named in the answer."""


class TooManyRows(AsyncDBError, LookupError):
    """A list without a ``limit`` would have more rows than the repository allows."""


class InvalidCursor(AsyncDBError, ValueError):
    """The cursor of a page is forged, damaged, or of another query. A request is answered with 422."""


class InvalidValue(AsyncDBError, ValueError):
    """A value cannot be stored in a document, or is an operator where a value is expected.

    A request is answered with 422 once the error handlers are installed.
    """


class DuplicateKey(AsyncDBError):
    """A document has the same values already, and a unique index allows them once.

    A request is answered with 409 once the error handlers are installed.
    """

    def __init__(
        self, message: str, *, index: str | None = None, fields: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.index: str | None = index
        """The name of the index."""
        self.fields: tuple[str, ...] = fields
        """The fields of the index, as they are stored."""


class TransactionConflict(AsyncDBError):
    """The transaction met another one, or lost its server before the commit. Nothing was stored.

    It may be run again: ``run_in_transaction`` and ``RetryRoute`` do.
    """


class OperationTimeout(AsyncDBError, TimeoutError):
    """The server has ended an operation that took longer than its limit."""


class MigrationError(AsyncDBError, RuntimeError):
    """The migrations cannot be run, or not on this database."""


class MigrationFailed(MigrationError):
    """A revision failed and was rolled back; those before it stay. Its own error is the cause."""


class SchemaNotMigrated(MigrationError):
    """The database lacks revisions that the code needs."""


class AttributeNotLoaded(AsyncDBError, MissingGreenlet):
    """An attribute that is not loaded was used where nothing awaits the statement that would load it.

    ``model`` is the name of the object's class, and ``attribute`` that of the attribute.
    """

    def __init__(
        self, message: str, *, model: str | None = None, attribute: str | None = None
    ) -> None:
        super().__init__(message)
        self.model: str | None = model
        self.attribute: str | None = attribute


class DatabaseUnavailable(AsyncDBError, ConnectionError):
    """The start, or a ``ping()``, got no connection or no answer in time."""


class CannotConnect(_OfDriver, OperationalError):
    """No connection could be made, so no statement was sent. A request is answered with 503.

    Raised in place of the exception that SQLAlchemy raises, for every driver. ``orig`` is the driver's
    error with its frames cleared, because drivers keep the password in local variables.
    """


class PoolTimeout(AsyncDBError, PoolLimitError):
    """No connection became free within ``pool_timeout``. A request is answered with 503."""


class TooManyWaiting(PoolTimeout):
    """No connection was free and ``max_waiting`` tasks were waiting, so the task did not wait."""


class CommitOutcomeUnknown(_OfDriver):
    """The connection was lost during COMMIT: the transaction is stored, or it is not.

    Look up the outcome before you repeat the work: it may be stored already. ``orig`` and the cause are
    the driver's error. ``connection_invalidated`` is ``False``, because retry loops test it to decide
    that a repetition is safe.
    """

    transaction_id: int | None
    """The server's number of the transaction, if ``remember_transaction_id`` was awaited."""

    def __init__(
        self, message: str, orig: BaseException, *, transaction_id: int | None = None
    ) -> None:
        super().__init__(message, orig)
        self.transaction_id = transaction_id

    async def resolve(self, database: _LooksUpOutcomes) -> Outcome:
        """Look up the outcome of the transaction on another connection.

        Args:
            database: The ``Database`` that the session came from.

        Returns:
            ``committed`` or ``aborted``, which are final. ``unknown`` if no transaction id was
            remembered, if the server has forgotten it or never had it, or if the transaction is still
            open there: a server may take long to notice that its client is gone.

        Raises:
            DatabaseNotStarted: the ``Database`` has stopped.
            sqlalchemy.exc.SQLAlchemyError: the database still cannot be reached.
        """
        if self.transaction_id is None:
            return "unknown"
        return await database.transaction_outcome(self.transaction_id)


class RollbackTimeout(_OfDriver, TimeoutError):
    """ROLLBACK was not answered in time and the connection was discarded. Nothing was stored.

    ``connection_invalidated`` is ``True``, as after any connection that is lost before COMMIT.
    """

    def __init__(self, message: str, orig: BaseException) -> None:
        super().__init__(message, orig, connection_invalidated=True)


class ServerReadOnly(_OfDriver):
    """The server became read-only, after a failover for example. Nothing was stored.

    The transaction may be repeated: it gets another connection. ``orig`` and the cause are the driver's
    error.
    """


class SessionError(AsyncDBError, InvalidRequestError):
    """A session cannot do what was called, now or at all."""


class SessionClosed(SessionError):
    """The session was used after its request or its ``async with`` block had ended."""


class ReadOnlySession(SessionError):
    """A reading session was given a statement that writes or locks rows."""


class TransactionAborted(SessionError):
    """The transaction has failed: it must be rolled back before the session is used again."""


class ImplicitCommit(SessionError):
    """A statement would have committed the changes of its transaction; on MySQL and MariaDB."""


class ConcurrentSessionUse(SessionError):
    """Two tasks used one session at the same time."""


class TransactionInProgress(SessionError):
    """``run_in_transaction`` was called inside a transaction of the same ``Database``."""


class SandboxError(SessionError):
    """The sandbox of a test cannot reproduce what production would do."""
