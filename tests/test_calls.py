"""The calls of the library around a statement and in a request: they are counted, not timed."""

import asyncio
import sys
from collections import Counter
from contextvars import Context
from itertools import pairwise
from types import FrameType
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import (
    Database,
    DatabaseSettings,
    install_error_handlers,
    install_read_your_writes,
)
from fastapi_asyncdb.engine.seam import runs_of
from tests.support.application import Base, Note, Request

RUN = "dialects.calls", "_in_steps.<locals>.run"
BEGIN = "dialects.deadlines", "Deadlines.begin"
REFUSE = "engine.read_only", "refuse_write"
FIRST = "dialects.postgresql.first_statement", "BeginningCursor._execute_gen"


def calls_of_a_statement(connection: Connection) -> Counter[tuple[str, str]]:
    """Return the library's functions that one statement calls, when all caches are warm."""
    found: Counter[tuple[str, str]] = Counter()

    def profile(frame: FrameType, event: str, argument: object) -> None:
        package, _, module = frame.f_globals.get("__name__", "").partition(".")
        if event == "call" and package == "fastapi_asyncdb":
            found[module, frame.f_code.co_qualname] += 1

    statement = text("SELECT 1")
    for _ in range(3):
        connection.execute(statement).all()
    sys.setprofile(profile)
    try:
        connection.execute(statement)
    finally:
        sys.setprofile(None)
    return found


@pytest.mark.parametrize(
    ("engine", "statement_timeout", "calls"),
    [
        ("engine", None, [RUN, FIRST]),
        ("read_engine", None, [RUN, REFUSE, FIRST]),
        ("engine", 60, [RUN, BEGIN, FIRST]),
        ("read_engine", 60, [RUN, REFUSE, BEGIN, FIRST]),
    ],
)
async def test_statement_runs_the_steps_that_it_needs(
    worker_database: str, engine: str, statement_timeout: float | None, calls: list[tuple[str, str]]
):
    """One call runs all steps, and psycopg has one: a step without need costs none."""
    url = worker_database.replace("://", "+psycopg://", 1)
    database = Database(DatabaseSettings(url=url, statement_timeout=statement_timeout))
    async with database, getattr(database, engine).connect() as connection:
        assert await connection.run_sync(calls_of_a_statement) == Counter(calls)


async def test_errors_have_one_listener(database: Database):
    """Whose steps have a written order, instead of that in which modules happen to listen."""
    engines = runs_of(database).required()
    for engine in {engines.write, engines.read}:
        assert len(list(engine.dialect.dispatch.handle_error)) == 1


# --- A request ------------------------------------------------------------------------------------


class Trace:
    """The library's functions that are called in a request, in order: each frame once."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.end_of_handler = self.commit = 0
        self._frames: dict[int, FrameType] = {}

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """Note a call, and the driver's COMMIT."""
        package, _, module = frame.f_globals.get("__name__", "").partition(".")
        # A coroutine that goes on is called again, in the same frame.
        if event != "call" or id(frame) in self._frames:
            return
        if package == "fastapi_asyncdb":
            self._frames[id(frame)] = frame
            self.calls.append((module, frame.f_code.co_qualname))
        elif package == "sqlalchemy" and frame.f_code.co_qualname.endswith("connection.commit"):
            self.commit = self.commit or len(self.calls)


async def traced(app: FastAPI, trace: Trace) -> None:
    """Call the application as a server does: each request in a task and a context of its own."""
    request = Request(app, "/")
    sys.setprofile(trace)
    try:
        await asyncio.create_task(request.run(), context=Context())
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize("handlers", [False, True])
async def test_request_that_inserts(worker_database: str, handlers: bool):
    """At most 60 calls; at most 10, in 6 modules, from the end of the handler to the driver's COMMIT.

    Error handlers add none.
    """
    database = Database(DatabaseSettings(url=worker_database.replace("://", "+asyncpg://", 1)))
    app, trace = FastAPI(), Trace()
    if handlers:
        install_error_handlers(app)

    @app.get("/")
    async def write(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        db.add(Note(text="counted"))
        await db.flush()
        trace.end_of_handler = len(trace.calls)

    async with database:
        await database.start(create_tables=Base.metadata)
        for _ in range(3):
            await traced(app, trace := Trace())
        await database.stop()
    assert len(trace.calls) <= 60, trace.calls
    ending = trace.calls[trace.end_of_handler : trace.commit]
    assert 0 < len(ending) <= 10, ending
    changes = [(one, other) for (one, _), (other, _) in pairwise(ending) if one != other]
    assert len(changes) <= 5, changes


async def test_request_with_read_your_writes():
    """Without replicas the middleware costs at most four calls."""
    database, app, trace = Database(), FastAPI(), Trace()
    install_read_your_writes(app, database=database, secret="s" * 16)

    @app.get("/")
    async def answer() -> None: ...

    await traced(app, Trace())
    await traced(app, trace)
    assert len(trace.calls) <= 4, trace.calls
