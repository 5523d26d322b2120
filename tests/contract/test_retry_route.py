"""A route that asks for it runs again after a conflict, and its code knows nothing of it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings, RetryRoute, on_commit
from fastapi_asyncdb.dependencies import CONFLICT as SCOPE_KEY
from fastapi_asyncdb.errors import ConfigurationError
from tests.support.application import Base, Counter, Note, client, stored
from tests.support.application import Request as SpokenRequest

# What PostgreSQL says when it cannot serialize; SQLite never has to.
CONFLICT = text("DO $$ BEGIN RAISE EXCEPTION 'conflict' USING ERRCODE = '40001'; END $$")


class Patient(RetryRoute):
    """Many writers on few rows."""

    attempts = 100
    deadline = None


class Brief(RetryRoute):
    """Three attempts."""

    attempts = 3


class Hurried(RetryRoute):
    """No time for a second attempt."""

    deadline = 0


class Move(BaseModel):
    source: int
    target: int


async def test_concurrent_serializable_transfers_all_succeed(database: Database):
    """32 at once on three accounts: no client sees a conflict, and no cent is lost."""
    level = database.dependency(isolation_level="SERIALIZABLE")
    router = APIRouter(route_class=Patient)

    @router.post("/transfers")
    async def transfer(move: Move, db: Annotated[AsyncSession, Depends(level)]) -> None:
        source = await db.get_one(Counter, move.source)
        target = await db.get_one(Counter, move.target)
        source.value -= 1
        target.value += 1

    app = FastAPI()
    app.include_router(router)
    async with database.session() as session:
        session.add_all([Counter(id=number, value=100) for number in (1, 2, 3)])
    async with client(app) as http:
        moves = [{"source": n % 3 + 1, "target": (n + 1) % 3 + 1} for n in range(32)]
        responses = await asyncio.gather(
            *(http.post("/transfers", json=move, timeout=50) for move in moves)
        )
    assert {response.status_code for response in responses} == {200}
    async with database.read_session() as session:
        assert await session.scalar(select(func.sum(Counter.value))) == 300


def conflicting_app(
    database: Database,
    *,
    conflicts: int,
    seen: dict[str, Any],
    route_class: type[RetryRoute] = Brief,
    dependencies: Sequence[Any] = (),
) -> FastAPI:
    """An application whose first attempts meet a conflict."""
    router = APIRouter(route_class=route_class, dependencies=dependencies)
    seen |= {"attempts": 0, "bodies": [], "hooks": 0, "tasks": 0}

    def count(what: str) -> None:
        seen[what] += 1

    @router.post("/notes", status_code=201)
    async def create(
        request: Request,
        db: Annotated[AsyncSession, Depends(database.get_db)],
        tasks: BackgroundTasks,
    ) -> None:
        seen["attempts"] += 1
        seen["bodies"].append(await request.body())
        tasks.add_task(count, "tasks")
        on_commit(db, count, "hooks")
        db.add(Note(text=str(seen["attempts"])))
        await db.flush()
        if seen["attempts"] <= conflicts:
            await db.execute(CONFLICT)

    app = FastAPI()
    app.include_router(router)
    return app


@pytest.fixture
async def postgresql(postgres_url: str) -> AsyncIterator[Database]:
    """PostgreSQL, which can be made to report a conflict; SQLite's writers never have one."""
    database = Database(DatabaseSettings(url=postgres_url))
    await database.start(create_tables=Base.metadata)
    yield database
    await database.stop()


async def test_attempt_that_failed_leaves_nothing(postgresql: Database):
    """The body is kept; rows, hooks and background tasks of the lost attempts are not."""
    seen: dict[str, Any] = {}
    async with client(conflicting_app(postgresql, conflicts=2, seen=seen)) as http:
        assert (await http.post("/notes", content=b"body")).status_code == 201
    assert seen == {"attempts": 3, "bodies": [b"body"] * 3, "hooks": 1, "tasks": 1}
    assert await stored(postgresql) == ["3"]


async def test_handler_of_the_application_answers_the_last_failure_only(postgresql: Database):
    """An exception handler for database errors does not see the conflicts that were cured."""
    seen: dict[str, Any] = {}
    app = conflicting_app(postgresql, conflicts=1, seen=seen)

    @app.exception_handler(DBAPIError)
    async def answer(request: Request, error: DBAPIError) -> JSONResponse:
        return JSONResponse({}, status_code=503)

    async with client(app) as http:
        assert (await http.post("/notes")).status_code == 201
        seen["attempts"] = -1000
        assert (await http.post("/notes")).status_code == 503
    assert seen["attempts"] == -1000 + Brief.attempts


async def test_attempts_wait_longer_each_time(
    postgresql: Database, monkeypatch: pytest.MonkeyPatch
):
    """A request that met a conflict lets the other one finish: up to 0.05 s, then up to 0.1 s."""
    monkeypatch.setattr("fastapi_asyncdb.concurrency.random.uniform", lambda low, high: high)
    started = time.monotonic()
    async with client(conflicting_app(postgresql, conflicts=2, seen={})) as http:
        assert (await http.post("/notes")).status_code == 201
    assert time.monotonic() - started > 0.15


async def test_no_attempt_starts_after_the_deadline(postgresql: Database):
    """Past it, the conflict is an error like any other."""
    seen: dict[str, Any] = {}
    app = conflicting_app(postgresql, conflicts=1, seen=seen, route_class=Hurried)
    async with client(app) as http:
        assert (await http.post("/notes")).status_code == 500
    assert seen["attempts"] == 1


async def test_cancelled_request_is_not_run_again(postgresql: Database):
    """A cancellation during the answer to a conflict is passed on."""
    seen: dict[str, Any] = {}
    app = conflicting_app(postgresql, conflicts=9, seen=seen)
    answering = asyncio.Event()

    @app.exception_handler(DBAPIError)
    async def answer(request: Request, error: DBAPIError) -> None:
        answering.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(SpokenRequest(app, "/notes", "POST").run())
    await answering.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen["attempts"] == 1


async def test_dependency_that_has_its_own_word_for_failures_prevents_nothing(
    postgresql: Database,
):
    """What becomes of the answer that is held back does not matter: the conflict decides."""

    async def translate() -> AsyncIterator[None]:
        try:
            yield
        except Exception as error:
            raise RuntimeError("something failed") from error

    seen: dict[str, Any] = {}
    app = conflicting_app(postgresql, conflicts=2, seen=seen, dependencies=[Depends(translate)])

    @app.exception_handler(DBAPIError)
    async def answer(request: Request, error: DBAPIError) -> JSONResponse:
        return JSONResponse({}, status_code=503)

    async with client(app) as http:
        assert (await http.post("/notes")).status_code == 201
    assert seen["attempts"] == 3


async def test_body_in_pieces_is_replayed_from_its_first(postgresql: Database):
    """An attempt that read a part, and one that read all, leave the whole body to the next."""
    router = APIRouter(route_class=Brief)
    bodies: list[bytes] = []

    @router.post("/notes")
    async def create(
        request: Request, db: Annotated[AsyncSession, Depends(postgresql.get_db)]
    ) -> None:
        pieces = request.stream()
        bodies.append(await anext(pieces))
        if len(bodies) == 1:
            await db.execute(CONFLICT)
        bodies[-1] += b"".join([piece async for piece in pieces])
        if len(bodies) == 2:
            await db.execute(CONFLICT)

    async def body() -> AsyncIterator[bytes]:
        for piece in (b"one ", b"two ", b"three"):
            yield piece

    app = FastAPI()
    app.include_router(router)
    async with client(app) as http:
        assert (await http.post("/notes", content=body())).status_code == 200
    assert bodies == [b"one ", b"one two three", b"one two three"]


async def test_response_with_trailers_starts_once(database: Database):
    """What follows the body does not start the response again."""

    class WithTrailers(Response):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await super().__call__(scope, receive, send)
            await send({"type": "http.response.trailers", "headers": []})

    router = APIRouter(route_class=RetryRoute)

    @router.get("/")
    async def respond(db: Annotated[AsyncSession, Depends(database.get_db)]) -> Response:
        return WithTrailers(b"body")

    app = FastAPI()
    app.include_router(router)
    request = SpokenRequest(app, "/")
    await request.run()
    assert [message["type"] for message in request.sent] == [
        "http.response.start",
        "http.response.body",
        "http.response.trailers",
    ]


async def test_failure_that_is_no_conflict_is_not_kept(database: Database):
    """The request's scope would keep its frames, and with them the session."""
    app = FastAPI()
    scopes: list[Any] = []

    @app.get("/")
    async def broken(
        request: Request, db: Annotated[AsyncSession, Depends(database.get_db)]
    ) -> None:
        scopes.append(request.scope)
        raise HTTPException(404)

    async with client(app) as http:
        assert (await http.get("/")).status_code == 404
    assert SCOPE_KEY not in scopes[0]


async def test_attempts_are_checked_where_the_route_is_declared():
    """No attempt at all is a mistake that no request should have to find."""

    class Never(RetryRoute):
        attempts = 0

    with pytest.raises(ConfigurationError, match="attempts=0"):
        APIRouter(route_class=Never).get("/")(lambda: None)


async def test_other_failures_are_not_tried_again(database: Database):
    """A bug is answered at once."""
    router = APIRouter(route_class=RetryRoute)
    calls: list[int] = []

    @router.post("/")
    async def broken(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        calls.append(1)
        await db.execute(text("SELECT * FROM nowhere"))

    app = FastAPI()
    app.include_router(router)
    async with client(app) as http:
        assert (await http.post("/")).status_code == 500
    assert calls == [1]


async def test_streams_are_refused():
    """A generator endpoint is refused where it is declared, a streamed response when it is sent."""
    router = APIRouter(route_class=RetryRoute)

    async def generate() -> AsyncIterator[str]:
        yield "line"

    def generate_in_a_thread() -> Iterator[str]:
        yield "line"

    for endpoint in (generate, generate_in_a_thread):
        with pytest.raises(ConfigurationError, match="streams"):
            router.get("/generator", response_model=None)(endpoint)

    @router.get("/stream", response_model=None)
    async def stream() -> StreamingResponse:
        return StreamingResponse(generate())

    app = FastAPI()
    app.include_router(router)
    async with client(app) as http:
        assert (await http.get("/stream")).status_code == 500
