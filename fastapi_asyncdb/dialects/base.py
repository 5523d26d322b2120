"""The interface between the engine and what one database needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from fastapi_asyncdb.dialects.target import Target
from fastapi_asyncdb.options import TransactionOptions
from fastapi_asyncdb.settings import DatabaseSettings

NO_ANSWER = "no answer"
"""How the words begin in which a preset says that the time to connect was up."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Why a connection could not be made."""

    advice: str
    """The likely cause and the next step."""
    permanent: bool = False
    """Whether trying again is pointless."""
    full: bool = False
    """Whether the server, or a pooler in front of it, accepts no more connections for now."""


class Preset(Protocol):
    """What one database needs. Stateless: everything comes in by argument."""

    @property
    def needs_ping(self) -> bool:
        """Whether an idle connection can die without anyone noticing."""
        ...

    @property
    def separate_readers(self) -> bool:
        """Whether reading connections differ, and so live in a pool of their own."""
        ...

    def install_hint(self, target: Target) -> str:
        """Return the words behind ``pip install`` that bring the driver."""
        ...

    def resolve(self, target: Target) -> Target:
        """Settle what the URL leaves open, once for all engines of one start."""
        ...

    def engine_options(
        self, target: Target, settings: DatabaseSettings, *, read_only: bool
    ) -> dict[str, Any]:
        """Return arguments for ``create_async_engine``; they override the pool's from the settings."""
        ...

    def configure(self, engine: AsyncEngine, target: Target, *, read_only: bool) -> None:
        """Attach the events that make new connections and transactions behave."""
        ...

    def check(self, options: TransactionOptions) -> None:
        """Refuse with ``ConfigurationError`` what this database does not have."""
        ...

    def bind(
        self, options: TransactionOptions, write: AsyncEngine, read: AsyncEngine
    ) -> AsyncEngine:
        """Return an engine on one of the two pools whose transactions have the options."""
        ...

    async def discard(self, connection: DBAPIConnection) -> bool:
        """End what the connection does, and close it. Called in a task of its own, bounded in time.

        Returns:
            Whether the server was there to hear of it.
        """
        ...

    def statement_timeout(self, target: Target, settings: DatabaseSettings) -> float:
        """Return the seconds that the server gives a statement; 0 is no limit, or none known."""
        ...

    def cut(self, connection: DBAPIConnection) -> None:
        """End it at once, whatever it waits for, and without waiting."""
        ...

    def ends_in_place(self, target: Target) -> bool:
        """Tell whether the driver commits and rolls back without a timeout of its own.

        Such a timeout cancels the task that it runs in, which would be the caller's. So the end of a
        transaction gets a task of its own then, which costs more.
        """
        ...

    def awaits_answer(self, connection: DBAPIConnection) -> bool:
        """Tell whether a statement is under way."""
        ...

    def loss(self, connection: DBAPIConnection, error: BaseException) -> str | None:
        """Tell why the connection was lost, in a message's words; ``None`` if it was not, or in vain."""
        ...

    async def lock_schema(self, connection: AsyncConnection) -> None:
        """Let one process at a time create tables, until the transaction ends."""
        ...

    def drops_transaction(self, connection: DBAPIConnection, error: BaseException) -> bool:
        """Tell whether the error of a statement has ended the transaction around it."""
        ...

    def diagnose(self, error: BaseException, target: Target) -> Diagnosis:
        """Tell why connecting failed."""
        ...


Reader = Callable[[str, str], Target]
"""Reads the text of a URL behind ``://`` for the driver that is named first."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One database: how its URLs are read, and what its engines need."""

    name: str
    """SQLAlchemy's name for it, as in ``postgresql+asyncpg``."""
    drivers: Mapping[str, Reader]
    """What reads a URL for each async driver; the first is the one that a plain URL means."""
    preset: Preset | None = None
    """``None`` while its URLs are understood, and it is not served."""
    schemes: tuple[str, ...] = ()
    """Other words for it in URLs."""
    driver_schemes: Mapping[str, str] = field(default_factory=dict)
    """Other words for single drivers, as SQLAlchemy has them."""

    @property
    def default_driver(self) -> str:
        """The driver that a URL without one means."""
        return next(iter(self.drivers))


def connect_timeout(target: Target, settings: DatabaseSettings) -> float:
    """Return the seconds of one attempt, as the URL says or else the settings; 0 is no limit."""
    return settings.connect_timeout if target.connect_timeout is None else target.connect_timeout
