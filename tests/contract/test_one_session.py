"""One session per request, lazy while it is unused, and closed at the end."""

from typing import Annotated

import pytest
from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI
from sqlalchemy import event, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import SessionClosed
from fastapi_asyncdb.testing.servers.postgresql import PostgresServer
from tests.support.application import Base, Note, client, pools_of, stored


def count_checkouts(database: Database) -> list[object]:
    """Return a list that grows with every connection taken from a pool."""
    taken: list[object] = []
    for pool in pools_of(database):
        event.listen(pool, "checkout", lambda connection, record, proxy: taken.append(connection))
    return taken


@pytest.mark.promise("T4")
async def test_every_declaration_gives_the_same_session_and_transaction(database: Database):
    """Plain, scoped, through dependencies, in the decorator: one session, one connection."""
    get_db = database.get_db
    DB = Annotated[AsyncSession, Depends(get_db)]
    sessions: list[AsyncSession] = []

    async def plain(db: DB) -> None:
        sessions.append(db)
        db.add(Note(text="from a dependency"))

    async def yielding(db: DB):
        sessions.append(db)
        yield
        sessions.append(db)

    async def function_yielding(db: DB):
        sessions.append(db)
        yield

    class Service:
        def __init__(self, db: DB) -> None:
            self.db = db

    app = FastAPI(dependencies=[Depends(plain)])
    router = APIRouter(dependencies=[Depends(yielding)])

    @router.post("/", dependencies=[Depends(function_yielding, scope="function")])
    async def endpoint(
        a: DB,
        b: Annotated[AsyncSession, Depends(get_db, scope="request")],
        c: Annotated[AsyncSession, Depends(get_db, scope="function")],
        d: Annotated[AsyncSession, Depends(get_db, use_cache=False)],
        service: Annotated[Service, Depends()],
    ) -> int:
        sessions.extend([a, b, c, d, service.db])
        return await service.db.scalar(select(func.count()).select_from(Note)) or 0

    app.include_router(router)
    checkouts = count_checkouts(database)
    async with client(app) as http:
        response = await http.post("/")

    assert response.json() == 1  # what the dependency added is seen before any commit
    assert len(sessions) == 9
    assert len(set(map(id, sessions))) == 1
    assert len(checkouts) == 1


@pytest.mark.promise("T4")
async def test_two_handles_give_two_sessions(database: Database, tmp_path):
    """Each handle has a session of its own in the same request."""
    other = Database(DatabaseSettings(url=f"sqlite:///{tmp_path / 'other.db'}"))
    await other.start(create_tables=Base.metadata)
    app = FastAPI()

    @app.post("/")
    async def endpoint(
        one: Annotated[AsyncSession, Depends(database.get_db)],
        two: Annotated[AsyncSession, Depends(other.get_db)],
    ) -> None:
        one.add(Note(text="one"))
        two.add(Note(text="two"))

    async with client(app) as http:
        assert (await http.post("/")).status_code == 200
    assert (await stored(database), await stored(other)) == (["one"], ["two"])
    await other.stop()


@pytest.mark.promise("T4")
async def test_writing_and_reading_session_live_side_by_side(database: Database):
    """A reader in the same request sees what is committed, without waiting for the writer."""
    app = FastAPI()

    @app.post("/")
    async def endpoint(
        db: Annotated[AsyncSession, Depends(database.get_db)],
        reader: Annotated[AsyncSession, Depends(database.get_read_db)],
    ) -> int:
        db.add(Note(text="not yet"))
        await db.flush()
        return await reader.scalar(select(func.count()).select_from(Note)) or 0

    async with client(app) as http:
        assert (await http.post("/")).json() == 0
    assert await stored(database) == ["not yet"]


@pytest.mark.promise("T4")
async def test_further_dependency_has_a_transaction_of_its_own(database: Database):
    """database.dependency() gives a second session in the same request."""
    audit = database.dependency()
    app = FastAPI()

    @app.post("/")
    async def endpoint(
        db: Annotated[AsyncSession, Depends(database.get_db)],
        log: Annotated[AsyncSession, Depends(audit)],
    ) -> bool:
        return db is log

    async with client(app) as http:
        assert (await http.post("/")).json() is False


@pytest.mark.promise("T5")
async def test_unused_session_touches_no_connection(database: Database):
    """A request that runs no SQL takes nothing from the pool."""
    app = FastAPI()

    @app.get("/")
    async def endpoint(
        db: Annotated[AsyncSession, Depends(database.get_db)],
        reader: Annotated[AsyncSession, Depends(database.get_read_db)],
    ) -> str:
        return "fine"

    checkouts = count_checkouts(database)
    async with client(app) as http:
        assert (await http.get("/")).json() == "fine"
    assert checkouts == []


@pytest.mark.promise("T5")
async def test_request_without_sql_works_while_the_database_is_down():
    """Only requests that need the database fail with it, and they recover with it."""
    app = FastAPI()
    with PostgresServer() as server:
        async with Database(DatabaseSettings(url=server.url())) as database:
            DB = Annotated[AsyncSession, Depends(database.get_db)]

            @app.get("/idle")
            async def idle(db: DB) -> str:
                return "fine"

            @app.get("/query")
            async def query(db: DB) -> int:
                return await db.scalar(text("SELECT 1")) or 0

            async with client(app) as http:
                assert (await http.get("/query")).json() == 1
                server.stop("immediate")
                assert (await http.get("/idle")).json() == "fine"
                assert (await http.get("/query")).status_code == 500
                server.start()
                assert (await http.get("/query")).json() == 1


@pytest.mark.promise("T8")
async def test_session_refuses_use_after_the_request(database: Database):
    """What kept the session is told how to get another one."""
    app = FastAPI()
    kept: list[AsyncSession] = []

    @app.post("/")
    async def endpoint(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None:
        kept.append(db)
        db.add(Note(text="in time"))

    async with client(app) as http:
        await http.post("/")
    with pytest.raises(SessionClosed, match=r"database\.session\(\)"):
        await kept[0].execute(select(Note))
    with pytest.raises(SessionClosed, match="has ended"):
        kept[0].add(Note(text="too late"))
    with pytest.raises(SessionClosed):
        await kept[0].connection()
    assert await stored(database) == ["in time"]


@pytest.mark.promise("T8")
async def test_objects_stay_readable_after_the_request(database: Database):
    """A committed object keeps its values; what was never loaded says that the session ended."""
    async with database.session() as session:
        note = Note(text="kept")
        session.add(note)
    assert (note.id, note.text) == (1, "kept")
    with pytest.raises(SessionClosed):
        await session.refresh(note)


@pytest.mark.promise("T8")
async def test_session_lives_until_background_tasks_are_done(database: Database):
    """The request ends after its background tasks, not with its response."""
    app = FastAPI()
    kept: list[AsyncSession] = []
    counts: list[int] = []

    async def later(db: AsyncSession) -> None:
        counts.append(await db.scalar(select(func.count()).select_from(Note)) or 0)

    @app.post("/")
    async def endpoint(
        db: Annotated[AsyncSession, Depends(database.get_db)], tasks: BackgroundTasks
    ) -> None:
        db.add(Note(text="first"))
        kept.append(db)
        tasks.add_task(later, db)

    async with client(app) as http:
        await http.post("/")
    assert counts == [1]
    with pytest.raises(SessionClosed):
        await later(kept[0])
