"""``health_router``: routes that tell an orchestrator whether the process lives and can serve."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from os import PathLike
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request, Response, status
from fastapi.responses import JSONResponse

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.default import default_database
from fastapi_asyncdb.engine.probe import Check
from fastapi_asyncdb.engine.seam import runs_of
from fastapi_asyncdb.errors import AsyncDBError
from fastapi_asyncdb.unavailable import OutageLog


def health_router(
    *databases: Database[Any],
    prefix: str = "/health",
    timeout: float = 2.0,
    migrations: str | PathLike[str] | None = None,
    access_log: bool = True,
) -> APIRouter:
    """Make a router with the routes ``/health/live`` and ``/health/ready``.

    ``live`` answers 200 as long as the event loop runs: it uses no database. ``ready`` answers 503 when
    a database does not answer in time, lacks migrations, or is being stopped. It sends its query on a
    connection outside of the pool, and probes at the same time share one query. The cause is logged, and
    is not in the body. Dependencies of the application do not apply.

    Args:
        *databases: Those that the application cannot work without; by default ``default_database``.
        prefix: The path before ``/live`` and ``/ready``.
        timeout: Seconds that ``ready`` waits for each database. Choose less than the orchestrator waits.
        migrations: The path of the project's ``pyproject.toml`` or ``alembic.ini``: ``ready`` answers
            503 while the first database lacks a migration.
        access_log: ``False`` leaves both routes out of uvicorn's access log.

    Returns:
        The router, for ``app.include_router()``.

    Raises:
        ConfigurationError: the migrations cannot be read.
    """
    first, *others = databases or (default_database,)
    check = None if migrations is None else _pending_migrations(migrations)
    checks = [(first, check), *((database, None) for database in others)]
    hidden, outages = _HiddenPaths(), OutageLog()

    async def live(request: Request) -> Response:
        hidden.add(request)
        return _answer(ok=True)

    async def ready(request: Request) -> Response:
        hidden.add(request)
        failures = await _failures(checks, timeout)
        for failure in failures:
            outages.add(failure)
        return _answer(ok=not failures)

    router = APIRouter(lifespan=None if access_log else hidden.lifespan)
    # Starlette's routes: a dependency of the application, for authentication say, may use the database.
    for name, endpoint in {"live": live, "ready": ready}.items():
        router.add_route(f"{prefix}/{name}", endpoint, include_in_schema=False)
    return router


def _pending_migrations(file: str | PathLike[str]) -> Check:
    # Imported late: Alembic takes long to import, and most applications do not check.
    from fastapi_asyncdb.migrations.revisions import pending_migrations

    return pending_migrations(file)


async def _failures(
    checks: Sequence[tuple[Database[Any], Check | None]], seconds: float
) -> list[AsyncDBError]:
    """Ping the databases side by side; return why some are not ready."""
    pings = (runs_of(database).ping(seconds, check) for database, check in checks)
    outcomes = await asyncio.gather(*pings, return_exceptions=True)
    failures: list[AsyncDBError] = []
    for outcome in outcomes:
        if isinstance(outcome, AsyncDBError):
            failures.append(outcome)
        elif isinstance(outcome, BaseException):
            raise outcome
    return failures


def _answer(*, ok: bool) -> Response:
    return JSONResponse(
        {"status": "ok" if ok else "unavailable"},
        status.HTTP_200_OK if ok else status.HTTP_503_SERVICE_UNAVAILABLE,
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
