"""Streams of answers, in the handlers of an application."""

import json
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from pydantic import BaseModel
from sqlalchemy import MetaData, select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import StreamingResponse

from fastapi_asyncdb import Database, answer
from fastapi_asyncdb.testing import sandbox
from tests.support.application import Base, Note, running

NUMBERS = range(1, 1201)
"""More rows than a batch has."""


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


class NoteOut(BaseModel):
    id: int
    text: str


def application(database: Database) -> FastAPI:
    """Return an application that streams notes by each kind of session."""
    app = FastAPI(lifespan=database.lifespan)
    dependencies = {
        "read": database.get_read_db,
        "write": database.get_db,
        "snapshot": database.get_snapshot_db,
    }
    for name, dependency in dependencies.items():

        @app.get(f"/{name}")
        async def notes(db: Annotated[AsyncSession, Depends(dependency)]) -> StreamingResponse:
            return await answer.stream(db, select(Note).order_by(Note.id), NoteOut)

    @app.post("/write")
    async def write(db: Annotated[AsyncSession, Depends(database.get_db)]) -> StreamingResponse:
        db.add(Note(id=5000, text="of the handler"))
        return await answer.stream(db, select(Note).where(Note.id == 5000), NoteOut, format="json")

    return app


async def fill(session: AsyncSession) -> None:
    """Store the notes."""
    session.add_all([Note(id=number, text=f"note {number}") for number in NUMBERS])
    await session.flush()


@pytest.mark.parametrize("kind", ["read", "write", "snapshot"])
async def test_a_stream_is_whole_whatever_the_session(database: Database, kind: str):
    """The commit of the handler would close a cursor that was opened before it."""
    async with database.session() as session:
        await fill(session)
    async with running(application(database)) as client:
        lines = (await client.get(f"/{kind}")).text.splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(NUMBERS)
    assert database.pool_status().in_use == 0


@pytest.mark.parametrize("kind", ["read", "write", "snapshot"])
async def test_a_stream_in_a_sandbox_is_whole(database: Database, kind: str):
    """There the commit of the handler is none."""
    async with running(application(database)) as client, sandbox(database) as session:
        await fill(session)
        await session.commit()
        lines = (await client.get(f"/{kind}")).text.splitlines()
    assert [json.loads(line)["id"] for line in lines] == list(NUMBERS)


async def test_a_stream_has_what_its_handler_has_written(database: Database):
    """It is committed before the first row."""
    async with running(application(database)) as client:
        sent = (await client.post("/write")).json()
    assert sent == [{"id": 5000, "text": "of the handler"}]
