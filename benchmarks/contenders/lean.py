"""Dependencies that do less than any application needs: what there is to gain for this library."""

from collections.abc import AsyncIterator
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.requests import HTTPConnection
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.contenders.registry import Pool
from benchmarks.contenders.textbook import Sessions, create_plain_app


def create_leanest(url: str, pool: Pool) -> FastAPI:
    """Return an application with the shortest dependency that gives its connection back."""

    def dependency(sessions: Sessions) -> Any:
        async def get_db() -> AsyncIterator[AsyncSession]:
            async with sessions() as session:
                yield session
                await session.commit()

        return get_db

    return create_plain_app(url, pool, dependency)


def create_three_layers(url: str, pool: Pool) -> FastAPI:
    """Return an application with the dependencies of this library, without what guards them."""

    def dependency(sessions: Sessions) -> Any:
        async def request_session(connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
            async with sessions() as session:
                yield session

        async def handler_transaction(
            connection: HTTPConnection, session: AsyncSession = Depends(request_session)
        ) -> AsyncIterator[AsyncSession]:
            yield session
            if session.in_transaction():
                await session.commit()

        async def get_db(
            session: AsyncSession = Depends(handler_transaction, scope="function"),
        ) -> AsyncSession:
            return session

        return get_db

    return create_plain_app(url, pool, dependency)
