"""A session class of the user's own keeps its attributes and methods."""

from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import SAWarning
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction
from sqlalchemy.orm import Session
from typing_extensions import deprecated

from fastapi_asyncdb import Database, DatabaseSettings
from tests.support.application import Base, Note, stored
from tests.support.databases import ONE_DRIVER

pytestmark = pytest.mark.databases(*ONE_DRIVER)

# Attributes that an application may well have, and names of the library's own.
NAMES = [
    "closed",
    "connections",
    "ending",
    "first_step",
    "free",
    "hooks",
    "postponed",
    "savepoints",
    "state",
    "streams",
    "tenant",
    "user",
    "watched",
]


async def use(database: Database) -> None:
    """Store a note, with a flush, a savepoint and a commit of its own."""
    async with database:
        await database.start(create_tables=Base.metadata)
        async with database.session() as session:
            session.add(Note(text="first"))
            await session.flush()
            await session.commit()
            async with session.begin_nested():
                session.add(Note(text="second"))
        assert await stored(database) == ["first", "second"]
        await database.stop()


@pytest.mark.parametrize("name", NAMES)
async def test_attribute_of_an_async_session(database_url: str, name: str):
    """An attribute that the user's ``AsyncSession`` sets is the user's."""
    seen: list[object] = []

    class Own(AsyncSession):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            setattr(self, name, "mine")

        async def commit(self) -> None:
            await super().commit()
            seen.append(getattr(self, name))

    await use(Database(DatabaseSettings(url=database_url), session_class=Own))
    assert set(seen) == {"mine"}


@pytest.mark.parametrize("name", NAMES)
async def test_attribute_of_a_sync_session_class(database_url: str, name: str):
    """So is one that the ``Session`` below it sets: SQLAlchemy's listeners are given that one."""

    class OwnSync(Session):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            setattr(self, name, "mine")

    class Own(AsyncSession):
        sync_session_class = OwnSync

    database = Database(DatabaseSettings(url=database_url), session_class=Own)
    async with database, database.read_session() as session:
        assert await session.scalar(select(1)) == 1
        assert getattr(session.sync_session, name) == "mine"


async def test_session_has_no_names_that_sqlalchemys_has_not(database: Database):
    """The library's own state takes no public name of a session away from its user."""
    async with database.session() as session:
        ours = {name for name in dir(session) if not name.startswith("_")}
        below = {name for name in dir(session.sync_session) if not name.startswith("_")}
    async with AsyncSession(database.engine) as plain:
        assert ours == {name for name in dir(plain) if not name.startswith("_")}
        assert below == {name for name in dir(plain.sync_session) if not name.startswith("_")}


async def test_begin_of_the_users_own_is_called(database_url: str):
    """What a subclass does when a transaction begins is done."""
    begun: list[str] = []

    class Own(AsyncSession):
        def begin(self) -> AsyncSessionTransaction:
            begun.append("begin")
            return super().begin()

    database = Database(DatabaseSettings(url=database_url), session_class=Own)
    async with database, database.session() as session, session.begin():
        pass
    assert begun == ["begin"]


async def test_begin_nested_of_the_users_own_is_called(database_url: str):
    """The same for savepoints."""
    begun: list[str] = []

    class Own(AsyncSession):
        def begin_nested(self) -> AsyncSessionTransaction:
            begun.append("begin_nested")
            return super().begin_nested()

    database = Database(DatabaseSettings(url=database_url), session_class=Own)
    async with database, database.session() as session, session.begin_nested():
        pass
    assert begun == ["begin_nested"]


# --- Warnings -------------------------------------------------------------------------------------


async def test_warning_of_a_deprecated_method_points_to_its_caller(database_url: str):
    """SQLModel's session deprecates ``execute`` like this; its user must find the line."""

    class Own(AsyncSession):
        @deprecated("Use another method.")
        async def execute(self, *args: Any, **options: Any) -> Any:
            return await super().execute(*args, **options)

    database = Database(DatabaseSettings(url=database_url), session_class=Own)
    async with database, database.session() as session:
        with pytest.warns(DeprecationWarning, match="another method") as caught:
            await session.execute(select(1))
    assert [warning.filename for warning in caught] == [__file__]


async def test_warning_of_sqlalchemy_points_to_its_caller(database: Database):
    """SQLAlchemy looks for the first line that is not its own: the user's, in a listener."""

    def add_another(mapper: object, connection: object, note: Note) -> None:
        session.sync_session.add(Note(text="added during the flush"))

    event.listen(Note, "after_insert", add_another)
    try:
        async with database.session() as session:
            session.add(Note(text="flushed"))
            with pytest.warns(SAWarning, match="execution stage of the flush") as caught:
                await session.flush()
            await session.rollback()
    finally:
        event.remove(Note, "after_insert", add_another)
    assert [warning.filename for warning in caught] == [__file__]
