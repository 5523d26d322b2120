"""The ``get_db`` of tutorials: a session for each request, committed after the ``yield``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from benchmarks.contenders.registry import Pool
from benchmarks.contenders.routes import add_routes


def create_app(url: str, pool: Pool) -> FastAPI:
    """Return the application, with ``pool_pre_ping`` as production needs it."""
    return _create_app(url, pool, pool_pre_ping=True)


def create_app_without_ping(url: str, pool: Pool) -> FastAPI:
    """Return the application with a pool that hands out dead connections."""
    return _create_app(url, pool)


def _create_app(url: str, pool: Pool, **options: Any) -> FastAPI:
    engine = create_async_engine(
        url,
        pool_size=pool.size,
        max_overflow=pool.overflow,
        pool_timeout=pool.timeout,
        **options,
    )
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    async def get_db() -> AsyncIterator[AsyncSession]:
        async with sessions() as session:
            try:
                yield session
                await session.commit()
            except Exception:
                await session.rollback()
                raise

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)
    add_routes(app, Depends(get_db), Depends(get_db))
    return app
