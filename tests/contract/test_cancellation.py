"""A request cancelled while it commits or rolls back. Other moments are in tests/faults/."""

import asyncio
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database
from tests.support.application import Note, Request, checked_out, stored
from tests.support.cancelling import Cancellable, pause

pytestmark = pytest.mark.promise("T10")


@pytest.mark.parametrize("how", ["task", "scope"])
@pytest.mark.parametrize(("ending", "rows"), [("commit", ["written"]), ("rollback", [])])
async def test_end_that_is_under_way_is_finished(
    database: Database, how: str, ending: str, rows: list[str]
):
    """The commit or rollback comes to its end, and the connection goes back alive."""
    app = FastAPI()

    @app.post("/")
    async def write(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        db.add(Note(text="written"))
        await db.flush()
        if ending == "rollback":
            raise HTTPException(409)

    closed: list[object] = []
    event.listen(database.engine.sync_engine, "close", lambda *_: closed.append(_))
    under_way = pause(database, ending)
    request = Cancellable(Request(app, "/", "POST").run, how)
    request.start()
    await asyncio.wait_for(under_way.wait(), 5)
    await request.cancel()
    assert await stored(database) == rows
    assert checked_out(database) == 0
    assert closed == []
