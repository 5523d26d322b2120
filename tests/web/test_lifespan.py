"""Lifespans: alone, around one's own, in a router, for several handles."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import (
    DB,
    Database,
    DatabaseSettings,
    ReadDB,
    create_lifespan,
    db_lifespan,
    default_database,
)
from fastapi_asyncdb.errors import (
    AutoCreateTablesProductionError,
    ConfigurationError,
    DatabaseNotStarted,
    DatabaseUnavailable,
)
from tests.support.application import Base, Note, client, running
from tests.support.databases import ONE_DRIVER

pytestmark = pytest.mark.databases(*ONE_DRIVER)


def notes_app(lifespan: Any) -> FastAPI:
    """An application on the default handle."""
    app = FastAPI(lifespan=lifespan)

    @app.post("/notes", status_code=201)
    async def create(db: DB) -> None:
        db.add(Note(text="written"))

    @app.get("/notes")
    async def count(db: ReadDB) -> int:
        return await db.scalar(select(func.count()).select_from(Note)) or 0

    @app.get("/one")
    async def one(db: DB) -> int:
        return await db.scalar(text("SELECT 1")) or 0

    return app


async def test_default_lifespan_reads_the_environment(
    monkeypatch: pytest.MonkeyPatch, database_url: str
):
    """One line of lifespan, one alias, one variable."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    async with running(notes_app(db_lifespan)) as http:
        assert (await http.get("/one")).json() == 1
        assert default_database.engine.url.get_backend_name() in database_url
    assert repr(default_database) == "<Database not started>"


async def test_lifespan_with_settings_creates_tables(database_url: str):
    """Explicit settings, and the tables of the models, in development."""
    lifespan = create_lifespan(
        DatabaseSettings(url=database_url), metadata=Base.metadata, auto_create_tables=True
    )
    for expected in (1, 2):  # the rows are still there after a restart
        async with running(notes_app(lifespan)) as http:
            assert (await http.post("/notes")).status_code == 201
            assert (await http.get("/notes")).json() == expected


async def test_httpx_runs_no_lifespan_and_the_error_says_so():
    """The first thing that everybody meets in tests has a readable error."""
    transport = httpx.ASGITransport(notes_app(db_lifespan))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        with pytest.raises(DatabaseNotStarted, match="httpx"):
            await http.get("/one")


async def test_own_lifespan_runs_inside_and_its_state_arrives(database_url: str):
    """The user's lifespan may use the database from its first line to its last."""
    counts: list[int] = []
    handle = Database(DatabaseSettings(url=database_url))

    async def one() -> int:
        async with handle.session() as session:
            return await session.scalar(text("SELECT 1")) or 0

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[dict[str, str]]:
        counts.append(await one())
        yield {"flavour": "sweet"}
        counts.append(await one())

    app = FastAPI(lifespan=create_lifespan(databases=[handle], lifespan=own))

    @app.get("/")
    async def endpoint(request: Request) -> str:
        return str(request.state.flavour)

    async with running(app) as http:
        assert (await http.get("/")).json() == "sweet"
    assert counts == [1, 1]
    assert repr(handle) == "<Database not started>"


@pytest.mark.parametrize("moment", ["startup", "shutdown"])
async def test_own_lifespan_that_raises_still_closes(database_url: str, moment: str):
    """Stop disposes, even when the application's own lifespan raises."""
    handle = Database(DatabaseSettings(url=database_url))

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[None]:
        if moment == "startup":
            raise RuntimeError("own bug")
        yield
        raise RuntimeError("own bug")

    app = FastAPI(lifespan=create_lifespan(databases=[handle], lifespan=own))
    with pytest.raises(RuntimeError, match="own bug"):
        async with running(app):
            assert repr(handle) != "<Database not started>"
    assert repr(handle) == "<Database not started>"


async def test_start_inside_ones_own_lifespan(database_url: str):
    """'async with database.lifespan(app)' and 'async with database' do the same."""
    handle = Database(DatabaseSettings(url=database_url))
    seen: list[str] = []

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[None]:
        async with handle.lifespan(app), handle:
            seen.append(repr(handle))
            yield

    async with running(FastAPI(lifespan=own)):
        pass
    assert seen[0].endswith(" started>")
    assert repr(handle) == "<Database not started>"


async def test_lifespan_of_a_router(database_url: str):
    """A router brings its database along."""
    handle = Database(DatabaseSettings(url=database_url))
    router = APIRouter(lifespan=handle.lifespan)

    @router.get("/one")
    async def one(db: Annotated[AsyncSession, Depends(handle.get_db)]) -> int:
        return await db.scalar(text("SELECT 1")) or 0

    app = FastAPI()
    app.include_router(router)
    async with running(app) as http:
        assert (await http.get("/one")).json() == 1
    assert repr(handle) == "<Database not started>"


async def test_two_applications_share_a_handle(database_url: str):
    """The second application may come and go while the first is serving."""
    lifespan = create_lifespan(DatabaseSettings(url=database_url))
    async with running(notes_app(lifespan)) as first:
        async with running(notes_app(lifespan)) as second:
            assert ((await first.get("/one")).json(), (await second.get("/one")).json()) == (1, 1)
        assert (await first.get("/one")).json() == 1


async def test_mounted_application_shares_the_handle(database: Database):
    """A mounted application needs no lifespan of its own."""
    DB = Annotated[AsyncSession, Depends(database.get_db)]
    app, sub = FastAPI(), FastAPI()

    @sub.get("/one")
    async def one(db: DB) -> int:
        return await db.scalar(text("SELECT 1")) or 0

    app.mount("/sub", sub)
    async with client(app) as http:
        assert (await http.get("/sub/one")).json() == 1


async def test_several_handles_in_one_lifespan(database_url: str, tmp_path):
    """Each handle has its own database, all start and stop together."""
    users = Database(DatabaseSettings(url=database_url), metadata=Base.metadata)
    analytics = Database(
        DatabaseSettings(url=f"sqlite:///{tmp_path / 'analytics.db'}"), metadata=Base.metadata
    )
    app = FastAPI(lifespan=create_lifespan(databases=[users, analytics], auto_create_tables=True))

    @app.post("/")
    async def write(
        one: Annotated[AsyncSession, Depends(users.get_db)],
        two: Annotated[AsyncSession, Depends(analytics.get_db)],
    ) -> bool:
        one.add(Note(text="user"))
        two.add(Note(text="event"))
        return one is two

    async with running(app) as http:
        assert (await http.post("/")).json() is False
    assert {repr(users), repr(analytics)} == {"<Database not started>"}


async def test_handle_that_fails_to_start_stops_those_before_it(database_url: str, tmp_path):
    """Nothing is left open when the second database is not there."""
    users = Database(DatabaseSettings(url=database_url))
    broken = Database(DatabaseSettings(url=f"sqlite:///{tmp_path / 'missing' / 'x.db'}"))
    app = FastAPI(lifespan=create_lifespan(databases=[users, broken]))
    with pytest.raises(DatabaseUnavailable):
        async with running(app):
            pass
    assert repr(users) == "<Database not started>"


async def test_wrong_environment_is_one_readable_error(monkeypatch: pytest.MonkeyPatch):
    """The application does not start, and the error names the variable."""
    monkeypatch.setenv("DATABASE_POOL_SIZE", "many")
    with pytest.raises(ConfigurationError, match="DATABASE_POOL_SIZE"):
        async with running(notes_app(db_lifespan)):
            pass


async def test_tables_in_production_are_refused(database_url: str):
    """auto_create_tables and production do not go together."""
    settings = DatabaseSettings(url=database_url, environment="production")
    lifespan = create_lifespan(settings, metadata=Base.metadata, auto_create_tables=True)
    with pytest.raises(AutoCreateTablesProductionError):
        async with running(notes_app(lifespan)):
            pass


def test_contradictions_are_refused_when_the_lifespan_is_made():
    """Settings beside databases, or tables without a database, fail where they are written."""
    with pytest.raises(ConfigurationError, match="not both"):
        create_lifespan(DatabaseSettings(), databases=[Database()])
    with pytest.raises(ConfigurationError, match=r"metadata=Base\.metadata"):
        create_lifespan(auto_create_tables=True)
