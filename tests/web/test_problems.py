"""Errors of a database as problems: from the real error to the bytes of the answer."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.applications import Starlette
from starlette.routing import Route

from fastapi_asyncdb import Database, DatabaseSettings, Problem, install_error_handlers, problem_of
from fastapi_asyncdb.errors import CannotConnect, InvalidValue
from tests.support.application import client
from tests.web.shelves import SECRET, Base, Shelf, shelves_app

URN = "urn:problem-type:fastapi-asyncdb:"
LOGGER = "fastapi_asyncdb.web.problems.log"


@pytest.fixture
async def shelves(database_url: str) -> AsyncIterator[Database]:
    """A database with the tables, whose settings hide values."""
    settings = DatabaseSettings(url=database_url, environment="staging")
    async with Database(settings) as database:
        await database.start(create_tables=Base.metadata)
        yield database
        await database.stop()


def served(database: Database, **options: Any) -> FastAPI:
    """Return the application with its handlers."""
    app = shelves_app(database)
    install_error_handlers(app, **{"metadata": Base.metadata, **options})
    return app


@pytest.fixture
async def http(shelves: Database) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, in which there is a shelf."""
    async with client(served(shelves)) as http:
        answer = await http.post("/shelves", json={"id": 100, "name": "first", "height": 3})
        assert answer.status_code == 201
        yield http


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """Return the body, which is a problem of this kind and gives nothing away."""
    assert (answer.status_code, answer.headers["content-type"]) == (
        status,
        "application/problem+json",
    ), answer.text
    body: dict[str, Any] = answer.json()
    assert (body["type"], body["status"]) == (URN + kind, status)
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", body["instance"])
    for leak in (SECRET, "INSERT", "SELECT", "DETAIL", "Key (", "127.0.0.1", "localhost", "sqlite"):
        assert leak not in answer.text
    return body


async def test_unique_violation_names_constraint_and_columns(http: httpx.AsyncClient):
    """409, by every driver, with the names and without the value."""
    await http.post("/shelves", json={"name": SECRET})
    body = problem(await http.post("/shelves", json={"name": SECRET}), 409, "unique-violation")
    assert (body["constraint"], body["columns"]) == ("uq_shelf_name", ["name"])
    body = problem(await http.post("/shelves", json={"id": 100}), 409, "unique-violation")
    assert (body["constraint"], body["columns"]) == ("pk_shelf", ["id"])


async def test_the_only_error_of_a_task_group_is_answered(shelves: Database):
    """Others are left as they are: no answer fits several errors."""
    app = served(shelves)

    async def insert(*names: str) -> None:
        async with shelves.session() as session:
            session.add_all([Shelf(name=name) for name in names])

    @app.post("/groups")
    async def run(work: list[str]) -> None:
        async with asyncio.TaskGroup() as tasks:
            for name in work:
                tasks.create_task(insert(name, name) if name == "twice" else fail(name))

    async def fail(name: str) -> None:
        await asyncio.sleep(0)
        raise LookupError(name)

    async with client(app) as http:
        problem(await http.post("/groups", json=["twice"]), 409, "unique-violation")
        answer = await http.post("/groups", json=["a", "b"])
        assert (answer.status_code, answer.text) == (500, "Internal Server Error")


async def test_foreign_key_violation(http: httpx.AsyncClient):
    """409; SQLite does not know which constraint it was."""
    answer = await http.post("/shelves", json={"below_id": 99})
    body = problem(answer, 409, "foreign-key-violation")
    if "constraint" in body:
        assert (body["constraint"], body["columns"]) == ("fk_shelf_below_id_shelf", ["below_id"])


async def test_violation_at_commit(http: httpx.AsyncClient):
    """The commit comes after the handler and before the answer, so its error is an answer too."""
    answer = await http.post("/visits", params={"shelf_id": 99})
    problem(answer, 409, "foreign-key-violation")


async def test_check_and_not_null_violations(http: httpx.AsyncClient):
    """422 with the constraint, or with the column."""
    body = problem(await http.post("/shelves", json={"height": -1}), 422, "check-violation")
    assert body["constraint"] == "ck_shelf_height_not_negative"
    body = problem(await http.post("/shelves", json={"name": None}), 422, "not-null-violation")
    assert body["columns"] == ["name"]


@pytest.mark.parametrize(
    "change",
    [
        {"height": 2**31},
        {"height": 2**63},
        {"height": -(2**200)},
        {"weight": 2**63},
        {"name": "a\0b"},
        {"name": "a" * 21},
        {"made_at": "9999-12-31T23:59:59-10:00"},
        {"made_at": "0001-01-01T00:00:00+10:00"},
    ],
    ids=str,
)
async def test_value_that_does_not_fit(
    http: httpx.AsyncClient, database_url: str, change: dict[str, Any]
):
    """422 from what the database or its driver says; SQLite stores what PostgreSQL refuses."""
    answer = await http.post("/shelves", json={"name": "new", **change})
    if answer.status_code != 201 or database_url.startswith("postgresql"):
        problem(answer, 422, "invalid-value")


@pytest.mark.parametrize("key", [2**31, 2**63, 2**64, -(2**200)])
async def test_number_in_a_path_that_no_column_holds(http: httpx.AsyncClient, key: int):
    """404 or 422, and never 500: a key may be any number that Python has."""
    answer = await http.get(f"/shelves/{key}")
    assert answer.status_code in (404, 422)
    problem(
        answer, answer.status_code, "not-found" if answer.status_code == 404 else "invalid-value"
    )


@pytest.mark.parametrize(
    "query", ["name=%00", "name=a&height=99999999999999999999", "name=%ED%A0%80"]
)
async def test_query_that_no_column_holds(http: httpx.AsyncClient, query: str):
    """A reading session is answered alike."""
    answer = await http.get(f"/shelves?{query}")
    if answer.status_code != 200:
        problem(answer, 422, "invalid-value")


async def test_lone_surrogate(http: httpx.AsyncClient):
    """JSON may contain it, and no database stores it."""
    body = json.dumps({"name": "\ud800"}).encode()
    answer = await http.post("/shelves", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422


async def test_missing_row_and_stale_row(http: httpx.AsyncClient):
    """404 with the model, 409 for a row that has changed in the meantime."""
    body = problem(await http.get("/shelves/99"), 404, "not-found")
    assert body["detail"] == "Shelf not found."
    problem(await http.put("/shelves/100"), 409, "stale-row")


async def test_error_of_the_code_is_an_internal_error(
    http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
):
    """500, with a record that has no value, and one traceback for all of a minute."""
    bodies = [problem(await http.get("/wrong"), 500, "internal-error") for _ in range(3)]
    records = [record for record in caplog.records if record.name == LOGGER]
    assert [record.levelno for record in records] == [logging.ERROR] * 3
    for record, body in zip(records, bodies, strict=True):
        assert body["instance"] in record.getMessage()
        assert "GET /wrong was answered with 500" in record.getMessage()
        assert re.search("42P01|SQLITE_ERROR|42S02", record.getMessage())
    assert ["shelves.py" in record.getMessage() for record in records] == [True, False, False]
    assert SECRET not in caplog.text


async def test_client_errors_are_logged_once_and_in_bounded_number(
    http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
):
    """A client that repeats a wrong request does not fill the log; the record names the constraint."""
    caplog.set_level(logging.INFO, LOGGER)
    answers = [await http.post("/shelves", json={"id": 100, "name": SECRET}) for _ in range(30)]
    records = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    assert len(records) == 10
    assert "POST /shelves was answered with 409 unique-violation, urn:uuid:" in records[0]
    assert "pk_shelf" in records[0]
    assert {answer.status_code for answer in answers} == {409}
    assert SECRET not in caplog.text


@pytest.mark.parametrize("environment", ["development", "production"])
async def test_values_are_logged_in_development_only(
    shelves: Database, environment: str, caplog: pytest.LogCaptureFixture
):
    """What the server says of a row, its DETAIL included, is for the eyes of the developer."""
    assert shelves.settings is not None
    caplog.set_level(logging.INFO, LOGGER)
    settings = shelves.settings.model_copy(update={"environment": environment})
    async with Database(settings) as database, client(served(database)) as http:
        await http.post("/shelves", json={"name": SECRET})
        problem(await http.post("/shelves", json={"name": SECRET}), 409, "unique-violation")
    (record,) = (record for record in caplog.records if record.name == LOGGER)
    shown = re.search("constraint|Duplicate", record.getMessage())
    assert (shown is not None) is (environment == "development")
    if environment == "production":
        assert SECRET not in record.getMessage()
    elif shelves.engine.dialect.driver == "psycopg":  # others may leave the DETAIL out
        assert SECRET in record.getMessage()


async def test_words_of_the_application(shelves: Database):
    """A constraint may have a sentence, or a whole problem, of the application's own."""
    own = Problem(type="https://example.org/taken", title="Taken", status=400, detail="Too late.")
    words: dict[str, str | Problem] = {"uq_shelf_name": "Name in use", "pk_shelf": own}
    base = "https://example.org/problems#"
    async with client(served(shelves, constraints=words, type_base=base)) as http:
        await http.post("/shelves", json={"id": 100})
        taken = (await http.post("/shelves", json={})).json()
        assert (taken["detail"], taken["type"]) == ("Name in use", f"{base}unique-violation")
        answer = await http.post("/shelves", json={"id": 100, "name": "other"})
    assert answer.status_code == 400
    assert (
        answer.json().items() >= {"type": own.type, "title": "Taken", "detail": "Too late."}.items()
    )


async def test_problem_of_an_error_for_an_answer_of_ones_own(shelves: Database):
    """A handler of the application for the class comes first, and may use the problem."""
    app = served(shelves)

    @app.exception_handler(IntegrityError)
    async def own(request: Any, error: IntegrityError) -> Any:
        problem = problem_of(error)
        assert problem is not None
        return JSONResponse({"own": problem.as_dict()["title"]}, problem.status)

    async with client(app) as http:
        await http.post("/shelves", json={})
        answer = await http.post("/shelves", json={})
    assert (answer.status_code, answer.json()) == (409, {"own": "Exists already"})
    assert problem_of(ValueError("no error of a database")) is None


@pytest.mark.parametrize("cls", [OperationalError, DBAPIError, SQLAlchemyError])
@pytest.mark.parametrize("waits", [True, False], ids=["coroutine", "thread"])
async def test_own_handler_for_a_class_of_sqlalchemy(cls: type[Exception], waits: bool):
    """It gets the library's errors of that class too: ``AsyncDBError`` does not hide it."""

    def own(request: Any, error: Exception) -> Any:
        return JSONResponse(type(error).__name__, 418)

    async def own_that_waits(request: Any, error: Exception) -> Any:
        return own(request, error)

    app = FastAPI(exception_handlers={cls: own_that_waits if waits else own})
    install_error_handlers(app)

    @app.get("/away")
    async def away() -> None:
        raise CannotConnect("nothing listens", None)

    async with client(app) as http:
        answer = await http.get("/away")
    assert (answer.status_code, answer.json()) == (418, "CannotConnect")


async def test_session_of_the_handlers_own(shelves: Database):
    """``database.session()`` in a handler is answered as the dependency's is."""
    app = served(shelves)

    @app.post("/own")
    async def own() -> None:
        async with shelves.session() as session:
            await session.execute(Base.metadata.tables["shelf"].insert().values(name=None))

    async with client(app) as http:
        problem(await http.post("/own"), 422, "not-null-violation")


async def test_mounted_application_has_handlers_of_its_own(shelves: Database):
    """The answer of a mounted application is its own, as with all exception handlers."""
    app = FastAPI()
    app.mount("/inner", served(shelves))
    async with client(app) as http:
        problem(await http.get("/inner/shelves/99"), 404, "not-found")


async def test_mounted_application_of_starlette(unused_port: int, caplog: pytest.LogCaptureFixture):
    """One that is not FastAPI's, as admin panels are, answers as well; the record has the whole hint."""
    url = f"postgresql://postgres@127.0.0.1:{unused_port}/postgres"
    database = Database(DatabaseSettings(url=url))

    async def page(request: Request) -> None:
        async with database.session() as session:
            await session.connection()

    app, inner = FastAPI(), Starlette(routes=[Route("/page", page)])
    install_error_handlers(app)
    install_error_handlers(inner)
    app.mount("/inner", inner)
    await database.start(require_connection=False)
    async with client(app) as http:
        problem(await http.get("/inner/page"), 503, "database-unavailable")
    await database.stop()
    (record,) = (record for record in caplog.records if record.name == LOGGER)
    assert "start the server, or correct host and port" in record.getMessage()


async def test_long_message_is_cut_between_words(caplog: pytest.LogCaptureFixture):
    """A message of the client's error is short in the log, and has no half words."""
    caplog.set_level(logging.INFO, LOGGER)
    app = FastAPI()
    install_error_handlers(app)

    @app.get("/")
    async def get() -> None:
        raise InvalidValue("abcdefghi " * 50)

    async with client(app) as http:
        problem(await http.get("/"), 422, "invalid-value")
    (record,) = (record for record in caplog.records if record.name == LOGGER)
    assert record.getMessage().endswith(" abcdefghi [...].")
    assert len(record.getMessage()) < 350


async def test_error_after_the_response_has_begun(shelves: Database):
    """No second response: the stream is cut, and the error reaches the server."""
    app = served(shelves)

    @app.get("/stream")
    async def stream(db: Annotated[AsyncSession, Depends(shelves.get_db)]) -> StreamingResponse:
        async def lines() -> AsyncIterator[str]:
            yield "first\n"
            await db.execute(Base.metadata.tables["shelf"].insert().values(name=None))

        return StreamingResponse(lines())

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test"
    ) as raising:
        with pytest.raises(RuntimeError, match="response already started") as caught:
            await raising.get("/stream")
    assert isinstance(caught.value.__cause__, IntegrityError)
