"""The health routes: alive without a database, ready only with it."""

import asyncio
import logging
import re
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy import event, text

from fastapi_asyncdb import Database, DatabaseSettings, db_lifespan, health_router
from fastapi_asyncdb.errors import ConfigurationError
from tests.example_app.conftest import ROOT
from tests.support.application import client, running
from tests.support.databases import DATABASES
from tests.support.http_server import http_server
from tests.support.migration_project import migration_project

pytestmark = pytest.mark.databases(*DATABASES)

OK = (200, {"status": "ok"})
UNAVAILABLE = (503, {"status": "unavailable"})
INI = ROOT / "example_app" / "alembic.ini"


async def get(app: FastAPI, path: str, method: str = "GET") -> tuple[int, Any]:
    """Return the status and the body; no answer may be stored by a cache."""
    async with client(app) as http:
        answer = await http.request(method, path)
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, answer.json() if method == "GET" else answer.text


def application(*databases: Database, **options: Any) -> FastAPI:
    """Return an application with the routes of health, and nothing else."""
    app = FastAPI()
    app.include_router(health_router(*databases, **options))
    return app


async def test_application_is_alive_and_ready(database_url: str, monkeypatch: pytest.MonkeyPatch):
    """One line; the routes are not in the schema, and HEAD asks as GET does."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    app = FastAPI(lifespan=db_lifespan)
    app.include_router(health_router())
    async with running(app):
        for path in ("/health/live", "/health/ready"):
            assert await get(app, path) == OK
            assert await get(app, path, "HEAD") == (200, "")
        assert app.openapi()["paths"] == {}
    assert await get(app, "/health/live") == OK
    assert await get(app, "/health/ready") == UNAVAILABLE


async def test_database_that_is_down_is_not_ready(
    unused_port: int, caplog: pytest.LogCaptureFixture
):
    """The process lives on; the log has the cause, once in ten seconds, and the body has not."""
    settings = DatabaseSettings(url=f"postgresql://app:pa55word@127.0.0.1:{unused_port}/app")
    database = Database(settings)
    await database.start(require_connection=False)
    caplog.clear()
    app = application(database)
    for _ in range(3):
        assert await get(app, "/health/live") == OK
        assert await get(app, "/health/ready") == UNAVAILABLE
    (record,) = caplog.records
    assert "app:***@127.0.0.1" in record.getMessage()
    await database.stop()


async def test_silent_database_is_not_ready_in_time(
    silent_port: int, caplog: pytest.LogCaptureFixture
):
    """The deadline is the router's, not that of the connection."""
    settings = DatabaseSettings(url=f"postgresql://127.0.0.1:{silent_port}/app", connect_timeout=1)
    database = Database(settings)
    await database.start(require_connection=False)
    caplog.clear()
    assert await get(application(database, timeout=0.1), "/health/ready") == UNAVAILABLE
    assert "no answer within 0.1 s" in caplog.text
    await database.stop()


async def test_each_database_has_to_answer(database_url: str, unused_port: int):
    """One that is down makes the application unready."""
    down = Database(DatabaseSettings(url=f"postgresql://127.0.0.1:{unused_port}/app"))
    await down.start(require_connection=False)
    async with Database(DatabaseSettings(url=database_url)) as up:
        assert await get(application(up), "/health/ready") == OK
        assert await get(application(up, down), "/health/ready") == UNAVAILABLE
    await down.stop()


async def test_full_pool_is_ready(database_url: str):
    """Requests that wait for a connection are served in the end; a restart would lose them."""
    one = DatabaseSettings(url=database_url, pool_size=1, max_overflow=0, max_waiting=0)
    async with Database(one) as database, database.session() as session:
        await session.execute(text("SELECT 1"))
        assert await get(application(database), "/health/ready") == OK


async def test_many_probes_at_once_cost_one(database_url: str):
    """A hundred requests send one statement."""
    async with Database(DatabaseSettings(url=database_url)) as database:
        app = application(database, migrations=INI)
        await get(app, "/health/ready")
        statements: list[str] = []
        engine: Any = database._runs._by_loop[asyncio.get_running_loop()].probe
        event.listen(
            engine._engine.sync_engine,
            "before_cursor_execute",
            lambda *arguments: statements.append(arguments[2]),
        )
        await asyncio.gather(*(get(app, "/health/ready") for _ in range(100)))
    assert len([each for each in statements if "alembic" not in each]) <= 2  # and has_table()


async def test_database_that_stops_is_not_ready(database_url: str):
    """A balancer sends no further request, while open ones end."""
    database = Database(DatabaseSettings(url=database_url))
    await database.start()
    app, began, may_end = application(database), asyncio.Event(), asyncio.Event()

    async def work() -> None:
        async with database.session():
            began.set()
            await may_end.wait()

    task = asyncio.create_task(work())
    await began.wait()
    stop = asyncio.create_task(database.stop())
    async with asyncio.timeout(5):
        while await get(app, "/health/ready") == OK:
            await asyncio.sleep(0)
    assert await get(app, "/health/live") == OK
    may_end.set()
    await asyncio.gather(task, stop)


async def test_dependencies_of_the_application_do_not_apply(database: Database):
    """A probe has no token, and the routes tell nothing that needs one."""

    def refuse() -> None:
        raise HTTPException(401)

    app = FastAPI(dependencies=[Depends(refuse)])
    app.include_router(health_router(database, prefix="/-"))
    assert await get(app, "/-/live") == await get(app, "/-/ready") == OK


# --- Migrations -----------------------------------------------------------------------------------


async def stamp(database: Database, *revisions: str) -> None:
    """Let the database say that it is at these revisions."""
    async with database.session() as session:
        await session.execute(
            text("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
        )
        await session.execute(text("DELETE FROM alembic_version"))
        for revision in revisions:
            insert = text("INSERT INTO alembic_version VALUES (:revision)")
            await session.execute(insert, {"revision": revision})


async def test_pending_migrations_are_not_ready(
    database: Database, caplog: pytest.LogCaptureFixture
):
    """Until the newest one was run; a database that is newer than the code is ready."""
    scripts = ScriptDirectory(str(ROOT / "example_app" / "migrations"))
    (head,) = scripts.get_heads()
    base = scripts.get_bases()[0]
    app = application(database, migrations=INI)
    assert await get(app, "/health/ready") == UNAVAILABLE
    assert "migrations are pending: it is at no revision" in caplog.text
    for revision, expected in {base: UNAVAILABLE, head: OK, "newer": OK}.items():
        await stamp(database, revision)
        assert await get(app, "/health/ready") == expected
    assert await get(application(database), "/health/ready") == OK


async def test_migrations_by_the_pyproject(database_url: str, tmp_path: Path):
    """A project without an alembic.ini names its pyproject.toml; the upgrade makes it ready."""
    project = migration_project(tmp_path, database_url)
    project.table("one", None)
    async with Database(project.settings()) as database:
        app = application(database, migrations=tmp_path / "pyproject.toml")
        assert await get(app, "/health/ready") == UNAVAILABLE
        await project.migrator().upgrade()
        assert await get(app, "/health/ready") == OK


def test_migrations_that_cannot_be_read_are_refused(tmp_path: Path):
    """When the router is made, not at the first probe."""
    with pytest.raises(ConfigurationError, match="names no file"):
        health_router(migrations=tmp_path / "alembic.ini")
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/nowhere\n")
    with pytest.raises(ConfigurationError, match=r"cannot be read: .*nowhere"):
        health_router(migrations=tmp_path / "alembic.ini")


# --- Access log -----------------------------------------------------------------------------------


async def test_probes_are_left_out_of_the_access_log(
    database: Database, capsys: pytest.CaptureFixture[str]
):
    """Exactly these paths, wherever the router is; the filter goes with the application."""
    app = FastAPI()
    app.include_router(health_router(database, access_log=False), prefix="/a b")
    app.include_router(health_router(database, prefix="/loud"))
    logger = logging.getLogger("uvicorn.access")
    before = logger.filters[:]
    async with app.router.lifespan_context(app), http_server(app) as address:
        logger.setLevel(logging.INFO)
        for path in ("/a%20b/health/ready?x=1", "/a%20b/health/live", "/loud/live", "/health/live"):
            await request(address, path)
        assert len(logger.filters) == len(before) + 1
    printed = "".join(capsys.readouterr())
    assert re.findall(r'"GET (\S+) ', printed) == ["/loud/live", "/health/live"]
    assert logger.filters == before


async def request(address: str, path: str) -> None:
    """Send a request by hand, and read the whole answer."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n".encode())
    assert (await reader.read()).startswith(b"HTTP/1.1 ")
    writer.close()
