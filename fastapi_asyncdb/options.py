"""The options of sessions: of all of a ``Database``; of one and its transactions."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict, get_args

from fastapi_asyncdb.errors import ConfigurationError

IsolationLevel = Literal["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]

# PostgreSQL keeps milliseconds in 32 bits:
# https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-STATEMENT-TIMEOUT
_LONGEST = (2**31 - 1) / 1000


class SessionArguments(TypedDict, total=False):
    """The arguments of SQLAlchemy's ``Session`` that all sessions of a ``Database`` have.

    https://docs.sqlalchemy.org/en/20/orm/session_api.html#sqlalchemy.orm.Session.__init__
    """

    autoflush: bool
    """Flush before each query; ``True`` by default."""
    expire_on_commit: bool
    """Read objects again after a commit; ``False`` by default, since an attribute cannot await that."""
    info: dict[Any, Any]
    """The content of ``session.info``, which is a copy in each session."""


_ONE_DATABASE = "its settings say which database they use. For another one make another Database"
_REFUSED = {
    "bind": _ONE_DATABASE,
    "binds": _ONE_DATABASE,
    "autobegin": "the first statement begins a transaction, and the request or the block ends it",
    "close_resets_only": "they refuse use after the request or the block anyway",
    "join_transaction_mode": "they have connections of their own. Tests use the sandbox",
    "sync_session_class": "it belongs into a class: class MySession(AsyncSession): "
    "sync_session_class = ..., and Database(session_class=MySession)",
    "twophase": "a commit in two phases has an outcome that nothing here could look up",
}
"""Arguments of ``Session`` that a promise of the library contradicts."""


class SessionOptions(TypedDict, total=False):
    """The options of a session, as keyword arguments; they apply to each of its transactions."""

    isolation_level: IsolationLevel | None
    """``READ COMMITTED``, ``REPEATABLE READ`` or ``SERIALIZABLE``; ``None`` is the database's
    default."""
    read_only: bool
    """Refuse writes. With an isolation level a read-only transaction, without one autocommit: each
    statement on its own."""
    primary: bool
    """Read from the primary although there are replicas; sessions that may write always do."""
    statement_timeout: float | None
    """Cancel a statement that runs longer (PostgreSQL, MariaDB; on MySQL a SELECT); seconds, 0 is no
    limit, ``None`` is what the settings say."""
    lock_timeout: float | None
    """Give up waiting for a lock (PostgreSQL; MySQL in whole seconds); seconds, likewise."""
    deferrable: bool
    """Wait at the start until no serialization failure is possible (PostgreSQL); only with
    ``SERIALIZABLE`` and ``read_only``. https://www.postgresql.org/docs/current/sql-set-transaction.html"""


@dataclass(frozen=True, slots=True)
class TransactionOptions:
    """Describe the transactions of one session or dependency.

    Args:
        isolation_level: As in ``SessionOptions``, like the others.
        read_only: Refuse writes.
        primary: Read from the primary.
        statement_timeout: Seconds.
        lock_timeout: Seconds.
        deferrable: Wait for a moment without conflicts.

    Raises:
        ConfigurationError: a value is invalid, or contradicts another one.
    """

    isolation_level: IsolationLevel | None = None
    read_only: bool = False
    # Engines do not differ by it: each server has engines of its own.
    primary: bool = field(default=False, compare=False)
    statement_timeout: float | None = None
    lock_timeout: float | None = None
    deferrable: bool = False
    autocommit: bool = field(init=False, compare=False, repr=False)
    """Whether there is no transaction: each read is one of its own."""
    on_replicas: bool = field(init=False, compare=False, repr=False)
    """Whether a replica may serve it. A standby has no ``SERIALIZABLE``:
    https://www.postgresql.org/docs/current/hot-standby.html#HOT-STANDBY-CAVEATS"""

    def __post_init__(self) -> None:
        object.__setattr__(self, "autocommit", self.read_only and self.isolation_level is None)
        serves = self.read_only and not self.primary and self.isolation_level != "SERIALIZABLE"
        object.__setattr__(self, "on_replicas", serves)
        if self.isolation_level not in (None, *get_args(IsolationLevel)):
            raise ConfigurationError(
                f"{self.isolation_level!r} is not an isolation level of transactions. Use "
                f"{', '.join(get_args(IsolationLevel))}; for autocommit reads, read_only=True alone."
            )
        for name in ("statement_timeout", "lock_timeout"):
            _check_seconds(name, getattr(self, name))
        if self.deferrable and not (self.isolation_level == "SERIALIZABLE" and self.read_only):
            # https://www.postgresql.org/docs/current/sql-set-transaction.html
            raise ConfigurationError(
                "deferrable=True has no effect on such transactions. It is for those that have "
                'isolation_level="SERIALIZABLE" and read_only=True: add both, or leave it out.'
            )
        if self.autocommit and self.timeouts:
            raise ConfigurationError(
                f"read_only=True without an isolation_level is autocommit: there is no transaction "
                f'for {", ".join(self.timeouts)}. Add isolation_level="REPEATABLE READ" '
                "for a read-only transaction, or set the timeout for all: "
                f"DATABASE_{next(iter(self.timeouts)).upper()}."
            )

    @property
    def timeouts(self) -> dict[str, float]:
        """The timeouts that are not ``None``, in seconds."""
        given = {"statement_timeout": self.statement_timeout, "lock_timeout": self.lock_timeout}
        return {name: seconds for name, seconds in given.items() if seconds is not None}


def session_arguments(given: SessionArguments) -> SessionArguments:
    """Check the arguments of all sessions, and add the library's defaults.

    Raises:
        ConfigurationError: the library decides that.
        TypeError: there is no such argument.
    """
    known = SessionArguments.__annotations__
    for name in given:
        if name in _REFUSED:
            raise ConfigurationError(f"Sessions of a Database have no {name}: {_REFUSED[name]}.")
        if name not in known:
            raise TypeError(
                f"Database() has no argument {name}; those of its sessions are {', '.join(known)}."
            )
    # Objects stay readable after the commit: responses and streams still want them, and a refresh
    # would be I/O in the middle of an attribute access.
    return {"expire_on_commit": False, **given}


def transaction_options(options: SessionOptions) -> TransactionOptions:
    """Check the keyword arguments of a session, or of what opens sessions.

    Raises:
        ConfigurationError: a value is invalid, or contradicts another one.
        TypeError: there is no such option.
    """
    known = SessionOptions.__annotations__
    unknown = [name for name in options if name not in known]
    if unknown:
        raise TypeError(
            f"A session has no option {', '.join(unknown)}; its options are {', '.join(known)}."
        )
    return TransactionOptions(**options)


def _check_seconds(name: str, seconds: float | None) -> None:
    if seconds is not None and not (math.isfinite(seconds) and 0 <= seconds <= _LONGEST):
        raise ConfigurationError(
            f"{name}={seconds!r} is not a time. Give seconds, from 0, which is no limit, to "
            f"{_LONGEST:.0f}."
        )


PLAIN = TransactionOptions()
"""The options of a transaction without any."""
