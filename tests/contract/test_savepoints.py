"""Savepoints work on every database."""

from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database
from tests.support.application import Note, client, stored

pytestmark = pytest.mark.promise("T13")


async def test_savepoint_undoes_its_own_work_only(database: Database):
    """What fails inside begin_nested() is undone, what came before and after stays."""
    app = FastAPI()

    @app.post("/")
    async def endpoint(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        db.add(Note(id=1, text="before"))
        await db.flush()
        with pytest.raises(IntegrityError):
            async with db.begin_nested():
                db.add(Note(id=2, text="inside"))
                await db.flush()
                db.add(Note(id=1, text="twice"))
        async with db.begin_nested():
            db.add(Note(id=3, text="after"))

    async with client(app) as http:
        assert (await http.post("/")).status_code == 200
    assert await stored(database) == ["before", "after"]


async def test_released_savepoint_goes_with_the_outer_rollback(database: Database):
    """A savepoint that succeeded is still part of its transaction."""
    with pytest.raises(RuntimeError):
        async with database.session() as session:
            async with session.begin_nested():
                session.add(Note(text="inside"))
            raise RuntimeError
    assert await stored(database) == []
