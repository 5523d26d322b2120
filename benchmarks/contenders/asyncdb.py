"""This library: ``DB`` for routes that write, ``ReadDB`` for routes that read."""

from fastapi import Depends, FastAPI

from benchmarks.contenders.registry import Pool
from benchmarks.contenders.routes import add_routes
from fastapi_asyncdb import Database, DatabaseSettings


def create_app(url: str, pool: Pool) -> FastAPI:
    """Return the application as the documentation recommends it."""
    database = _create_database(url, pool)
    app = FastAPI(lifespan=database.lifespan)
    add_routes(app, Depends(database.get_db), Depends(database.get_read_db))
    return app


def create_app_without_read_db(url: str, pool: Pool) -> FastAPI:
    """Return an application that uses ``DB`` for everything."""
    database = _create_database(url, pool)
    app = FastAPI(lifespan=database.lifespan)
    add_routes(app, Depends(database.get_db), Depends(database.get_db))
    return app


def _create_database(url: str, pool: Pool) -> Database:
    return Database(
        DatabaseSettings(
            url=url,
            pool_size=pool.size,
            max_overflow=pool.overflow,
            pool_timeout=pool.timeout,
            max_waiting=pool.max_waiting,
        )
    )
