"""An application for a server process that is terminated: it writes down what reaches it.

In FOLDER, ``received`` has the numbers of the requests, ``acknowledged`` what a job has committed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.types import ASGIApp, Receive, Scope, Send

from fastapi_asyncdb import Database, create_lifespan
from fastapi_asyncdb.errors import DatabaseNotStarted
from tests.support.application import Base, Note

FOLDER = Path(os.environ["FOLDER"])

database = Database(metadata=Base.metadata)
DB = Annotated[AsyncSession, Depends(database.get_db)]


def note(file: str, line: object) -> None:
    """Append a line to a file, which the test reads afterwards."""
    with (FOLDER / file).open("a") as stream:
        print(line, file=stream)


async def job() -> None:
    """Write rows until the database stops, as a worker beside the requests does."""
    for number in count():
        try:
            async with database.session() as session:
                session.add(Note(text=f"job {number}"))
        except DatabaseNotStarted:
            return  # it stops, or has stopped
        note("acknowledged", f"job {number}")
        await asyncio.sleep(0.005)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Start the job; nothing ends it but the stop of the database."""
    app.state.job = asyncio.create_task(job())
    yield


app = FastAPI(
    lifespan=create_lifespan(databases=[database], auto_create_tables=True, lifespan=lifespan)
)


class Received:
    """A middleware that writes down each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note the number in the path, and go on."""
        if scope["type"] == "http":
            note("received", scope["path"].rpartition("/")[2])
        await self._app(scope, receive, send)


app.add_middleware(Received)


@app.post("/notes/{number}", status_code=201)
async def create(number: int, db: DB, background: BackgroundTasks) -> None:
    """Write a row, and another one after the response."""
    db.add(Note(text=f"{number}"))
    await db.flush()
    await asyncio.sleep(0.02)
    background.add_task(after, db, number)


async def after(db: AsyncSession, number: int) -> None:
    """Write in the background."""
    db.add(Note(text=f"after {number}"))
    await db.flush()
