"""The commit comes before the response, and what fails is rolled back."""

from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse
from pydantic import BaseModel
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database
from tests.support.application import Note, Reply, client, stored
from tests.support.application import Request as RawRequest
from tests.support.cancelling import Witness


class NoteIn(BaseModel):
    text: str


class NoteOut(BaseModel):
    id: int
    text: str


def writing_app(database: Database) -> FastAPI:
    """An application in which every kind of route writes a note."""
    DB = Annotated[AsyncSession, Depends(database.get_db)]
    app = FastAPI()
    router = APIRouter(prefix="/router")
    sub = FastAPI()

    async def writer(db: DB) -> AsyncSession:
        db.add(Note(text="written"))
        return db

    async def yielding_writer(db: DB):
        db.add(Note(text="written"))
        yield db

    @app.post("/async")
    async def plain(db: DB) -> dict[str, int]:
        note = Note(text="written")
        db.add(note)
        await db.flush()
        return {"id": note.id}

    @app.post("/model", response_model=NoteOut)
    async def model(db: DB) -> Note:
        note = Note(text="written")
        db.add(note)
        await db.flush()
        return note

    @app.post("/def")
    def in_a_thread(db: DB) -> None:
        db.add(Note(text="written"))

    @app.post("/response")
    async def response(db: DB) -> Response:
        db.add(Note(text="written"))
        return PlainTextResponse("done")

    @app.post("/redirect")
    async def redirect(db: DB) -> RedirectResponse:
        db.add(Note(text="written"))
        return RedirectResponse("/elsewhere", status_code=303)

    @app.post("/sub-dependency")
    async def through_dependency(db: Annotated[AsyncSession, Depends(writer)]) -> None: ...

    @app.post("/yield-dependency")
    async def through_yield(db: Annotated[AsyncSession, Depends(yielding_writer)]) -> None: ...

    @app.post("/decorator", dependencies=[Depends(writer)])
    async def in_decorator() -> None: ...

    @app.post("/request-scope")
    async def request_scope(
        db: Annotated[AsyncSession, Depends(database.get_db, scope="request")],
    ) -> None:
        db.add(Note(text="written"))

    @app.post("/function-scope")
    async def function_scope(
        db: Annotated[AsyncSession, Depends(database.get_db, scope="function")],
    ) -> None:
        db.add(Note(text="written"))

    @app.api_route("/explicit", methods=["POST"])
    async def explicit(db: DB) -> None:
        db.add(Note(text="written"))
        await db.commit()

    @router.post("/note")
    async def in_router(db: DB) -> None:
        db.add(Note(text="written"))

    @sub.post("/note")
    async def in_mounted(db: DB) -> None:
        db.add(Note(text="written"))

    app.include_router(router)
    app.mount("/mounted", sub)
    return app


@pytest.mark.promise("T1")
@pytest.mark.parametrize(
    "path",
    [
        "/async",
        "/model",
        "/def",
        "/response",
        "/redirect",
        "/sub-dependency",
        "/yield-dependency",
        "/decorator",
        "/request-scope",
        "/function-scope",
        "/explicit",
        "/router/note",
        "/mounted/note",
    ],
)
async def test_row_is_committed_when_the_response_starts(database: Database, path: str):
    """At the moment the first byte leaves, another connection sees the row."""
    seen: list[list[str]] = []

    async def look(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            seen.append(await stored(database))

    request = RawRequest(writing_app(database), path, method="POST", on_send=look)
    await request.run()

    assert request.status in (200, 303)
    assert seen == [["written"]]


@pytest.mark.promise("T2")
async def test_failed_commit_is_the_only_response(database: Database):
    """A constraint that fails at COMMIT turns the 201 into an error, and no byte of it leaves."""
    app = FastAPI()

    @app.post("/replies", status_code=201)
    async def reply(db: Annotated[AsyncSession, Depends(database.get_db)]) -> dict[str, str]:
        db.add(Reply(note_id=404))
        await db.flush()
        return {"state": "created"}

    request = RawRequest(app, "/replies", method="POST")
    with pytest.raises(IntegrityError):
        await request.run()

    assert [message["type"] for message in request.sent] == [
        "http.response.start",
        "http.response.body",
    ]
    assert request.status == 500
    assert b"created" not in request.body


@pytest.mark.promise("T2")
async def test_failed_commit_goes_through_the_exception_handlers(database: Database):
    """The application may answer a failed commit with a status of its own."""
    app = FastAPI()

    @app.exception_handler(IntegrityError)
    async def conflict(request: Request, error: IntegrityError) -> JSONResponse:
        return JSONResponse({"detail": "conflict"}, status_code=409)

    @app.post("/replies", status_code=201)
    async def reply(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        db.add(Reply(note_id=404))

    async with client(app) as http:
        response = await http.post("/replies")

    assert response.status_code == 409
    assert response.json() == {"detail": "conflict"}


@pytest.mark.promise("T2")
async def test_flush_that_fails_in_the_commit_leaves_nothing(database: Database):
    """Objects that are only added fail in the commit's own flush, before the response."""
    app = FastAPI()

    @app.post("/notes", status_code=201)
    async def create(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        db.add(Note(id=1, text="first"))
        await db.flush()
        db.add(Note(id=2, text=None))

    async with client(app) as http:
        assert (await http.post("/notes")).status_code == 500
    assert await stored(database) == []


def failing_app(database: Database) -> FastAPI:
    """An application in which a note is written and something fails afterwards."""
    DB = Annotated[AsyncSession, Depends(database.get_db)]
    app = FastAPI()

    async def write(db: DB) -> None:
        db.add(Note(text="lost"))
        await db.flush()

    async def refuse() -> None:
        raise HTTPException(403)

    async def fail_afterwards(db: DB):
        yield
        raise HTTPException(409)

    written = Depends(write)

    @app.post("/http-exception", dependencies=[written])
    async def http_exception() -> None:
        raise HTTPException(404)

    @app.post("/exception", dependencies=[written])
    async def exception() -> None:
        raise RuntimeError("bug")

    @app.post("/validation", dependencies=[written])
    async def validation(body: NoteIn) -> None: ...

    @app.post("/sibling", dependencies=[written, Depends(refuse)])
    async def sibling() -> None: ...

    @app.post("/sibling-exit", dependencies=[written])
    async def sibling_exit(
        nothing: Annotated[None, Depends(fail_afterwards, scope="function")],
    ) -> None: ...

    @app.post("/response-model", dependencies=[written], response_model=NoteOut)
    async def response_model() -> Any:
        return {"id": "not a number"}

    @app.post("/statement")
    async def statement(db: DB) -> None:
        db.add(Note(text="lost"))
        await db.flush()
        await db.execute(text("SELECT * FROM nowhere"))

    @app.post("/explicit")
    async def explicit(db: DB) -> None:
        db.add(Note(text="lost"))
        await db.flush()
        await db.rollback()

    return app


@pytest.mark.promise("T3")
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/http-exception", 404),
        ("/exception", 500),
        ("/validation", 422),
        ("/sibling", 403),
        ("/sibling-exit", 409),
        ("/response-model", 500),
        ("/statement", 500),
        ("/explicit", 200),
    ],
)
async def test_what_fails_is_rolled_back(database: Database, path: str, status: int):
    """Whatever raises after the write, in handler, dependency or validation, undoes it."""
    async with client(failing_app(database)) as http:
        response = await http.post(path)

    assert response.status_code == status
    assert await stored(database) == []


@pytest.mark.promise("T3")
async def test_dependency_that_catches_the_error_and_reads_goes_on(database: Database):
    """A dependency may clean up after the handler's error; the handler's work stays undone."""
    DB = Annotated[AsyncSession, Depends(database.get_db)]
    app = FastAPI()
    found: list[str] = []

    async def watch(db: DB):
        try:
            yield
        except ValueError as error:
            found.extend(await db.scalars(select(Note.text)))
            raise HTTPException(400) from error

    @app.post("/notes", dependencies=[Depends(watch)])
    async def create(db: DB) -> None:
        db.add(Note(text="lost"))
        await db.flush()
        raise ValueError

    async with client(app) as http:
        assert (await http.post("/notes")).status_code == 400
    assert found == []
    assert await stored(database) == []


@pytest.mark.promise("T3")
@pytest.mark.parametrize("status", [400, 404, 409, 500])
async def test_returned_response_commits_whatever_its_status(database: Database, status: int):
    """A handler that returns has decided: only raising rolls back."""
    app = FastAPI()

    @app.post("/notes")
    async def create(db: Annotated[AsyncSession, Depends(database.get_db)]) -> Response:
        db.add(Note(text="kept"))
        return JSONResponse({}, status_code=status)

    async with client(app) as http:
        assert (await http.post("/notes")).status_code == status
    assert await stored(database) == ["kept"]


@pytest.mark.promise("T3")
async def test_connection_is_usable_after_a_failed_statement(database: Database):
    """The next request gets a clean connection, not one in an aborted transaction."""
    app = failing_app(database)
    async with client(app) as http:
        for _ in range(20):
            assert (await http.post("/statement")).status_code == 500
    async with database.session() as session:
        session.add(Note(text="fine"))
    assert await stored(database) == ["fine"]


async def test_session_outside_a_request_commits_or_rolls_back(database: Database):
    """database.session() keeps the same rule: the block's end commits, an exception rolls back."""
    async with database.session() as session:
        session.add(Note(text="kept"))
    with pytest.raises(RuntimeError):
        async with database.session() as session:
            session.add(Note(text="lost"))
            await session.flush()
            raise RuntimeError
    with pytest.raises(DBAPIError):
        async with database.session() as session:
            session.add(Reply(note_id=404))
    assert await stored(database) == ["kept"]


@pytest.mark.promise("T2")
async def test_connection_of_a_failed_commit_is_clean(database: Database, database_url: str):
    """The next session on the connection begins anew, and no session waits for a lock."""
    for _ in range(2):
        with pytest.raises(IntegrityError):
            async with database.session() as session:
                session.add(Note(text="lost"))
                session.add(Reply(note_id=404))
        await Witness(database, database_url).nobody_else_holds_a_lock()
    async with database.session() as session:
        session.add(Note(text="next"))
    assert await stored(database) == ["next"]
