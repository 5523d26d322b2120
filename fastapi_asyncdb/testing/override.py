"""``override_db``: a session of the test in place of the requests' sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from fastapi import FastAPI
from fastapi.requests import HTTPConnection
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.client_errors import client_error
from fastapi_asyncdb.database import Database
from fastapi_asyncdb.default import default_database
from fastapi_asyncdb.dependencies import overridden
from fastapi_asyncdb.errors import ConfigurationError

_DEPENDENCIES = ("get_db", "get_read_db", "get_snapshot_db")


@contextmanager
def override_db(
    app: FastAPI, session: AsyncSession, *, database: Database[Any] = default_database
) -> Iterator[None]:
    """Use this session in every request, whether it declares DB, ReadDB or SnapshotDB.

    Short for an entry in ``app.dependency_overrides`` for each of the three; the earlier entries are
    restored. The caller ends the session: no request commits, rolls back or closes it, so that hooks and
    deferred constraints wait for the caller's commit. A session that may write may also write in a
    handler that declares ``ReadDB``.

    Args:
        app: The application that the client talks to. A mounted application has its own overrides.
        session: For the handlers.
        database: Its ``get_db``, ``get_read_db`` and ``get_snapshot_db`` are overridden. Dependencies
            made with ``database.dependency(...)`` are not.
    """

    async def get_session(connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
        try:
            yield session
        except Exception as error:
            answer = client_error(error, connection)
            if answer is error:
                raise
            raise answer from error

    with overridden(app, _dependencies(database), get_session):
        yield


def _dependencies(database: Database[Any]) -> list[Any]:
    """Return those that can be made: some contradict the database or an ``on_begin``."""
    found = []
    for name in _DEPENDENCIES:
        with suppress(ConfigurationError):
            found.append(getattr(database, name))
    return found
