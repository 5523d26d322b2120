"""One migrator among many processes: waits for the lock of the migrations, which each database has."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy.exc import DBAPIError

from fastapi_asyncdb.concurrency import await_only
from fastapi_asyncdb.dialects import backend_of
from fastapi_asyncdb.dialects.migrations import MigrationLock
from fastapi_asyncdb.engine.engines import Engines
from fastapi_asyncdb.errors import MigrationError
from fastapi_asyncdb.settings import DatabaseSettings

logger = logging.getLogger(__name__)

_UNCHECKED = 1.0
"""Seconds for which the lock is taken to be held: a revision is often done in less."""
_PAUSE = 0.2
"""Seconds between two attempts, on average."""
_REMINDER = 10.0
"""Seconds between two lines in the log."""


class HeldLock:
    """The lock, as long as this process has it.

    Args:
        lock: ``None`` if the database needs none.
        rolls_back: Whether a rollback undoes a revision.
    """

    def __init__(self, lock: MigrationLock | None, *, rolls_back: bool = True) -> None:
        self._lock = lock
        self._rolls_back = rolls_back
        self._checked = time.monotonic()

    async def check(self) -> None:
        """Check that this process has it still, once a second; called before a revision is committed.

        Raises:
            MigrationError: the session of the lock has ended, and another process may migrate.
        """
        if self._lock is None or time.monotonic() - self._checked < _UNCHECKED:
            return
        self._checked = time.monotonic()
        if not await _is_held(self._lock):
            raise MigrationError(
                "The lock of the migrations is lost: its session has ended, most likely by a restart of "
                f"the server or by an administrator. {self._outcome} Run the command again."
            )

    @property
    def _outcome(self) -> str:
        if self._rolls_back:
            return "The revision that ran is rolled back, those before it stay."
        return "The revision that ran is done, and none after it was begun."

    def checked(self, *, ctx: Any, **applied: Any) -> None:
        """Check, as a callback of Alembic's, which is called in a greenlet."""
        try:
            await_only(self.check())
        except MigrationError:
            if not self._rolls_back:
                ctx.connection.commit()  # What is done has to be noted: it stays.
            raise


@asynccontextmanager
async def only_migrator(
    engines: Engines, settings: DatabaseSettings, *, wait: float | None = None
) -> AsyncIterator[HeldLock]:
    """Let no other process migrate the database in the block.

    Args:
        engines: Of the database.
        settings: What they were made from.
        wait: Seconds to wait for another process; ``None`` is no limit.

    Raises:
        MigrationError: another process has had the lock for longer than ``wait``.
    """
    backend = backend_of(engines.write.dialect)
    if backend is None or backend.migrations.lock is None:
        yield HeldLock(None)
        return
    async with backend.migrations.lock(engines.write, engines.read, settings) as lock:
        await _take(lock, wait)
        try:
            yield HeldLock(lock, rolls_back=backend.migrations.commits is None)
        finally:
            await _release(lock)


async def _is_held(lock: MigrationLock) -> bool:
    try:
        return await lock.is_held()
    except DBAPIError:  # its connection is closed
        return False


async def _take(lock: MigrationLock, wait: float | None) -> None:
    started = time.monotonic()
    reminded: float | None = None
    while not await lock.take():
        now = time.monotonic()
        if wait is not None and now - started >= wait:
            raise MigrationError(
                f"Another process has migrated this database for {now - started:.0f} s: "
                f"{await lock.holder()}. Wait for it, or end it if it hangs, and run the command again."
            )
        if reminded is None or now - reminded >= _REMINDER:
            reminded = now
            logger.info(
                "Another process migrates the database (%s); waiting for it since %.0f s.",
                await lock.holder(),
                now - started,
            )
        await asyncio.sleep(_PAUSE * random.uniform(0.5, 1.5))  # noqa: S311 - jitter, no secret


async def _release(lock: MigrationLock) -> None:
    try:
        await lock.release()
    except Exception as error:
        logger.warning("The lock of the migrations was not released by a statement: %s", error)
