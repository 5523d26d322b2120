"""A commit whose answer never came. tests/faults/ cuts the network at more moments."""

from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from fastapi import Request as HTTPRequest
from fastapi.responses import JSONResponse
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.pool import PoolProxiedConnection

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import CommitOutcomeUnknown
from tests.support.application import Base, Note, client, stored
from tests.support.databases import SERVERS
from tests.support.tcp_proxy import Proxy

pytestmark = pytest.mark.promise("T11")


def application(database: Database) -> FastAPI:
    """Return an application that tells its clients what it does not know."""
    app = FastAPI()
    app.state.runs = 0

    @app.post("/", status_code=201)
    async def write(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        app.state.runs += 1
        db.add(Note(text="written"))

    @app.exception_handler(CommitOutcomeUnknown)
    async def in_doubt(request: HTTPRequest, error: CommitOutcomeUnknown) -> JSONResponse:
        return JSONResponse({"detail": "unknown"}, 500)

    return app


@pytest.mark.parametrize(("at_commit", "rows"), [("cut before", []), ("cut after", ["written"])])
@pytest.mark.databases(*SERVERS)
@pytest.mark.usefixtures("tables")
async def test_lost_network(database_url: str, proxy: Proxy, at_commit: str, rows: list[str]):
    """The client is never told of a success or failure that is unknown; nothing is repeated."""
    database = Database(DatabaseSettings(url=proxy.through(database_url)))
    await database.start()
    app = application(database)
    proxy.at_commit = at_commit  # type: ignore[assignment]
    async with client(app) as http:
        answer = await http.post("/")
    proxy.at_commit = "forward"
    assert (answer.status_code, answer.json()) == (500, {"detail": "unknown"})
    assert app.state.runs == 1
    assert await stored(database) == rows
    await database.stop()


async def test_sqlite(sqlite_url: str, monkeypatch: pytest.MonkeyPatch):
    """A file system that fails in COMMIT leaves the same doubt."""
    commit = SQLiteDialect.do_commit
    failing = False

    def do_commit(self: SQLiteDialect, dbapi_connection: PoolProxiedConnection) -> None:
        commit(self, dbapi_connection)
        if failing:
            raise OSError("The disk is gone.")

    monkeypatch.setattr(SQLiteDialect, "do_commit", do_commit)
    database = Database(DatabaseSettings(url=sqlite_url))
    await database.start(create_tables=Base.metadata)
    app = application(database)
    failing = True
    async with client(app) as http:
        answer = await http.post("/")
    failing = False
    assert (answer.status_code, answer.json()) == (500, {"detail": "unknown"})
    assert app.state.runs == 1
    assert await stored(database) == ["written"]
    await database.stop()
