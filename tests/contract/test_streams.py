"""A stream may use the session; it commits if it ends cleanly, and only then."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

import anyio
import httpx
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import ClientDisconnect

from fastapi_asyncdb import Database
from fastapi_asyncdb.errors import TransactionAborted
from tests.support.application import Note, Request, checked_out, client, eventually, stored
from tests.support.http_server import http_server

pytestmark = pytest.mark.promise("T6")


def streaming_app(database: Database, *, pause: float = 0.0) -> FastAPI:
    """An application whose stream reads, writes, pauses, and writes again."""
    DB = Annotated[AsyncSession, Depends(database.get_db)]
    app = FastAPI()

    async def numbers(db: AsyncSession, *, fail: bool = False) -> AsyncIterator[str]:
        db.add(Note(text="streamed"))
        await db.flush()
        for note in await db.scalars(select(Note).order_by(Note.id)):
            yield f"{note.text}\n"
        if fail:
            raise RuntimeError("bug in the stream")
        await asyncio.sleep(pause)
        yield "end\n"
        db.add(Note(text="last"))

    @app.post("/stream")
    async def stream(db: DB) -> StreamingResponse:
        db.add(Note(text="handler"))
        return StreamingResponse(numbers(db))

    @app.post("/only-stream")
    async def only_stream(db: DB) -> StreamingResponse:
        return StreamingResponse(numbers(db))

    @app.post("/failing")
    async def failing(db: DB) -> StreamingResponse:
        db.add(Note(text="handler"))
        return StreamingResponse(numbers(db, fail=True))

    return app


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_clean_stream_commits_after_the_handler(database: Database, spec_version: str):
    """The handler's work is committed before, the stream's after, in a new transaction."""
    request = Request(streaming_app(database), "/stream", "POST", spec_version)
    await request.run()
    assert request.body == b"handler\nstreamed\nend\n"
    assert await stored(database) == ["handler", "streamed", "last"]


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
async def test_failing_stream_keeps_the_handlers_work_only(database: Database, spec_version: str):
    """An exception in the stream undoes what the stream wrote, not what was acknowledged."""
    request = Request(streaming_app(database), "/failing", "POST", spec_version)
    with pytest.raises(RuntimeError, match="bug in the stream"):
        await request.run()
    assert await stored(database) == ["handler"]


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
@pytest.mark.parametrize("path", ["/stream", "/only-stream"])
async def test_stream_that_the_client_leaves_is_rolled_back(
    database: Database, spec_version: str, path: str
):
    """A client that leaves in the middle undoes the stream's work.

    Below ASGI 2.4 Starlette cancels the stream and then returns as if it had ended.
    """
    request = Request(streaming_app(database, pause=0.05), path, "POST", spec_version)

    async def leave(message: dict[str, Any]) -> None:
        if b"streamed" in message.get("body", b""):
            request.left.set()

    request.on_send = leave
    # Where send() tells, Starlette raises ClientDisconnect.
    with contextlib.suppress(ClientDisconnect):
        await request.run()
    assert b"end" not in request.body
    assert await stored(database) == (["handler"] if path == "/stream" else [])


async def test_stream_cut_while_it_waits_to_send_is_rolled_back(database: Database):
    """The cancellation may hit between two chunks, where the stream itself sees nothing."""
    request = Request(streaming_app(database), "/stream", "POST", "2.3")

    async def block(message: dict[str, Any]) -> None:
        if b"streamed" in message.get("body", b""):
            request.left.set()
            await asyncio.sleep(60)

    request.on_send = block
    await request.run()
    assert await stored(database) == ["handler"]


async def test_objects_only_added_by_a_cut_stream_are_dropped(database: Database):
    """What was added and not yet flushed when the client left is not stored either."""
    app = FastAPI()

    @app.post("/")
    async def endpoint(
        db: Annotated[AsyncSession, Depends(database.get_db)],
    ) -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            db.add(Note(text="unflushed"))
            yield "first"
            await asyncio.sleep(60)

        return StreamingResponse(body())

    request = Request(app, "/", "POST")

    async def leave(message: dict[str, Any]) -> None:
        if message.get("body"):
            request.left.set()

    request.on_send = leave
    await request.run()
    assert await stored(database) == []


async def test_client_that_leaves_over_http_is_rolled_back(database: Database):
    """The same over a real socket, where the server notices that the client is gone."""
    app = streaming_app(database, pause=60)
    async with http_server(app) as address:
        async with (
            httpx.AsyncClient(base_url=f"http://{address}") as http,
            http.stream("POST", "/stream") as response,
        ):
            lines = response.aiter_lines()
            assert [await anext(lines), await anext(lines)] == ["handler", "streamed"]
            assert checked_out(database) == 1
        await eventually(lambda: checked_out(database) == 0)
    assert await stored(database) == ["handler"]


async def test_background_task_after_a_cut_stream_is_told(database: Database):
    """Nothing is written on top of half a stream in silence: the next use raises, once."""
    app = FastAPI()
    errors: list[Exception] = []

    async def afterwards(db: AsyncSession) -> None:
        try:
            await db.scalars(select(Note))
        except TransactionAborted as error:
            errors.append(error)
            await db.rollback()
        db.add(Note(text="afterwards"))

    @app.post("/")
    async def endpoint(
        db: Annotated[AsyncSession, Depends(database.get_db)], tasks: BackgroundTasks
    ) -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            db.add(Note(text="half"))
            await db.flush()
            yield "first"
            await asyncio.sleep(60)

        tasks.add_task(afterwards, db)
        return StreamingResponse(body(), background=tasks)

    request = Request(app, "/", "POST")

    async def leave(message: dict[str, Any]) -> None:
        if message.get("body"):
            request.left.set()

    request.on_send = leave
    await request.run()
    assert "rollback" in str(errors[0])
    assert await stored(database) == ["afterwards"]


async def test_streams_leak_no_connection(database: Database):
    """A hundred streams, one in three left early, and every connection is back."""
    app = streaming_app(database, pause=0.001)

    async def one(number: int) -> None:
        request = Request(app, "/only-stream", "POST")

        async def leave(message: dict[str, Any]) -> None:
            if number % 3 == 0 and message.get("body"):
                request.left.set()

        request.on_send = leave
        await request.run()

    for _ in range(10):
        async with anyio.create_task_group() as group:
            for number in range(10):
                group.start_soon(one, number)
    assert checked_out(database) == 0


async def test_generator_endpoint_uses_the_session(database: Database):
    """An endpoint that yields its items may read and write while it streams."""
    pytest.importorskip("fastapi.sse", reason="generator endpoints came with FastAPI 0.135")
    app = FastAPI()

    @app.post("/")
    async def endpoint(
        db: Annotated[AsyncSession, Depends(database.get_db)],
    ) -> AsyncIterator[str]:
        db.add(Note(text="generated"))
        await db.flush()
        for text in await db.scalars(select(Note.text)):
            yield text

    async with client(app) as http:
        assert (await http.post("/")).text == '"generated"\n'
    assert await stored(database) == ["generated"]


def sse_app(database: Database, *, pause: float) -> FastAPI:
    """Server-sent events, after a dependency that has written."""
    sse = pytest.importorskip("fastapi.sse", reason="server-sent events came with FastAPI 0.135")
    DB = Annotated[AsyncSession, Depends(database.get_db)]
    app = FastAPI()

    async def write(db: DB) -> None:
        db.add(Note(text="dependency"))
        await db.flush()

    @app.post("/", response_class=sse.EventSourceResponse, dependencies=[Depends(write)])
    async def endpoint(db: DB) -> AsyncIterator[str]:
        db.add(Note(text="event"))
        await db.flush()
        for text in await db.scalars(select(Note.text).order_by(Note.id)):
            yield text
        await asyncio.sleep(pause)
        yield "end"
        db.add(Note(text="last"))

    return app


async def test_events_start_while_the_handlers_commit_is_under_way(database: Database):
    """FastAPI starts the event stream before the commit: the stream waits for it."""
    app = sse_app(database, pause=0)
    for _ in range(5):
        request = Request(app, "/", "POST")
        await request.run()
        assert request.status == 200
        assert b"data: " in request.body
        assert b"end" in request.body
    assert await stored(database) == ["dependency", "event", "last"] * 5


async def test_events_that_the_client_leaves_are_rolled_back(database: Database):
    """Events cut off by the client undo their own work, not the acknowledged one."""
    request = Request(sse_app(database, pause=60), "/", "POST")

    async def leave(message: dict[str, Any]) -> None:
        if b"event" in message.get("body", b""):
            request.left.set()

    request.on_send = leave
    await request.run()
    assert await stored(database) == ["dependency"]


async def test_event_added_during_the_commit_and_then_cut_off_is_dropped(database: Database):
    """What a stream adds while the handler's commit is under way is not part of that commit."""
    sse = pytest.importorskip("fastapi.sse", reason="server-sent events came with FastAPI 0.135")
    DB = Annotated[AsyncSession, Depends(database.get_db)]
    app = FastAPI()

    async def write(db: DB) -> None:
        db.add(Note(text="dependency"))
        await db.flush()

    @app.post("/", response_class=sse.EventSourceResponse, dependencies=[Depends(write)])
    async def endpoint(db: DB) -> AsyncIterator[str]:
        db.add(Note(text="event"))
        yield "first"
        await asyncio.sleep(60)

    request = Request(app, "/", "POST")

    async def leave(message: dict[str, Any]) -> None:
        if b"first" in message.get("body", b""):
            request.left.set()

    request.on_send = leave
    await request.run()
    assert await stored(database) == ["dependency"]
