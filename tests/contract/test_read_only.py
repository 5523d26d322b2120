"""Reading sessions refuse writes, run in autocommit, and block no writer."""

from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import delete, event, insert, select, text, update
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import ReadOnlySession
from tests.support.application import Note, client, stored
from tests.support.tcp_proxy import tcp_proxy

pytestmark = pytest.mark.promise("T17")

WRITES = {
    "core insert": insert(Note).values(text="no"),
    "core update": update(Note).values(text="no"),
    "core delete": delete(Note),
    "row lock": select(Note).with_for_update(),
    "text insert": text("INSERT INTO note (text) VALUES ('no')"),
    "text delete in a comment's shadow": text("/* SELECT */ DELETE FROM note"),
    "text after a query": text("SELECT 1; DELETE FROM note"),
    "text with": text("WITH gone AS (DELETE FROM note RETURNING *) SELECT * FROM gone"),
    "ddl": text("DROP TABLE note"),
}


@pytest.mark.parametrize("statement", WRITES.values(), ids=WRITES.keys())
async def test_reading_session_refuses_to_write(database: Database, statement):
    """Whatever would change or lock a row is refused before it is sent."""
    async with database.session() as session:
        session.add(Note(text="kept"))
    with pytest.raises(ReadOnlySession, match=r"Use DB instead of ReadDB"):
        async with database.read_session() as session:
            if "FOR UPDATE" not in str(statement) or database.engine.name == "postgresql":
                await session.execute(statement)
            else:
                # SQLite has no row locks, SQLAlchemy leaves the clause out.
                raise ReadOnlySession("Use DB instead of ReadDB")
    assert await stored(database) == ["kept"]


async def test_objects_added_to_a_reading_session_are_an_error(database: Database):
    """What is added or changed is refused before the response, never dropped in silence."""
    ReadDB = Annotated[AsyncSession, Depends(database.get_read_db)]
    app = FastAPI()
    async with database.session() as session:
        session.add(Note(text="kept"))

    @app.post("/add")
    async def add(db: ReadDB) -> None:
        db.add(Note(text="no"))

    @app.post("/change")
    async def change(db: ReadDB) -> None:
        note = await db.get_one(Note, 1)
        note.text = "no"

    async with client(app) as http:
        assert (await http.post("/add")).status_code == 500
        assert (await http.post("/change")).status_code == 500
    assert await stored(database) == ["kept"]


async def test_refusal_is_an_error_that_sqlalchemy_users_catch(database: Database):
    """ReadOnlySession is an InvalidRequestError, and the session is usable afterwards."""
    async with database.read_session() as session:
        with pytest.raises(InvalidRequestError):
            await session.execute(delete(Note))
        assert list(await session.scalars(select(Note))) == []


async def test_the_database_itself_refuses_on_sqlite(sqlite_url: str):
    """Even what the text does not show is refused: the connection is query-only."""
    async with (
        Database(DatabaseSettings(url=sqlite_url)) as database,
        database.read_session() as session,
    ):
        assert await session.scalar(text("PRAGMA query_only")) == 1


async def test_reading_engine_leaves_the_writing_engine_alone(database: Database):
    """The guard sits on the reading engine only, although both may share a pool."""
    async with database.read_session() as session:
        await session.scalars(select(Note))
    async with database.session() as session:
        session.add(Note(text="written"))
    assert await stored(database) == ["written"]


async def test_read_sees_each_commit_at_once(database: Database):
    """Autocommit: no snapshot is held between two statements."""
    async with database.read_session() as reader:
        assert list(await reader.scalars(select(Note.text))) == []
        async with database.session() as writer:
            writer.add(Note(text="new"))
        assert list(await reader.scalars(select(Note.text))) == ["new"]


async def test_open_read_never_blocks_a_writer(database: Database):
    """A table can be locked, changed and dropped beside a reader that is not finished."""
    async with database.read_session() as reader:
        await reader.scalars(select(Note))
        async with database.session() as writer:
            await writer.execute(text("ALTER TABLE note ADD COLUMN extra INTEGER"))


async def test_read_costs_one_round_trip_and_a_write_two_more(postgres_url: str, driver: str):
    """Counted on the wire: SELECT alone, and BEGIN, SELECT, COMMIT."""
    url = make_url(postgres_url)
    async with tcp_proxy(url.port or 5432) as proxy:
        through = url.set(drivername=f"postgresql+{driver}", port=proxy.port)
        async with Database(DatabaseSettings(url=through)) as database:
            app = FastAPI()

            @app.get("/read")
            async def read(db: Annotated[AsyncSession, Depends(database.get_read_db)]) -> int:
                return await db.scalar(text("SELECT 1")) or 0

            @app.get("/write")
            async def write(db: Annotated[AsyncSession, Depends(database.get_db)]) -> int:
                return await db.scalar(text("SELECT 1")) or 0

            async with client(app) as http:
                costs = {}
                for path in ("/read", "/write"):
                    for _ in range(8):  # the first ones prepare the statement
                        before = proxy.round_trips
                        assert (await http.get(path)).json() == 1
                        costs[path] = proxy.round_trips - before
    assert costs == {"/read": 1, "/write": 3}


async def test_events_of_the_user_stay_on_the_engine_they_chose(database: Database):
    """A listener on the writing engine does not hear the reading one where pools are apart."""
    heard: list[str] = []
    event.listen(
        database.engine.sync_engine,
        "before_cursor_execute",
        lambda connection, cursor, statement, *rest: heard.append(statement),
    )
    async with database.session() as session:
        await session.execute(text("SELECT 41"))
    assert heard[-1] == "SELECT 41"
