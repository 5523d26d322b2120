"""``Backend``: one database in the list of databases, and what data access needs of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import URL, ColumnElement, Connection, Result, Select

from fastapi_asyncdb.dialects.base import Preset
from fastapi_asyncdb.dialects.bulk import BulkLoader, UpsertStatement
from fastapi_asyncdb.dialects.json import JsonFormat
from fastapi_asyncdb.dialects.migrations import MigrationSupport
from fastapi_asyncdb.dialects.rejection import Rejection
from fastapi_asyncdb.dialects.target import Target


@dataclass(frozen=True, slots=True)
class Estimate:
    """How the planner of a database estimates the number of rows of a statement."""

    explain: Callable[[Select[Any]], Select[Any]]
    """Returns the statement that returns the plan of a statement."""
    rows: Callable[[Result[Any]], int]
    """Returns the number of rows by the result of the former."""


class AdvisoryLocks(Protocol):
    """Locks that end with the transaction, each with a key that the application chooses."""

    def lock(self, connection: Connection, key: str | int) -> None:
        """Wait for the lock."""
        ...

    def try_lock(self, connection: Connection, key: str | int) -> bool:
        """Take the lock if it is free; return whether it was."""
        ...


Reader = Callable[[str, str], Target]
"""Reads the text of a URL behind ``://`` for the driver that is named first."""

URLWriter = Callable[[str, str], URL]
"""Reads the same, and returns a URL that needs no arguments beside it."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One database: how its URLs are read, and what its engines need."""

    name: str
    """SQLAlchemy's name for it, as in ``postgresql+asyncpg``."""
    drivers: Mapping[str, Reader]
    """What reads a URL for each async driver; the first is the one that a plain URL means."""
    is_conflict: Callable[[BaseException], bool | None]
    """Returns whether the transaction of an error may succeed when it is run again, because another
    transaction was in its way; ``None`` if the error is none of this database, or only a consequence."""
    rejection_of: Callable[[BaseException], Rejection | None]
    """Returns why it rejected the statement of an error; ``None`` if it did not, or if unknown."""
    preset: Preset | None = None
    """``None`` if its URLs are parsed, and the database is not supported yet."""
    plain_url: URLWriter | None = None
    """What writes a URL for an engine of the user's own."""
    sync_drivers: tuple[str, ...] = ()
    """SQLAlchemy's names of synchronous drivers for it; the first that is installed is used."""
    schemes: tuple[str, ...] = ()
    """Other schemes for it in URLs."""
    driver_schemes: Mapping[str, str] = field(default_factory=dict)
    """Other names of single drivers, as SQLAlchemy has them."""
    family: str = ""
    """The database whose SQL and protocol it has, such as ``postgresql``; by default its own name.
    ``dataclasses.replace`` keeps that of the original."""
    nulls_are_largest: bool = False
    """Whether NULL is ordered as the largest value, instead of the smallest."""
    orders_nulls: bool = True
    """Whether ORDER BY has NULLS FIRST and NULLS LAST; if not, NULL is the smallest value."""
    exactly: Callable[[ColumnElement[Any]], ColumnElement[Any]] | None = None
    """Returns an expression so that its values come back with all digits; ``None`` if all do."""
    seeks_by_rows: bool = False
    """Whether ``(a, b) > (x, y)`` starts in the middle of an index."""
    searches_text: bool = False
    """Whether it has PostgreSQL's functions for full-text search."""
    wide_numbers: bool = False
    """Whether every integer and float has 64 bits, whatever the type of its column."""
    estimate: Estimate | None = None
    """How the planner estimates the number of rows; ``None`` if it cannot be asked."""
    upsert: UpsertStatement | None = None
    """``None`` if it has no upserts."""
    loader: BulkLoader | None = None
    """``None`` if INSERT with parameters is the only way in."""
    locks: AdvisoryLocks | None = None
    """``None`` if it has no locks of the application's own that end with the transaction."""
    json: JsonFormat | None = None
    """How it builds JSON; ``None`` if it cannot build what Pydantic would."""
    migrations: MigrationSupport = MigrationSupport()
    doctor: str | None = None
    """The module of its checks, which has a ``DOCTOR``; by its name, since few processes need it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "family", self.family or self.name)

    @property
    def default_driver(self) -> str:
        """The driver that a URL without one means."""
        return next(iter(self.drivers))
