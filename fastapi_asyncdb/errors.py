"""Every exception of the library. Raises nothing itself.

    AsyncDBError
    ├── ConfigurationError (ValueError)
    │   ├── InvalidDatabaseURL
    │   ├── UnsupportedDriver
    │   ├── MissingExtra (ImportError)
    │   ├── InsecureConnectionError
    │   └── AutoCreateTablesProductionError
    ├── DatabaseNotStarted (RuntimeError)
    ├── DatabaseUnavailable (ConnectionError)
    └── SessionError (sqlalchemy.exc.InvalidRequestError)
        ├── SessionClosed
        ├── ReadOnlySession
        ├── TransactionAborted
        ├── ConcurrentSessionUse
        └── TransactionInProgress

A message has three parts: the fact, the likely cause, the next step. No message holds a password.
"""

from __future__ import annotations

from sqlalchemy.exc import InvalidRequestError


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
    """The handle was used before its lifespan ran, after it ended, or on another event loop."""


class DatabaseUnavailable(AsyncDBError, ConnectionError):
    """No first connection could be made, at once or within ``startup_timeout``."""


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
