"""The interface between the engine and one database: what a new database must provide."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import TextClause
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fastapi_asyncdb.dialects.target import Target
from fastapi_asyncdb.options import TransactionOptions
from fastapi_asyncdb.settings import DatabaseSettings

NO_ANSWER = "no answer"
"""The first words of a preset's error for a server that did not answer in the time to connect."""

ErrorStep = Callable[[ExceptionContext], BaseException | None]
"""Looks at a driver's error; returns the one to raise instead, or ``None``."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a connection could not be made."""

    advice: str
    """The likely cause and the next step."""
    permanent: bool = False
    """Whether trying again is pointless."""
    full: bool = False
    """Whether the server, or a pooler in front of it, accepts no more connections for now."""


@dataclass(frozen=True, slots=True)
class TransactionNumbers:
    """The statements that return the number of a transaction, and later its outcome."""

    current: TextClause
    """Returns the number of the transaction in which it runs."""
    status: TextClause
    """Returns ``committed``, ``aborted`` or ``in progress`` for the number ``:id``."""
    is_unknown: Callable[[BaseException], bool]
    """Returns whether, by an error of the second statement, the server cannot know the outcome."""


@dataclass(frozen=True, slots=True)
class LogPositions:
    """The queries for positions in the log by which replicas follow; in bytes from its beginning.

    Each runs on a primary and on a replica, which may become a primary.
    """

    stored: str
    """Returns what is on disk; on a replica what it has replayed."""
    written: str
    """Returns a position behind everything that is committed; on a replica NULL: it was the primary."""


class Preset(Protocol):
    """What one database needs. Stateless: everything is an argument."""

    @property
    def needs_ping(self) -> bool:
        """Whether an idle connection can die unnoticed, so that the pool pings it at checkout."""
        ...

    @property
    def separate_readers(self) -> bool:
        """Whether reading connections differ from writing ones, and so have a pool of their own."""
        ...

    @property
    def probe(self) -> str:
        """The query by which a health check sees that the database answers."""
        ...

    @property
    def verified_tls(self) -> str:
        """What a URL needs so that the server has to prove who it is; the file of authorities last."""
        ...

    @property
    def timeout_words(self) -> Collection[str]:
        """Words in lower case; a statement without any of them cannot change the statement timeout."""
        ...

    @property
    def failures_keep_savepoints(self) -> bool:
        """Whether a failed transaction can go on after a rollback to one of its savepoints."""
        ...

    @property
    def transaction_numbers(self) -> TransactionNumbers | None:
        """How to look up the outcome of a COMMIT without an answer; ``None`` if that is impossible."""
        ...

    @property
    def log_positions(self) -> LogPositions | None:
        """How to ask a server how far it is; ``None`` if the database has no replicas here."""
        ...

    def install_hint(self, target: Target) -> str:
        """Return the arguments of ``pip install`` that install the driver."""
        ...

    def resolve(self, target: Target) -> Target:
        """Decide what the URL leaves open; called once for all engines of one start."""
        ...

    def engine_options(
        self, target: Target, settings: DatabaseSettings, *, read_only: bool
    ) -> dict[str, Any]:
        """Return arguments for ``create_async_engine``; they override the pool's from the settings."""
        ...

    def configure(
        self, engine: AsyncEngine, target: Target, settings: DatabaseSettings, *, read_only: bool
    ) -> None:
        """Prepare a new engine: listen to new connections and transactions, wrap the dialect's methods.

        A method is replaced by ``calls.wrap``, a step around each statement set by ``calls.steps_of``.
        """
        ...

    def error_steps(self) -> Sequence[ErrorStep]:
        """Return the steps that look at an error first, new ones for each engine.

        Each is called for each error of a driver, and leaves alone the errors that it does not know.
        """
        ...

    def check(self, options: TransactionOptions) -> None:
        """Raise ``ConfigurationError`` for options that this database does not have."""
        ...

    def bind(
        self, options: TransactionOptions, write: AsyncEngine, read: AsyncEngine
    ) -> AsyncEngine:
        """Return an engine on one of the two pools whose transactions have the options."""
        ...

    async def discard(self, connection: DBAPIConnection) -> bool:
        """End the statement that runs, if any, and close. Called in a task of its own, bounded in time.

        Returns:
            Whether the server has answered the closing handshake.
        """
        ...

    def statement_timeout(self, target: Target, settings: DatabaseSettings) -> float:
        """Return the seconds that the server gives a statement; 0 is no limit, or none known."""
        ...

    def cut(self, connection: DBAPIConnection) -> None:
        """Close the connection at once, without waiting: the task that uses it gets an error."""
        ...

    def ends_in_place(self, target: Target) -> bool:
        """Return whether the driver commits and rolls back without a timeout of its own.

        Such a timeout cancels the task that it runs in, which would be the caller's. So the end of a
        transaction gets a task of its own then, which costs more.
        """
        ...

    def awaits_answer(self, connection: DBAPIConnection) -> bool:
        """Return whether a statement is under way."""
        ...

    def is_closed(self, connection: DBAPIConnection) -> bool:
        """Return whether the driver knows that the connection is lost, and so sends nothing."""
        ...

    def ended_before_commit(self, error: BaseException) -> bool:
        """Return whether, by an error of COMMIT, the connection had ended before the server read it."""
        ...

    def loss(self, connection: DBAPIConnection, error: BaseException) -> str | None:
        """Return why the connection was lost, for a message; ``None`` if it was not, or if unknown."""
        ...

    async def lock_schema(self, connection: AsyncConnection) -> None:
        """Let one process at a time create tables, until the transaction ends."""
        ...

    def drops_transaction(self, connection: DBAPIConnection, error: BaseException) -> bool:
        """Return whether the error of a statement has ended the transaction around it."""
        ...

    def diagnose(self, error: BaseException, target: Target) -> Diagnosis:
        """Return why connecting failed."""
        ...


def no_answer_within(seconds: float | None) -> str:
    """Return the words of an error whose cause is that the time to connect was up; 0 is unknown."""
    limit = f" within {seconds:g} s" if seconds else ""
    return (
        f"{NO_ANSWER}{limit}, the time that DATABASE_CONNECT_TIMEOUT, or connect_timeout in "
        "DATABASE_URL, gives each host to let a connection in"
    )


def connect_timeout(target: Target, settings: DatabaseSettings) -> float:
    """Return the seconds of one attempt, as the URL says or else the settings; 0 is no limit."""
    return settings.connect_timeout if target.connect_timeout is None else target.connect_timeout
