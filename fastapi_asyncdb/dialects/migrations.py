"""What migrations need of one database: a lock for all of them, and what is different about its DDL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.types import TypeEngine

from fastapi_asyncdb.settings import DatabaseSettings


class MigrationLock(Protocol):
    """A lock for all of a database's migrations, which ends with the process that has it."""

    async def take(self) -> bool:
        """Take the lock if it is free; return whether it was."""
        ...

    async def holder(self) -> str:
        """Return who has it, for a message."""
        ...

    async def is_held(self) -> bool:
        """Return whether this process has it."""
        ...

    async def release(self) -> None:
        """Release the lock."""
        ...


OpenMigrationLock = Callable[
    [AsyncEngine, AsyncEngine, DatabaseSettings], AbstractAsyncContextManager[MigrationLock]
]
"""Opens what the lock needs, with the engine that writes, the one that reads, and their settings."""


def _nothing(connection: Connection) -> None:
    pass


@dataclass(frozen=True, slots=True)
class MigrationSupport:
    """How one database is migrated; by default as Alembic does it by itself."""

    lock: OpenMigrationLock | None = None
    """``None`` if several processes can migrate it at the same time."""
    prepare: Callable[[Connection], None] = _nothing
    """Called with the connection, before a command of Alembic runs on it."""
    same_default: Callable[[Connection, TypeEngine[Any], str, str], bool] | None = None
    """Compares the stored default of a column with another, by value; by default texts are compared."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """For Alembic's ``context.configure``, also without a connection."""
