"""A session of the test's own in place of the requests' sessions. Opens and ends none."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.default import default_database
from fastapi_asyncdb.errors import ConfigurationError

_DEPENDENCIES = ("get_db", "get_read_db", "get_snapshot_db")


@contextmanager
def override_db(
    app: FastAPI, session: AsyncSession, *, database: Database = default_database
) -> Iterator[None]:
    """Let every request use this session, whether it asks for DB, ReadDB or SnapshotDB.

    Short for an entry in ``app.dependency_overrides`` for each of the three, which are put back as
    they were. The session is the caller's: no request commits, rolls back or closes it, so that hooks
    and deferred constraints wait for the caller's commit. What it may do, it may do in each request:
    one that is open for writing lets a ``ReadDB`` handler write.

    Args:
        app: The application that the client talks to. One that is mounted in it has overrides of its
            own.
        session: What the handlers get.
        database: The handle whose dependencies the routes declare. Those that you made with
            ``database.dependency(...)`` are yours to override.
    """

    async def get_session() -> AsyncSession:
        return session

    dependencies = _dependencies(database)
    before = dict(app.dependency_overrides)
    app.dependency_overrides.update(dict.fromkeys(dependencies, get_session))
    try:
        yield
    finally:
        for dependency in dependencies:
            app.dependency_overrides.pop(dependency, None)
            if dependency in before:
                app.dependency_overrides[dependency] = before[dependency]


def _dependencies(database: Database) -> list[Any]:
    """Return those that the handle has: not each fits every database and every ``on_begin``."""
    found = []
    for name in _DEPENDENCIES:
        with suppress(ConfigurationError):
            found.append(getattr(database, name))
    return found
