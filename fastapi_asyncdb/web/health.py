"""``health_router``: routes that tell an orchestrator whether the process lives and can serve."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from os import PathLike
from typing import Any, Protocol
from urllib.parse import quote

from fastapi import APIRouter, Request, Response, status
from fastapi.responses import JSONResponse
from sqlalchemy import Connection

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.default import default_database
from fastapi_asyncdb.engine.probe import Check
from fastapi_asyncdb.engine.seam import runs_of
from fastapi_asyncdb.errors import AsyncDBError
from fastapi_asyncdb.unavailable import OutageLog
from fastapi_asyncdb.web.readiness import DatabaseState, Readiness, state_of


class Pings(Protocol):
    """Another store that answers, such as ``MongoDatabase``.

    Its ``ping`` waits for an answer, and raises an ``AsyncDBError`` if there is none in time.
    """

    async def ping(self, *, timeout: float | None = None) -> float: ...  # noqa: ASYNC109, D102


def health_router(
    *databases: Database[Any] | Pings,
    prefix: str = "/health",
    timeout: float = 2.0,
    migrations: str | PathLike[str] | None = None,
    require_writes: bool = False,
    access_log: bool = True,
) -> APIRouter:
    """Make a router with the routes ``/health/live`` and ``/health/ready``.

    ``live`` answers 200 as long as the event loop runs: it uses no database. ``ready`` answers 503 when
    a database does not answer in time, lacks migrations, or is being stopped. It sends its query on a
    connection outside of the pool, and probes at the same time share one query. The cause is logged, and
    is not in the body. Dependencies of the application do not apply.

    While the primary is down and a read replica serves, ``ready`` answers 200 with ``degraded``: routes
    that read go on, and those that write are answered with 503.

    Args:
        *databases: Those that the application cannot work without; by default ``default_database``. Any
            object with a ``ping(timeout=...)`` like theirs, such as ``default_mongo``, will do.
        prefix: The path before ``/live`` and ``/ready``.
        timeout: Seconds that ``ready`` waits for each database. Choose less than the orchestrator waits.
        migrations: The path of the project's ``pyproject.toml`` or ``alembic.ini``: ``ready`` answers
            503 while the first ``Database`` lacks a migration.
        require_writes: Answer 503 while a primary is down, although replicas serve what reads.
        access_log: ``False`` leaves both routes out of uvicorn's access log.

    Returns:
        The router, for ``app.include_router()``.

    Raises:
        ConfigurationError: the migrations cannot be read.
    """
    checks: list[tuple[Database[Any] | Pings, _Migrations | None]]
    checks = [(database, None) for database in databases or (default_database,)]
    if migrations is not None:
        first = next((each for each, _ in checks if isinstance(each, Database)), default_database)
        checks = [pair for pair in checks if pair[0] is not first]
        checks.insert(0, (first, _Migrations(migrations)))
    hidden, outages = _HiddenPaths(), OutageLog()

    async def live(request: Request) -> Response:
        hidden.add(request)
        return _answer({"status": "ok"})

    async def ready(request: Request) -> Response:
        hidden.add(request)
        states = await _states(checks, timeout)
        for state in states:
            if state.failure is not None:
                outages.add(state.failure)
        readiness = Readiness(states, require_writes=require_writes)
        return _answer(readiness.body(), is_ready=readiness.is_ready)

    router = APIRouter(lifespan=None if access_log else hidden.lifespan)
    # Starlette's routes: a dependency of the application, for authentication say, may use the database.
    for name, endpoint in {"live": live, "ready": ready}.items():
        router.add_route(f"{prefix}/{name}", endpoint, include_in_schema=False)
    return router


class _Migrations:
    """The check for pending migrations, and what it has found when the database last answered."""

    def __init__(self, file: str | PathLike[str]) -> None:
        # Imported late: Alembic takes long to import, and most applications do not check.
        from fastapi_asyncdb.migrations.revisions import pending_migrations

        self._check = pending_migrations(file)
        self.are_pending = False

    def __call__(self, connection: Connection) -> str | None:
        reason = self._check(connection)
        self.are_pending = reason is not None
        return reason


async def _states(
    checks: Sequence[tuple[Database[Any] | Pings, _Migrations | None]], seconds: float
) -> list[DatabaseState]:
    """Ping the databases side by side."""
    return await asyncio.gather(*(_state(database, seconds, check) for database, check in checks))


async def _state(
    database: Database[Any] | Pings, seconds: float, check: _Migrations | None
) -> DatabaseState:
    failure: AsyncDBError | None = None
    try:
        await _ping(database, seconds, check)
    except AsyncDBError as error:
        failure = error
    engines = runs_of(database).current() if isinstance(database, Database) else None
    return state_of(
        failure,
        None if engines is None else engines.replicas,
        lacks_migrations=check is not None and check.are_pending,
    )


async def _ping(database: Database[Any] | Pings, seconds: float, check: Check | None) -> float:
    if isinstance(database, Database):
        return await runs_of(database).ping(seconds, check)
    return await database.ping(timeout=seconds)


def _answer(body: dict[str, str], *, is_ready: bool = True) -> Response:
    return JSONResponse(
        body,
        status.HTTP_200_OK if is_ready else status.HTTP_503_SERVICE_UNAVAILABLE,
        headers={"Cache-Control": "no-store"},
    )


class _HiddenPaths(logging.Filter):
    """Leave requests out of uvicorn's access log, by the paths that the routes were called by.

    The routes themselves do not know what stands before their prefix.
    """

    _MOST = 100  # a parameter may stand there

    def __init__(self) -> None:
        super().__init__()
        self._paths: set[str] = set()

    def add(self, request: Request) -> None:
        """Note the path of a request, before its answer is logged."""
        if len(self._paths) >= self._MOST:
            self._paths.clear()
        self._paths.add(quote(request.scope["path"]))

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log: uvicorn's arguments are client, method, path, version and status."""
        arguments = record.args
        if not isinstance(arguments, tuple) or len(arguments) != 5:
            return True
        return str(arguments[2]).partition("?")[0] not in self._paths

    @asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[None]:
        """Filter the access log while the application runs."""
        access = logging.getLogger("uvicorn.access")
        access.addFilter(self)
        try:
            yield
        finally:
            access.removeFilter(self)
