"""This library on one server, and on a primary with its replicas: the routes that tell them apart."""

from typing import Annotated

from fastapi import Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.contenders.registry import Pool
from benchmarks.contenders.routes import add_routes
from fastapi_asyncdb import Database, DatabaseSettings, install_read_your_writes

SLEEP = text("SELECT pg_sleep(:seconds)")
COMPUTE = text("SELECT sum(sqrt(number)) FROM generate_series(1, 25000) AS number")
"""About 5 ms of one core of the server."""


def create_app(urls: str, pool: Pool) -> FastAPI:
    """Return an application with the primary at the first URL, and replicas at the others.

    Args:
        urls: Separated by spaces.
        pool: The limits of the pool of each server.
    """
    return _create(urls, pool)[1]


def create_app_with_read_your_writes(urls: str, pool: Pool) -> FastAPI:
    """Return the same application, whose clients see what they have written."""
    database, app = _create(urls, pool)

    install_read_your_writes(app, secret="a secret of benchmarks", database=database)  # noqa: S106
    return app


def _create(urls: str, pool: Pool) -> tuple[Database, FastAPI]:
    primary, *replicas = urls.split()
    database = Database(
        DatabaseSettings(
            url=primary,
            replica_urls=replicas,
            pool_size=pool.size,
            max_overflow=pool.overflow,
            pool_timeout=pool.timeout,
        )
    )
    app = FastAPI(lifespan=database.lifespan)
    add_routes(app, Depends(database.get_db), Depends(database.get_read_db))
    _add_queries(app, Depends(database.get_read_db))
    return database, app


def _add_queries(app: FastAPI, read: object) -> None:
    @app.get("/sleep/{milliseconds}")
    async def sleep(milliseconds: int, session: Annotated[AsyncSession, read]) -> int:
        await session.execute(SLEEP, {"seconds": milliseconds / 1000})
        return 1

    @app.get("/compute")
    async def compute(session: Annotated[AsyncSession, read]) -> int:
        await session.execute(COMPUTE)
        return 1
