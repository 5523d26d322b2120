"""asyncpg alone, with no ORM and no session: the limit of what a library can reach."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import asyncpg
from fastapi import Depends, FastAPI, Request
from fastapi.responses import StreamingResponse

from benchmarks.contenders.registry import Pool
from benchmarks.contenders.routes import INTERVAL

READ = "SELECT id, name FROM benchmark_item WHERE id = $1"
WRITE = "INSERT INTO benchmark_item (name) VALUES ($1) RETURNING id"


async def get_pool(request: Request) -> asyncpg.Pool:
    """Return the pool of the application."""
    return request.app.state.pool


Connections = Annotated[asyncpg.Pool, Depends(get_pool)]


def create_app(url: str, pool: Pool) -> FastAPI:
    """Return the application."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        dsn = url.replace("+asyncpg", "")
        limit = pool.size + pool.overflow
        async with asyncpg.create_pool(dsn, min_size=pool.size, max_size=limit) as app.state.pool:
            yield

    app = FastAPI(lifespan=lifespan)
    add_routes(app, pool)
    return app


def add_routes(app: FastAPI, limits: Pool) -> None:
    """Add the routes of the others, written for asyncpg."""

    @app.get("/nothing")
    async def nothing(pool: Connections) -> int:
        return 1

    @app.get("/items/{number}")
    async def read_item(number: int, pool: Connections) -> str:
        async with pool.acquire(timeout=limits.timeout) as connection:
            name: str = (await connection.fetchrow(READ, number))["name"]
            return name

    @app.post("/items", status_code=201)
    async def write_item(pool: Connections) -> int:
        async with pool.acquire(timeout=limits.timeout) as connection, connection.transaction():
            number: int = await connection.fetchval(WRITE, "name")
            return number

    @app.get("/slow")
    async def slow(pool: Connections) -> int:
        async with pool.acquire(timeout=limits.timeout) as connection:
            await connection.execute("SELECT pg_sleep(0.02)")
        return 1

    @app.get("/stream")
    async def stream(pool: Connections) -> StreamingResponse:
        return StreamingResponse(events(pool, limits.timeout), media_type="text/event-stream")


async def events(pool: asyncpg.Pool, timeout: float) -> AsyncIterator[str]:  # noqa: ASYNC109 - asyncpg's
    """Query once a second, with a connection for each query."""
    while True:
        async with pool.acquire(timeout=timeout) as connection:
            await connection.fetchval("SELECT 1")
        yield "data: 1\n\n"
        await asyncio.sleep(INTERVAL)
