"""This library with ``answer``: the database builds the JSON."""

from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy.ext.asyncio import AsyncSession

from benchmarks.contenders.posts import (
    BATCH,
    FullPostOut,
    PostOut,
    all_posts,
    first_posts,
    post_of,
)
from benchmarks.contenders.registry import Pool
from fastapi_asyncdb import Answer, Database, DatabaseSettings, answer


def create_app(url: str, pool: Pool) -> FastAPI:
    """Return an application with the routes of ``posts``, and nothing else."""
    database = Database(
        DatabaseSettings(
            url=url, pool_size=pool.size, max_overflow=pool.overflow, pool_timeout=pool.timeout
        )
    )
    app = FastAPI(lifespan=database.lifespan)
    read = Depends(database.get_read_db)

    @app.get("/posts/{number}")
    async def read_post(number: int, session: Annotated[AsyncSession, read]) -> Answer[PostOut]:
        return await answer(session, post_of(number), PostOut)

    @app.get("/posts")
    async def list_posts(session: Annotated[AsyncSession, read]) -> Answer[list[PostOut]]:
        return await answer(session, first_posts(), list[PostOut])

    @app.get("/full-posts")
    async def list_full_posts(session: Annotated[AsyncSession, read]) -> Answer[list[FullPostOut]]:
        return await answer(session, first_posts(), list[FullPostOut])

    @app.get("/all-posts")
    async def stream_posts(session: Annotated[AsyncSession, read]) -> StreamingResponse:
        return await answer.stream(session, all_posts(), PostOut, batch_size=BATCH)

    return app
