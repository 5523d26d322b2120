"""Requests that validation refuses, HTTP exceptions, sockets, and the OpenAPI, with the handlers."""

import json
from typing import Annotated, Any

import pytest
from fastapi import Body as Body_
from fastapi import Depends, FastAPI, HTTPException, Query, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, field_validator
from sqlalchemy.ext.asyncio import AsyncSession
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fastapi_asyncdb import Database, DatabaseSettings, install_error_handlers
from fastapi_asyncdb.web.problems.kinds import KINDS
from tests.support.application import client
from tests.support.http_server import http_server

NAN = "[NaN, Infinity, -Infinity]"
SURROGATE = r'"\ud800"'


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")
    number: int = 0
    word: str = ""

    @field_validator("word")
    @classmethod
    def _refuse(cls, value: str) -> str:
        raise ValueError(f"{value} is no word")


def app_of(**options: Any) -> FastAPI:
    """Return an application without a database."""
    app = FastAPI()

    @app.post("/")
    async def post(body: Body) -> None: ...

    @app.get("/teapot", responses={418: {"description": "A teapot"}, 404: {"description": "None"}})
    async def teapot(info: bool = False) -> None:
        raise HTTPException(418, {"pot": 1} if info else "short and stout", {"X-Pot": "tea"})

    @app.get("/half")
    async def half() -> None:
        raise HTTPException(404, "There is no \ud800.")

    @app.get("/things/{thing_id}")
    async def thing(thing_id: int, limit: Annotated[int, Query(le=10)] = 1) -> None: ...

    install_error_handlers(app, **options)
    return app


@pytest.mark.parametrize(
    "body",
    [
        f'{{"number": {NAN}}}',
        f'{{"number": {SURROGATE}}}',
        f"{{{SURROGATE}: 1}}",
        "NaN",
        SURROGATE,
        "{",
        json.dumps({"x" * 100_000: 1}),
        json.dumps({f"x{number}": 1 for number in range(5_000)}),
    ],
    ids=lambda body: body[:20],
)
async def test_invalid_request_is_always_answered(body: str):
    """422, whatever the client sends; the answer is small, and has none of the values."""
    async with client(app_of()) as http:
        answer = await http.post("/", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    problem = json.loads(answer.content)
    assert problem["type"] == "urn:problem-type:fastapi-asyncdb:invalid-request"
    assert all(error.keys() == {"type", "loc", "msg"} for error in problem["errors"])
    assert len(answer.content) < 50_000


async def test_lone_surrogate_that_reaches_the_code():
    """Pydantic cannot quote it, and a response cannot repeat it: it is the client's error."""
    app = app_of()

    @app.post("/echo")
    async def echo(word: Annotated[str, Body_(embed=True)]) -> JSONResponse:
        return JSONResponse(word)

    async with client(app) as http:
        for path in ("/", "/echo"):
            headers = {"content-type": "application/json"}
            answer = await http.post(path, content=f'{{"word": {SURROGATE}}}', headers=headers)
            assert answer.status_code == 422
            assert answer.json()["type"].endswith(":invalid-value")


async def test_invalid_request_says_where():
    """The location is FastAPI's."""
    async with client(app_of()) as http:
        problem = (await http.get("/things/x", params={"limit": 11})).json()
    assert [error["loc"] for error in problem["errors"]] == [
        ["path", "thing_id"],
        ["query", "limit"],
    ]
    assert problem["errors"][0]["type"] == "int_parsing"


async def test_http_exceptions_are_left_alone():
    """The default is FastAPI's answer; the parameter makes problems of them."""
    async with client(app_of()) as http:
        assert (await http.get("/teapot")).json() == {"detail": "short and stout"}
        assert (await http.get("/nothing")).json() == {"detail": "Not Found"}
    async with client(app_of(http_exceptions=True)) as http:
        answer = await http.get("/teapot")
        assert (answer.headers["content-type"], answer.headers["X-Pot"]) == (
            "application/problem+json",
            "tea",
        )
        expected = {"type": "about:blank", "title": "I'm a Teapot", "status": 418}
        assert answer.json() == expected | {"detail": "short and stout"}
        answer = await http.get("/teapot", params={"info": True})
        assert answer.json() == expected | {"info": {"pot": 1}}
        answer = await http.get("/nothing")
        assert (answer.status_code, answer.json()["title"]) == (404, "Not Found")
        assert (await http.get("/half")).json()["detail"] == "There is no ?."


async def test_handler_of_the_application_stays():
    """Whether it came before or after."""
    app = FastAPI()

    @app.exception_handler(RequestValidationError)
    async def own(request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"own": True}, 400)

    @app.get("/")
    async def get(number: int) -> None: ...

    install_error_handlers(app)
    async with client(app) as http:
        assert (await http.get("/")).json() == {"own": True}


async def test_fastapis_422_is_kept():
    """It has FastAPI's body, in which the client finds its own value; the rest stays a problem."""
    async with client(app_of(validation_errors=False)) as http:
        answer = await http.get("/things/x")
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/json")
        (error,) = answer.json()["detail"]
        assert (error["loc"], error["input"]) == (["path", "thing_id"], "x")
        headers = {"content-type": "application/json"}
        answer = await http.post("/", content=f'{{"word": {SURROGATE}}}', headers=headers)
        assert answer.json()["type"].endswith(":invalid-value")


async def test_socket_is_left_alone(unused_port: int):
    """One that gets no connection is closed with 1013, with the handlers and without."""
    url = f"postgresql://postgres@127.0.0.1:{unused_port}/postgres"
    database, app = Database(DatabaseSettings(url=url)), FastAPI()
    install_error_handlers(app)

    @app.websocket("/accepted")
    async def accepted(
        socket: WebSocket, db: Annotated[AsyncSession, Depends(database.get_db)]
    ) -> None:
        await socket.accept()
        await db.connection()

    @app.websocket("/refused")
    async def refused(
        socket: WebSocket, db: Annotated[AsyncSession, Depends(database.get_db)]
    ) -> None:
        await db.connection()

    await database.start(require_connection=False)
    async with http_server(app) as address:
        async with connect(f"ws://{address}/accepted") as socket:
            with pytest.raises(ConnectionClosed) as closed:
                await socket.recv()
        with pytest.raises(InvalidStatus) as denied:
            await connect(f"ws://{address}/refused")
    await database.stop()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1013
    assert denied.value.response.status_code == 503
    assert b"detail" in (denied.value.response.body or b"")


async def test_problems_are_in_the_openapi():
    """Each operation has the problems, with their types; responses of the application's own stay."""
    app = app_of()
    schema = app.openapi()
    assert app.openapi() == schema
    paths, components = schema["paths"], schema["components"]
    assert paths["/"]["post"]["responses"].keys() == {"200", "409", "422", "500", "503", "504"}
    assert paths["/things/{thing_id}"]["get"]["responses"].keys() == {
        "200", "404", "422", "500", "503", "504",
    }  # fmt: skip
    teapot = paths["/teapot"]["get"]["responses"]
    assert (teapot["404"], teapot["418"]) == ({"description": "None"}, {"description": "A teapot"})
    for name, reference in paths["/"]["post"]["responses"].items():
        if name != "200":
            assert reference == {"$ref": f"#/components/responses/Problem{name}"}
    types = [
        kind
        for response in components["responses"].values()
        for kind in response["content"]["application/problem+json"]["schema"]["allOf"][1][
            "properties"
        ]["type"]["examples"]
    ]
    assert {kind.rpartition(":")[2] for kind in types} == {kind.name for kind in KINDS}
    assert "HTTPValidationError" not in json.dumps(schema)


async def answer_422(request: Request, error: RequestValidationError) -> JSONResponse:
    """Answer as the application likes."""
    return JSONResponse({"own": True}, 422)


@pytest.mark.parametrize("kept", ["by the parameter", "by a handler", "by a later handler"])
async def test_openapi_where_requests_are_not_answered_with_problems(kept: str):
    """FastAPI's 422 stays in each operation that has it, beside the problem of a refused value."""
    app = FastAPI()

    @app.get("/things/{thing_id}")
    async def thing(thing_id: int) -> None: ...

    @app.post("/")
    async def post() -> None: ...

    if kept == "by a handler":
        app.add_exception_handler(RequestValidationError, answer_422)  # type: ignore[arg-type]
    install_error_handlers(app, validation_errors=kept != "by the parameter")
    if kept == "by a later handler":
        app.add_exception_handler(RequestValidationError, answer_422)  # type: ignore[arg-type]
    schema = app.openapi()
    content = schema["paths"]["/things/{thing_id}"]["get"]["responses"]["422"]["content"]
    assert {media: shown["schema"]["$ref"] for media, shown in content.items()} == {
        "application/json": "#/components/schemas/HTTPValidationError",
        "application/problem+json": "#/components/schemas/Problem",
    }
    assert {"HTTPValidationError", "ValidationError"} < schema["components"]["schemas"].keys()
    assert "$ref" in schema["paths"]["/"]["post"]["responses"]["422"]
    assert "invalid-request" not in json.dumps(schema)


async def test_openapi_of_an_application_that_has_problems_of_its_own():
    """Its model stays, and ours has another name."""

    class Problem(BaseModel):
        code: int

    app = FastAPI()

    @app.get("/problems")
    async def find_problem() -> Problem:
        return Problem(code=1)

    install_error_handlers(app, http_exceptions=True)
    schemas = app.openapi()["components"]["schemas"]
    assert set(schemas["Problem"]["properties"]) == {"code"}
    assert "instance" in schemas["DatabaseProblem"]["properties"]
    answer = app.openapi()["components"]["responses"]["Problem503"]
    assert "#/components/schemas/DatabaseProblem" in str(answer)


async def test_openapi_of_routes_that_are_added_later():
    """FastAPI generates it anew, and the problems are in it."""
    app = app_of()
    app.openapi()

    @app.get("/later")
    async def later() -> None: ...

    app.openapi_schema = None
    assert "503" in app.openapi()["paths"]["/later"]["get"]["responses"]
