"""A request leaves nothing behind for the garbage collector: memory is free when it is answered."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any
from weakref import ref

import pytest
from fastapi import Depends, FastAPI
from fastapi.requests import HTTPConnection
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, on_commit
from tests.support.application import Base, Note


@pytest.fixture
def _by_references_alone() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def application(database: Database, used: list[Any]) -> FastAPI:
    """Return one whose routes keep weak references to what they use."""
    app = FastAPI()

    def watch(connection: HTTPConnection) -> None:
        used.append(ref(connection))

    writes, reads = Depends(database.get_db), Depends(database.get_read_db)
    watched = [Depends(watch)]

    @app.post("/write", dependencies=watched)
    async def write(db: Annotated[AsyncSession, writes]) -> None:
        used.append(ref(db.sync_session))
        db.add(Note(text="a"))

    @app.post("/hook", dependencies=watched)
    async def hook(db: Annotated[AsyncSession, writes]) -> None:
        used.append(ref(db.sync_session))
        db.add(Note(text="a"))
        on_commit(db, lambda: None)

    @app.post("/delete", dependencies=watched)
    async def delete(db: Annotated[AsyncSession, writes]) -> None:
        used.append(ref(db.sync_session))
        note = Note(text="a")
        db.add(note)
        await db.flush()
        await db.delete(note)

    @app.post("/rollback", dependencies=watched)
    async def rollback(db: Annotated[AsyncSession, writes]) -> None:
        used.append(ref(db.sync_session))
        db.add(Note(text="a"))
        await db.flush()
        await db.rollback()

    @app.post("/read", dependencies=watched)
    async def read(db: Annotated[AsyncSession, reads]) -> int:
        used.append(ref(db.sync_session))
        return len((await db.scalars(select(Note))).all())

    @app.post("/stream", dependencies=watched)
    async def stream(db: Annotated[AsyncSession, reads]) -> StreamingResponse:
        used.append(ref(db.sync_session))

        async def lines() -> AsyncIterator[str]:
            async for note in await db.stream_scalars(select(Note)):
                yield note.text

        return StreamingResponse(lines())

    return app


async def send(app: FastAPI, path: str) -> int:
    """Call an application as a server does, since a client has circles of its own; return the status."""
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": []}
    statuses, requested = list[int](), list[bool]()

    async def receive() -> dict[str, Any]:
        if requested:
            await asyncio.Event().wait()  # the client stays
        requested.append(True)
        return {"type": "http.request"}

    async def receive_back(message: Any) -> None:
        statuses.extend(message[key] for key in ("status",) if key in message)

    await app(scope, receive, receive_back)
    [status] = statuses
    return status


@pytest.mark.usefixtures("_by_references_alone")
@pytest.mark.parametrize("route", ["write", "hook", "delete", "rollback", "read", "stream"])
async def test_a_request_leaves_no_garbage(database: Database, route: str):
    """Its session and all that it had are gone with the answer; an exception has circles of its own."""
    async with database.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    used: list[Any] = []
    app = application(database, used)
    for _ in range(2):  # the first one builds what the application keeps
        used.clear()
        assert await send(app, f"/{route}") == 200
    assert len(used) == 2
    async with asyncio.timeout(10):
        while any(each() is not None for each in used):
            await asyncio.sleep(0.01)  # what runs in the event loop once more lets go of it then
