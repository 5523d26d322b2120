"""asyncpg alone, with statements by hand that build the JSON: what an answer costs at least."""

from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import StreamingResponse

from benchmarks.contenders import raw_asyncpg
from benchmarks.contenders.posts import BATCH, PAGE
from benchmarks.contenders.raw_asyncpg import Connections
from benchmarks.contenders.registry import Pool

TIME = """to_char({0} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS {0}"""
TIMES = f"{TIME.format('created_at')}, {TIME.format('published_at')}"
COLUMNS = f"id, title, summary, status, views, {TIMES}, author_id"
RELATIONS = """
    (SELECT row_to_json(a) FROM benchmark_author a WHERE a.id = p.author_id) AS author,
    (SELECT json_agg(t ORDER BY t.id) FROM benchmark_tag t
     JOIN benchmark_post_tag ON tag_id = t.id AND post_id = p.id) AS tags"""
POSTS = f"SELECT {COLUMNS} FROM benchmark_post"  # noqa: S608 - no value of others
FULL_POSTS = f"SELECT {COLUMNS}, {RELATIONS} FROM benchmark_post p"  # noqa: S608 - likewise
ONE = f"SELECT row_to_json(p) FROM ({POSTS} WHERE id = $1) p"  # noqa: S608 - likewise
LIST = f"SELECT json_agg(p) FROM ({POSTS} ORDER BY id LIMIT {PAGE}) p"  # noqa: S608 - likewise
FULL = f"SELECT json_agg(p) FROM ({FULL_POSTS} ORDER BY id LIMIT {PAGE}) p"  # noqa: S608 - likewise
STREAM = f"SELECT row_to_json(p) FROM ({POSTS} ORDER BY id) p"  # noqa: S608 - likewise


def create_app(url: str, pool: Pool) -> FastAPI:
    """Return the application."""
    app = raw_asyncpg.create_app(url, pool)

    async def document(pool: Connections, query: str, *values: Any) -> Response:
        async with pool.acquire() as connection:
            text = await connection.fetchval(query, *values)
        return Response(text, media_type="application/json")

    @app.get("/posts/{number}")
    async def read_post(number: int, pool: Connections) -> Response:
        return await document(pool, ONE, number)

    @app.get("/posts")
    async def list_posts(pool: Connections) -> Response:
        return await document(pool, LIST)

    @app.get("/full-posts")
    async def list_full_posts(pool: Connections) -> Response:
        return await document(pool, FULL)

    @app.get("/all-posts")
    async def stream_posts(pool: Connections) -> StreamingResponse:
        return StreamingResponse(lines(pool), media_type="application/x-ndjson")

    return app


async def lines(pool: Any) -> AsyncIterator[str]:
    """Yield the JSON of so many rows at a time."""
    async with pool.acquire() as connection, connection.transaction():
        cursor = await connection.cursor(STREAM)
        while rows := await cursor.fetch(BATCH):
            yield "".join(f"{text}\n" for (text,) in rows)
