"""Arguments of SQLAlchemy's ``Session`` that a ``Database`` is given act in all its sessions."""

from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import AttributeNotLoaded, ConfigurationError
from fastapi_asyncdb.testing import sandbox
from tests.support.application import Base, Note, running

pytestmark = pytest.mark.databases("sqlite")


async def count(session: AsyncSession) -> int:
    """Count the notes."""
    return await session.scalar(select(func.count()).select_from(Note)) or 0


@pytest.fixture
async def settings(database_url: str) -> DatabaseSettings:
    """Those of a database with an empty table."""
    settings = DatabaseSettings(url=database_url)
    database = Database(settings)
    await database.start(create_tables=Base.metadata)
    await database.stop()
    return settings


async def test_autoflush(settings: DatabaseSettings):
    """A query sees what is pending, unless the application does not want that."""
    for database, expected in ((Database(settings), 1), (Database(settings, autoflush=False), 0)):
        async with database, database.session() as session:
            session.add(Note(text="pending"))
            assert await count(session) == expected
            await session.rollback()


async def test_expire_on_commit(settings: DatabaseSettings):
    """Objects keep their values; where they do not, the error names the attribute and the cause."""
    async with Database(settings) as database, database.session() as session:
        session.add(note := Note(text="kept"))
        await session.commit()
        assert note.text == "kept"
    async with Database(settings, expire_on_commit=True) as database, database.session() as session:
        session.add(note := Note(text="expired"))
        await session.commit()
        with pytest.raises(AttributeNotLoaded, match=r"Note\.text .*expire_on_commit=True"):
            _ = note.text
        await session.refresh(note)
        assert note.text == "expired"


async def test_reading_sessions_keep_their_objects(settings: DatabaseSettings):
    """The return of a connection after each statement is no commit."""
    async with Database(settings, expire_on_commit=True) as database:
        async with database.session() as session:
            session.add(Note(text="read"))
        async with database.read_session() as reader:
            (note,) = await reader.scalars(select(Note))
            assert await count(reader) == 1
            assert note.text == "read"


async def test_each_session_has_them(settings: DatabaseSettings):
    """Those of requests, also before the start; of jobs, of on_begin, of the sandbox."""
    seen: list[dict[Any, Any]] = []

    class Own(AsyncSession):
        """A session class of the user's own."""

    async def note(session: Own, connection: object) -> None:
        seen.append(session.info)

    given = {"service": "billing"}
    database = Database(settings, session_class=Own, on_begin=note, info=given, autoflush=False)
    app = FastAPI()

    @app.get("/")
    async def read(db: Annotated[Own, Depends(database.get_db)]) -> bool:
        db.info["request"] = True
        seen.append(db.info)
        return db.autoflush

    async with running(app) as http:  # without its lifespan
        assert (await http.get("/")).json() is False
    async with database:
        async with running(app) as http:
            assert (await http.get("/")).json() is False
        async with database.session() as session:
            await count(session)
            seen.append(session.info)
    async with sandbox(database) as own:
        seen.append(own.info)
        assert not own.autoflush
    assert len(seen) >= 5
    assert all(info["service"] == "billing" for info in seen)
    assert given == {"service": "billing"}


@pytest.mark.parametrize(
    "name",
    [
        "autobegin",
        "bind",
        "binds",
        "close_resets_only",
        "join_transaction_mode",
        "sync_session_class",
        "twophase",
    ],
)
def test_arguments_that_contradict_a_promise_are_refused(name: str):
    """At once, with the reason."""
    refused: Any = {name: None}
    with pytest.raises(ConfigurationError, match=rf"have no {name}: \w+ .*\w\."):
        Database(**refused)


def test_unknown_arguments_are_refused():
    """A misspelt one is an error of the call, as for any function."""
    unknown: Any = {"autofush": False}
    with pytest.raises(TypeError, match=r"no argument autofush; .* autoflush"):
        Database(**unknown)
