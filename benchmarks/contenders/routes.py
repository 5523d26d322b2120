"""The routes, the same for every contender with a session of SQLAlchemy."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.contenders.items import Item
from benchmarks.contenders.posts import add_posts

INTERVAL = 1.0
"""Seconds between two queries of a stream."""

Opener = Callable[[], AbstractAsyncContextManager[AsyncSession]]


def add_routes(app: FastAPI, write: Any, read: Any, open_session: Opener | None = None) -> None:
    """Add the routes to an application.

    Args:
        app: The application of a contender.
        write: ``Depends(...)`` with the session of routes that write.
        read: Likewise of routes that read.
        open_session: Opens the session of a stream, where the contender's documentation says that
            the session of the request cannot be used in one.
    """

    @app.get("/nothing")
    async def nothing(session: Annotated[AsyncSession, write]) -> int:
        return 1

    @app.get("/items/{number}")
    async def read_item(number: int, session: Annotated[AsyncSession, read]) -> str:
        return (await session.scalars(select(Item).where(Item.id == number))).one().name

    @app.post("/items", status_code=201)
    async def write_item(session: Annotated[AsyncSession, write]) -> int:
        item = Item(name="name")
        session.add(item)
        await session.flush()
        return item.id

    @app.get("/slow")
    async def slow(session: Annotated[AsyncSession, read]) -> int:
        await session.execute(text("SELECT pg_sleep(0.02)"))
        return 1

    if open_session is None:

        @app.get("/stream")
        async def stream(
            session: Annotated[AsyncSession, read], *, commit: bool = False
        ) -> StreamingResponse:
            return StreamingResponse(events(session, commit=commit), media_type="text/event-stream")

    else:

        @app.get("/stream")
        async def stream_with_its_own_session(*, commit: bool = False) -> StreamingResponse:
            body = events_of_its_own(open_session, commit=commit)
            return StreamingResponse(body, media_type="text/event-stream")

    add_posts(app, read)


async def events(session: AsyncSession, *, commit: bool) -> AsyncIterator[str]:
    """Query once a second, without an end."""
    while True:
        await session.execute(text("SELECT 1"))
        if commit:
            await session.commit()
        yield "data: 1\n\n"
        await asyncio.sleep(INTERVAL)


async def events_of_its_own(open_session: Opener, *, commit: bool) -> AsyncIterator[str]:
    """Query likewise, with a session that the stream opens."""
    async with open_session() as session:
        async for event in events(session, commit=commit):
            yield event
