"""What migrations need of one database: a lock for all of them, and what is different about its DDL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from sqlalchemy import Connection, TextClause
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
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


class SessionLock:
    """A lock that a session of the server has, on a connection of its own; for subclasses."""

    attempt: ClassVar[TextClause]
    """Takes it if it is free, and returns whether it was."""
    check: ClassVar[TextClause]
    """Returns whether this session has it."""
    end: ClassVar[TextClause]
    """Releases it."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def take(self) -> bool:
        """Take the lock if it is free; return whether it was."""
        return bool(await self._connection.scalar(self.attempt))

    async def is_held(self) -> bool:
        """Return whether this session has it."""
        return bool(await self._connection.scalar(self.check))

    async def release(self) -> None:
        """Release the lock."""
        await self._connection.execute(self.end)


OpenMigrationLock = Callable[
    [AsyncEngine, AsyncEngine, DatabaseSettings], AbstractAsyncContextManager[MigrationLock]
]
"""Opens what the lock needs, with the engine that writes, the one that reads, and their settings."""


class Commits(Protocol):
    """Says which statements commit by themselves."""

    def __call__(self, statement: str, error: BaseException | None = None) -> bool:
        """Return whether a statement, or one that failed with an error, commits what came before it."""
        ...


def _nothing(connection: Connection) -> None:
    pass


@dataclass(frozen=True, slots=True)
class MigrationSupport:
    """How one database is migrated; by default as Alembic does it by itself."""

    lock: OpenMigrationLock | None = None
    """``None`` if several processes can migrate it at the same time."""
    commits: Commits | None = None
    """``None`` if everything that a revision does can be rolled back."""
    prepare: Callable[[Connection], None] = _nothing
    """Called with the connection, before a command of Alembic runs on it."""
    same_default: Callable[[Connection, TypeEngine[Any], str, str], bool] | None = None
    """Compares the stored default of a column with another, by value; by default texts are compared."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """For Alembic's ``context.configure``, also without a connection."""
