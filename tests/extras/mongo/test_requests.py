"""What a request does with MongoDB: the promises of the SQL session, kept by its transaction."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from bson import ObjectId
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, HTTPException, WebSocket
from fastapi.responses import StreamingResponse
from websockets.asyncio.client import connect

from fastapi_asyncdb import RetryRoute, install_error_handlers
from fastapi_asyncdb.errors import (
    ConcurrentSessionUse,
    InvalidValue,
    OperationTimeout,
    SessionClosed,
    TransactionAborted,
    TransactionConflict,
)
from fastapi_asyncdb.extras.mongo import (
    DocumentId,
    Mongo,
    MongoDatabase,
    MongoRepository,
    MongoSession,
    MongoSettings,
    MongoTransaction,
    get_mongo_transaction,
)
from tests.extras.mongo.library import Author
from tests.support.application import Request, client
from tests.support.http_server import http_server
from tests.support.mongo_wire import mongo_wire


class Authors(MongoRepository[Author]):
    """Authors in the transaction of the request."""

    def __init__(self, session: MongoTransaction) -> None:
        super().__init__(session)


AuthorsDep = Annotated[Authors, Depends()]
FreeAuthors = Annotated[MongoRepository[Author], Depends()]


async def names(mongo: MongoDatabase) -> list[str]:
    """Return the authors that everybody can see."""
    async with mongo.session() as session:
        return [
            author.name for author in await MongoRepository[Author](session).list(order_by="name")
        ]


async def test_commit_comes_before_the_response(default: MongoDatabase):
    """The document is there when the status is sent."""
    app, seen = FastAPI(), []

    @app.post("/authors", status_code=201)
    async def create(authors: AuthorsDep) -> None:
        await authors.create(name="Ada", email="ada")
        assert await names(default) == []

    async def look(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            seen.append(await names(default))

    request = Request(app, "/authors", "POST", on_send=look)
    await request.run()
    assert (request.status, seen) == (201, [["Ada"]])


@pytest.mark.parametrize("error", [HTTPException(418), RuntimeError("boom")], ids=["http", "other"])
async def test_exception_rolls_back(default: MongoDatabase, error: Exception):
    """Any that leaves the handler."""
    app = FastAPI()

    @app.post("/authors")
    async def create(authors: AuthorsDep) -> None:
        await authors.create(name="Ada", email="ada")
        raise error

    async with client(app) as http:
        assert (await http.post("/authors")).status_code in (418, 500)
    assert await names(default) == []


async def test_one_transaction_however_declared(default: MongoDatabase):
    """Plain, with either scope, through sub-dependencies and repositories."""
    app = FastAPI()

    async def own(session: MongoTransaction) -> AsyncIterator[MongoSession]:
        yield session

    @app.post("/authors")
    async def create(
        authors: AuthorsDep,
        plain: MongoTransaction,
        request: Annotated[MongoSession, Depends(get_mongo_transaction, scope="request")],
        function: Annotated[MongoSession, Depends(get_mongo_transaction, scope="function")],
        generator: Annotated[MongoSession, Depends(own)],
    ) -> None:
        assert authors.session is plain is request is function is generator

    async with client(app) as http:
        assert (await http.post("/authors")).status_code == 200


async def test_request_without_an_operation_sends_nothing():
    """It works before the start, and while the server is down."""
    app = FastAPI()

    @app.get("/")
    async def nothing(authors: AuthorsDep, free: FreeAuthors) -> str:
        return "ok"

    async with client(app) as http:
        assert (await http.get("/")).json() == "ok"
    with mongo_wire() as wire:
        async with MongoDatabase(MongoSettings(url=wire.url)) as mongo:
            wire.commands.clear()
            async with mongo.transaction():
                pass
            assert wire.commands == []


async def test_stream_goes_on_in_a_new_transaction(default: MongoDatabase):
    """What it writes is committed when it ends; what it wrote is dropped when it fails."""
    app = FastAPI()

    @app.get("/{end}")
    async def stream(end: str, authors: AuthorsDep) -> StreamingResponse:
        await authors.create(name=f"{end} 1", email=f"{end} 1")

        async def body() -> AsyncIterator[str]:
            yield "begin"
            await authors.create(name=f"{end} 2", email=f"{end} 2")
            if end == "bad":
                raise RuntimeError

        return StreamingResponse(body())

    async with client(app) as http:
        assert (await http.get("/good")).text == "begin"
        await http.get("/bad")
    assert await names(default) == ["bad 1", "good 1", "good 2"]


async def test_background_task_has_a_transaction_of_its_own(default: MongoDatabase):
    """It sees the handler's commit, and its failure undoes nothing."""
    app = FastAPI()

    async def task(authors: Authors, *, fails: bool) -> None:
        assert await authors.count() >= 1
        await authors.create(name=f"task {fails}", email=f"task {fails}")
        if fails:
            raise RuntimeError

    @app.post("/{fails}")
    async def create(fails: bool, authors: AuthorsDep, tasks: BackgroundTasks) -> None:
        await authors.create(name=f"handler {fails}", email=f"handler {fails}")
        tasks.add_task(task, authors, fails=fails)

    async with client(app) as http:
        await http.post("/false")
        await http.post("/true")
    assert await names(default) == ["handler False", "handler True", "task False"]


async def test_session_refuses_use_after_the_request(default: MongoDatabase):
    """With an error that says how to get another, also without a transaction."""
    app, kept = FastAPI(), []

    @app.get("/")
    async def keep(session: MongoTransaction, free: Mongo) -> None:
        kept.extend([session, free])

    async with client(app) as http:
        await http.get("/")
    for session in kept:
        with pytest.raises(SessionClosed, match=r"default_mongo\.session"):
            await MongoRepository[Author](session).count()
    assert repr(kept[0]) == "<MongoSession in a transaction, closed>"


async def test_swallowed_failure_does_not_commit(default: MongoDatabase):
    """MongoDB has ended the transaction with the failed operation."""
    app = FastAPI()
    async with default.session() as session:
        await MongoRepository[Author](session).create(name="Ada", email="ada")

    @app.post("/")
    async def swallow(authors: AuthorsDep) -> None:
        await authors.create(name="Bob", email="bob")
        try:
            await authors.create(name="Eve", email="ada")
        except Exception:
            return

    with pytest.raises(TransactionAborted, match="nothing was stored"):
        await Request(app, "/", "POST").run()
    assert await names(default) == ["Ada"]


async def test_refused_value_does_not_end_the_transaction(default: MongoDatabase):
    """It was never sent."""
    async with default.transaction() as session:
        authors = MongoRepository[Author](session)
        await authors.create(name="Ada", email="ada")
        with pytest.raises(InvalidValue):
            await authors.find_one(email={"$gt": ""})
    assert await names(default) == ["Ada"]


async def test_two_tasks_in_one_transaction(default: MongoDatabase):
    """The error names both; without a transaction they run side by side."""
    async with default.session() as session:
        authors = MongoRepository[Author](session)
        await asyncio.gather(*(authors.create(name=n, email=n) for n in ("Ada", "Bob", "Eve")))
    with pytest.raises(ConcurrentSessionUse, match=r"uses a transaction while .* is in the middle"):
        async with default.transaction() as session:
            authors = MongoRepository[Author](session)
            await asyncio.gather(authors.count(), authors.count())


async def test_socket_commits_when_it_ends(default: MongoDatabase):
    """The same dependency serves it."""
    app = FastAPI()

    @app.websocket("/")
    async def endpoint(socket: WebSocket, authors: AuthorsDep) -> None:
        await socket.accept()
        await authors.create(name="Ada", email="ada")
        await socket.send_text("stored")
        await socket.receive_text()
        await socket.close()

    async with http_server(app) as address, connect(f"ws://{address}/") as socket:
        assert await socket.recv() == "stored"
        assert await names(default) == []
        await socket.send("done")
        await socket.wait_closed()
        async with asyncio.timeout(20):
            while await names(default) != ["Ada"]:
                await asyncio.sleep(0.01)


async def transfer(session: MongoSession, both: asyncio.Barrier | None = None) -> None:
    """Read an author, and write what was read with one letter more."""
    authors = MongoRepository[Author](session)
    ada = await authors.find_one(email="ada")
    assert ada is not None
    if both is not None:
        await both.wait()
    await authors.update(ada, name=ada.name + "!")


async def test_conflict_runs_the_work_again(mongo: MongoDatabase):
    """No change is lost, and the last error says how often it was tried."""
    async with mongo.session() as session:
        await MongoRepository[Author](session).create(name="Ada", email="ada")
    await asyncio.gather(*(mongo.run_in_transaction(transfer, attempts=20) for _ in range(4)))
    assert await names(mongo) == ["Ada!!!!"]
    both, tries = asyncio.Barrier(2), []

    async def once(session: MongoSession) -> None:
        tries.append(session)
        await transfer(session, both)

    runs = (mongo.run_in_transaction(once, attempts=1) for _ in range(2))
    outcomes = await asyncio.gather(*runs, return_exceptions=True)
    [conflict] = [each for each in outcomes if each is not None]
    assert isinstance(conflict, TransactionConflict)
    assert "Given up at attempt 1" in conflict.__notes__[0]
    assert await names(mongo) == ["Ada!!!!!"]


async def test_retry_route_runs_the_request_again(default: MongoDatabase):
    """As after a conflict of SQL."""
    async with default.session() as session:
        await MongoRepository[Author](session).create(name="Ada", email="ada")
    app, both, attempts = FastAPI(), asyncio.Barrier(2), []
    router = APIRouter(route_class=RetryRoute)

    @router.post("/")
    async def change(session: MongoTransaction) -> None:
        attempts.append(session)
        await transfer(session, both if len(attempts) <= 2 else None)

    app.include_router(router)
    async with client(app) as http:
        answers = await asyncio.gather(http.post("/"), http.post("/"))
    assert [answer.status_code for answer in answers] == [200, 200]
    assert len(attempts) >= 3
    assert await names(default) == ["Ada!!"]


async def test_errors_are_answered_as_problems(default: MongoDatabase):
    """409 with the index's sentence, 422, 404, 504: the same types as of SQL."""
    app = FastAPI()
    install_error_handlers(app, constraints={"uq_email": "The address is taken."})

    @app.post("/authors")
    async def create(body: Author, authors: FreeAuthors) -> None:
        await authors.create(body)

    @app.get("/find")
    async def find(email: str, authors: FreeAuthors) -> None:
        await authors.find_one(email=json.loads(email))

    @app.get("/authors/{author_id}")
    async def get(author_id: DocumentId, authors: FreeAuthors) -> Author:
        return await authors.get_or_raise(author_id)

    @app.get("/slow")
    async def slow(session: Mongo) -> None:
        raise OperationTimeout("It took too long.")

    async with client(app) as http:
        body = {"name": "Ada", "email": "ada"}
        assert (await http.post("/authors", json=body)).status_code == 200
        taken = await http.post("/authors", json=body)
        assert taken.status_code == 409
        assert taken.json()["type"].endswith(":unique-violation")
        assert taken.json()["detail"] == "The address is taken."
        assert (taken.json()["constraint"], taken.json()["columns"]) == ("uq_email", ["email"])
        refused = await http.get("/find", params={"email": '{"$gt": ""}'})
        assert (refused.status_code, refused.json()["type"].split(":")[-1]) == (
            422,
            "invalid-value",
        )
        missing = await http.get(f"/authors/{ObjectId()}")
        assert (missing.status_code, missing.json()["detail"]) == (404, "Author not found.")
        assert (await http.get("/slow")).status_code == 504


async def test_errors_without_the_handlers(default: MongoDatabase):
    """FastAPI answers 404 and 422 for what is not there."""
    app = FastAPI()

    @app.get("/authors/{author_id}")
    async def get(author_id: DocumentId, authors: FreeAuthors) -> Author:
        return await authors.get_or_raise(author_id)

    async with client(app) as http:
        missing = await http.get(f"/authors/{ObjectId()}")
        assert (missing.status_code, missing.json()) == (404, {"detail": "Author not found."})


async def test_raw_operations_are_in_the_transaction(default: MongoDatabase):
    """With the session that ``operation()`` yields; its errors are those of the library."""
    with pytest.raises(ZeroDivisionError):
        async with default.transaction() as session:
            async with session.operation() as client_session:
                await session.database["authors"].insert_one({"name": "x"}, session=client_session)
            assert session.in_transaction
            raise ZeroDivisionError
    assert await default.database["authors"].count_documents({}) == 0
