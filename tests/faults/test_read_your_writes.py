"""Read your writes: what a client has written is there for its next reads, although replicas lag."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, WebSocket
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.middleware.base import RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response
from websockets.asyncio.client import connect

from fastapi_asyncdb import (
    Database,
    DatabaseSettings,
    RetryRoute,
    install_error_handlers,
    install_read_your_writes,
)
from fastapi_asyncdb.testing import sandbox
from tests.support.application import client
from tests.support.http_server import http_server
from tests.support.replicas import Servers
from tests.support.tcp_proxy import Proxy, tcp_proxy

pytestmark = pytest.mark.promise("T22")

SECRET = "a secret of at least sixteen bytes"
COOKIE = "asyncdb_written"
INSERT = text("INSERT INTO thing DEFAULT VALUES RETURNING id")
NEWEST = text("SELECT inet_server_port(), (SELECT coalesce(max(id), 0) FROM thing)")


@pytest.fixture
def paused(servers: Servers) -> Servers:
    """Servers whose standbys have all, and replay nothing from now on."""
    for replica in servers.replicas:
        replica.wait_until_caught_up()
        replica.psql("SELECT pg_wal_replay_pause()")
    return servers


async def newest(session: AsyncSession) -> tuple[int, int]:
    """Return the port of the server that serves a session, and the newest row that it sees."""
    port, number = (await session.execute(NEWEST)).one()
    return port, number


def writing_app(database: Database, **options: Any) -> FastAPI:
    """Return an application that writes, and one that reads."""
    app, router = FastAPI(), APIRouter(route_class=RetryRoute)
    if options:
        install_read_your_writes(app, database=database, **options)

    @router.post("/")
    async def write(db: Annotated[AsyncSession, Depends(database.get_db)]) -> int:
        return int((await db.execute(INSERT)).scalar_one())

    @router.get("/")
    async def read(db: Annotated[AsyncSession, Depends(database.get_read_db)]) -> tuple[int, int]:
        return await newest(db)

    app.include_router(router)
    return app


@asynccontextmanager
async def served(
    servers: Servers, driver: str, **options: Any
) -> AsyncIterator[tuple[Database, httpx.AsyncClient]]:
    """Run the application on all three servers; yield it with a client."""
    database = Database(servers.settings(driver))
    app = writing_app(database, secret=SECRET, **options)
    async with database, client(app) as http:
        yield database, http


def through(proxy: Proxy, servers: Servers, driver: str) -> DatabaseSettings:
    """Return settings with all three servers, the primary behind the proxy."""
    url = SecretStr(proxy.through(servers.primary.url(), driver))
    return servers.settings(driver).model_copy(update={"url": url})


async def until_a_replica_serves(http: httpx.AsyncClient, ports: set[int | None]) -> int:
    """Wait until reads come from a replica; return the newest row there."""
    async with asyncio.timeout(10):
        while True:
            port, number = (await http.get("/")).json()
            if port in ports:
                return int(number)
            await asyncio.sleep(0.02)


async def test_client_sees_what_it_has_written(paused: Servers, driver: str):
    """From the primary, until a replica has replayed it; other clients go on reading there."""
    async with served(paused, driver) as (database, http):
        response = await http.post("/")
        written = response.json()
        assert (await http.get("/")).json() == [paused.primary.port, written]

        async with client(writing_app(database, secret=SECRET)) as other:
            port, number = (await other.get("/")).json()
            assert (port in paused.ports, number) == (True, written - 1)

        paused.revive()
        assert await until_a_replica_serves(http, paused.ports) == written


async def test_cookie(servers: Servers, driver: str):
    """Scripts of a page do not see it, and it goes the way that the request has come; reads set none."""
    async with served(servers, driver, max_age=60, path="/", domain="test") as (_, http):
        morsel = SimpleCookie((await http.post("/")).headers["set-cookie"])[COOKIE]
        assert len(morsel.value) == 43
        attributes = {name: value for name, value in morsel.items() if value}
        assert attributes == {
            "path": "/",
            "max-age": "60",
            "domain": "test",
            "httponly": True,
            "samesite": "lax",
        }
        secure = SimpleCookie((await http.post("https://test/")).headers["set-cookie"])
        assert secure[COOKIE]["secure"]
        assert "set-cookie" not in (await http.get("/")).headers
        assert "set-cookie" not in (await http.get("/missing")).headers


async def test_header(paused: Servers, driver: str):
    """Clients without cookies send the header of the last response that had it."""
    async with served(paused, driver, cookie=None, header="X-Written") as (_, http):
        response = await http.post("/")
        assert "set-cookie" not in response.headers
        headers = {"x-written": response.headers["X-Written"]}
        response = await http.get("/", headers=headers)
        assert response.json()[0] == paused.primary.port
        assert "x-written" not in response.headers
        assert (await http.get("/")).json()[0] in paused.ports


@pytest.mark.parametrize(
    "way", ["session", "run_in_transaction", "engine", "request", "autocommit"]
)
async def test_request_that_has_written_reads_it(paused: Servers, driver: str, way: str):
    """However it commits; also by a session that was opened before; and the client is told."""
    database = Database(paused.settings(driver))
    app = FastAPI()
    install_read_your_writes(app, database=database, secret=SECRET)
    DB = Annotated[AsyncSession, Depends(database.get_db)]
    ReadDB = Annotated[AsyncSession, Depends(database.get_read_db)]

    @app.middleware("http")
    async def another_task(request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)

    @app.get("/")
    async def read(reads: ReadDB) -> tuple[int, int]:
        return await newest(reads)

    @app.post("/")
    async def write(db: DB, reads: ReadDB) -> list[tuple[int, int]]:
        found = [await newest(reads)]
        if way == "session":
            async with database.session() as session:
                await session.execute(INSERT)
        elif way == "run_in_transaction":
            await database.run_in_transaction(lambda session: session.execute(INSERT))
        elif way == "engine":
            async with database.engine.begin() as connection:
                await connection.execute(INSERT)
        elif way == "autocommit":
            own = database.engine.execution_options(isolation_level="AUTOCOMMIT")
            async with own.connect() as connection:
                await connection.execute(INSERT)
        else:
            await db.execute(INSERT)
            await db.commit()
        found.append(await newest(reads))
        async with database.read_session() as session:
            return [*found, await newest(session)]

    async with database, client(app) as http:
        response = await http.post("/")
        (port, before), *after = response.json()
        assert port in paused.ports
        assert after == [[paused.primary.port, before + 1]] * 2
        assert COOKIE in response.cookies
        assert (await http.get("/")).json() == after[0]


async def test_writes_after_the_response_cannot_be_told(paused: Servers, driver: str):
    """The headers have gone by then. The task itself sees what it has written."""
    database, found = Database(paused.settings(driver)), list[tuple[int, int]]()
    app = FastAPI()
    install_read_your_writes(app, database=database, secret=SECRET)

    async def later() -> None:
        async with database.session() as session:
            await session.execute(INSERT)
        async with database.read_session() as session:
            found.append(await newest(session))

    @app.post("/")
    async def write(tasks: BackgroundTasks) -> None:
        tasks.add_task(later)

    async with database, client(app) as http:
        response = await http.post("/")
    assert "set-cookie" not in response.headers
    assert [port for port, _ in found] == [paused.primary.port]


async def test_round_trips(servers: Servers, driver: str):
    """A write costs one more, a read none."""
    async with tcp_proxy(servers.primary.port) as proxy:
        settings = through(proxy, servers, driver)
        database = Database(settings.model_copy(update={"replica_urls": [settings.url]}))
        plain = writing_app(database)
        told = writing_app(database, secret=SECRET)
        async with database:
            without_looks(database)
            assert (
                await round_trips(proxy, told, "POST") - await round_trips(proxy, plain, "POST")
                == 1
            )
            assert (
                await round_trips(proxy, told, "GET") == await round_trips(proxy, plain, "GET") == 1
            )


def without_looks(database: Database) -> None:
    """Leave the replicas as they were at the start: each look costs a round trip, too."""
    for run in database._runs._all():
        assert run.watch is not None
        for task in run.watch._tasks:
            task.cancel()


async def round_trips(proxy: Proxy, app: FastAPI, method: str) -> int:
    """Return the round trips of a request, whose connections are there already."""
    async with client(app) as http:
        await http.request(method, "/")
        before = proxy.round_trips
        await http.request(method, "/")
    return proxy.round_trips - before


async def test_texts_that_were_not_written_here(paused: Servers, driver: str):
    """They are ignored: no client can send its reads to the primary with them."""
    async with served(paused, driver, header="X-Written") as (database, http):
        own = (await http.post("/")).cookies[COOKIE]
        foreign_app = writing_app(database, secret=SECRET[::-1])
        async with client(foreign_app) as other:
            foreign = (await other.post("/")).cookies[COOKIE]
        http.cookies.clear()
        forged = own[:30] + ("A" if own[30] != "A" else "B") + own[31:]
        for bad in (forged, foreign, own[:-1], own * 1000, "", "é", "a b", '"', "%00", "=" * 43):
            sent = {b"Cookie": f"{COOKIE}={bad}".encode(), b"X-Written": bad.encode()}
            response = await http.get("/", headers=sent)
            assert response.json()[0] in paused.ports, bad
        both = f"{COOKIE}={forged}; a=b; {COOKIE}={own}"
        assert (await http.get("/", headers={"Cookie": both})).json()[0] == paused.primary.port


async def test_processes_and_rotation(paused: Servers, driver: str):
    """The next process reads what another has signed, also while the secret is being replaced."""
    async with served(paused, driver) as (database, http):
        cookies = {COOKIE: (await http.post("/")).cookies[COOKIE]}
        secrets = (
            SECRET,
            ["a newer secret of the application", SECRET],
            ["another secret, newest"],
        )
        found = []
        for secret in secrets:
            async with client(writing_app(database, secret=secret)) as other:
                other.cookies.update(cookies)
                found.append((await other.get("/")).json()[0] == paused.primary.port)
    assert found == [True, True, False]


async def test_two_databases(paused: Servers, driver: str):
    """Each has a cookie of its own, which says nothing of the other."""
    databases = [Database(paused.settings(driver)) for _ in range(2)]
    app, one, other = FastAPI(), *map(writing_app, databases)
    for database in databases:
        install_read_your_writes(app, database=database, secret=SECRET)
    app.mount("/one", one)
    app.mount("/other", other)
    async with databases[0], databases[1], client(app) as http:
        response = await http.post("/other/")
        assert list(response.cookies) == ["asyncdb_written_2"]
        assert (await http.get("/other/")).json()[0] == paused.primary.port
        http.cookies.set(COOKIE, response.cookies["asyncdb_written_2"])
        assert (await http.get("/one/")).json()[0] in paused.ports


async def test_primary_that_is_gone_after_the_commit(paused: Servers, driver: str):
    """The response does not fail; the client reads from the primary, since its position is unknown."""
    async with tcp_proxy(paused.primary.port) as proxy:
        database = Database(through(proxy, paused, driver))
        app = writing_app(database, secret=SECRET)

        @app.post("/silent")
        async def write(db: Annotated[AsyncSession, Depends(database.get_db)]) -> int:
            number = (await db.execute(INSERT)).scalar_one()
            await db.commit()
            proxy.silent = True
            return int(number)

        async with database, client(app) as http:
            response = await http.post("/silent")
            assert response.status_code == 200
            proxy.silent = False
            paused.revive()
            assert (await http.get("/")).json() == [paused.primary.port, response.json()]


async def test_commit_without_an_answer(paused: Servers, driver: str):
    """It may be there: the client that got an error sees it."""
    async with tcp_proxy(paused.primary.port) as proxy:
        database = Database(through(proxy, paused, driver))
        app = writing_app(database, secret=SECRET)
        install_error_handlers(app)
        async with database, client(app) as http:
            before = (await http.post("/")).json()
            http.cookies.clear()
            proxy.at_commit = "cut after"
            response = await http.post("/")
            proxy.at_commit = "forward"
            assert response.status_code == 500
            assert COOKIE in response.cookies
            assert (await http.get("/")).json() == [paused.primary.port, before + 1]


async def test_sockets(paused: Servers, driver: str):
    """They read as the cookie of their handshake says; what they write before they accept is told."""
    database = Database(paused.settings(driver))
    app = writing_app(database, secret=SECRET)

    @app.websocket("/")
    async def read(socket: WebSocket, writes: bool = False) -> None:
        if writes:
            async with database.session() as session:
                await session.execute(INSERT)
        await socket.accept()
        async with database.read_session() as session:
            await socket.send_json(await newest(session))
        await socket.close()

    async with database, http_server(app) as address:
        async with connect(f"ws://{address}/") as socket:
            assert str(paused.primary.port) not in str(await socket.recv())
        async with connect(f"ws://{address}/?writes=true") as socket:
            assert socket.response is not None
            cookie = socket.response.headers["Set-Cookie"].partition(";")[0]
        async with connect(f"ws://{address}/", additional_headers={"Cookie": cookie}) as socket:
            assert str(paused.primary.port) in str(await socket.recv())


async def test_sandbox(servers: Servers, driver: str):
    """All sessions of a sandbox share a connection: there is nothing to tell."""
    async with served(servers, driver) as (database, http), sandbox(database):
        response = await http.post("/")
        assert "set-cookie" not in response.headers
        assert (await http.get("/")).json() == [servers.primary.port, response.json()]
