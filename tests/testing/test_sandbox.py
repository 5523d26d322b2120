"""In a sandbox everything happens as in production, and nothing stays."""

import asyncio
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.exc import IntegrityError

from fastapi_asyncdb import Database, DatabaseSettings, on_commit
from fastapi_asyncdb.testing import sandbox
from tests.contract.support import Base, Note, Reply, client, stored


@pytest.fixture
async def database(database_url: str):
    database = Database(DatabaseSettings(url=database_url))
    await database.start(create_tables=Base.metadata)
    async with database.session() as session:
        session.add(Note(text="before"))
    yield database
    assert await stored(database) == ["before"]
    await database.stop()


async def test_nothing_stays(database: Database):
    async with sandbox(database) as session:
        session.add(Note(text="own"))
        await session.commit()
        async with database.session() as other:
            other.add(Note(text="other"))
        assert await stored(database) == ["before", "own", "other"]
        with pytest.raises(ZeroDivisionError):
            async with database.session() as other:
                other.add(Note(text="failed"))
                await other.flush()
                1 / 0
        assert await stored(database) == ["before", "own", "other"]
        done = []
        async with database.session() as other:
            on_commit(other, done.append, "hook")
            other.add(Note(text="third"))
            await other.commit()
            assert done == ["hook"]
            other.add(Note(text="fourth"))
            await other.rollback()
        assert await stored(database) == ["before", "own", "other", "third"]
        with pytest.raises(IntegrityError):
            async with database.session() as other:
                other.add(Reply(note_id=99))
        assert await stored(database) == ["before", "own", "other", "third"]


async def test_concurrent(database: Database):
    app = FastAPI()

    @app.post("/{name}")
    async def write(
        name: str,
        db: Annotated[AsyncSession, Depends(database.get_db)],
        r: Annotated[AsyncSession, Depends(database.get_read_db)],
    ):
        db.add(Note(text=name))
        await db.flush()
        await asyncio.sleep(0.01)
        await r.scalars(select(Note))
        async with database.session() as s:
            s.add(Note(text=name + "x"))
        if name == "3":
            1 / 0

    async with sandbox(database), client(app) as http:
        r = await asyncio.gather(*(http.post(f"/{n}") for n in range(6)))
        print([x.status_code for x in r])
        print(await stored(database))
        assert len(await stored(database)) == 11
