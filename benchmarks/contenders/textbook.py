"""The ``get_db`` of tutorials: a session for each request, committed after the ``yield``."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from benchmarks.contenders.registry import Pool
from benchmarks.contenders.routes import add_routes

Sessions = async_sessionmaker[AsyncSession]


def create_app(url: str, pool: Pool) -> FastAPI:
    """Return the application, with ``pool_pre_ping`` as production needs it."""
    return create_plain_app(url, pool, _dependency, pool_pre_ping=True)


def create_app_without_ping(url: str, pool: Pool) -> FastAPI:
    """Return the application with a pool that hands out dead connections."""
    return create_plain_app(url, pool, _dependency)


def _dependency(sessions: Sessions) -> Any:
    async def get_db() -> AsyncIterator[AsyncSession]:
        async with sessions() as session:
            try:
                yield session
                await session.commit()
            except Exception:
                await session.rollback()
                raise

    return get_db


def create_plain_app(
    url: str, pool: Pool, dependency: Callable[[Sessions], Any], **options: Any
) -> FastAPI:
    """Return an application on an engine of its own.

    Args:
        url: Of the database.
        pool: The limits of the pool.
        dependency: Returns the ``get_db`` that uses the sessions of the engine.
        **options: Of ``create_async_engine``.
    """
    engine = create_async_engine(
        url,
        pool_size=pool.size,
        max_overflow=pool.overflow,
        pool_timeout=pool.timeout,
        **options,
    )
    get_db = dependency(async_sessionmaker(engine, expire_on_commit=False))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)
    add_routes(app, Depends(get_db), Depends(get_db))
    return app
