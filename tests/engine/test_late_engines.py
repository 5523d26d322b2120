"""``database.engine`` and ``database.read_engine``: handed around before the start, used after it."""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Engine, event, inspect, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker
from sqlalchemy.orm import Session

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import DatabaseNotStarted
from fastapi_asyncdb.testing import sandbox
from tests.support.application import Base, Note, checked_out, with_tables


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A started ``Database`` with tables."""
    async with with_tables(database_url, Base.metadata) as database:
        yield database


class Heard:
    """What the listeners of an engine have heard."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.statements: list[str] = []
        self.errors: list[BaseException] = []
        self.pool: Counter[str] = Counter()
        target = engine.sync_engine
        event.listen(target, "before_cursor_execute", self._statement)
        event.listen(target, "handle_error", lambda error: self.errors.append(error))
        for name in ("connect", "checkout", "checkin", "close"):
            event.listen(target, name, lambda *_, name=name: self.pool.update([name]))

    def _statement(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("SELECT '"):
            self.statements.append(statement[8:-1])


async def use(
    database: Database, auto: AsyncEngine, make: async_sessionmaker[AsyncSession]
) -> None:
    """Send one statement on each kind of engine, and one that fails on each pool."""
    async with database.session() as session:
        await session.execute(text("SELECT 'session'"))
    async with database.read_session() as session:
        await session.execute(text("SELECT 'reading session'"))
    async with database.session(isolation_level="REPEATABLE READ", read_only=True) as session:
        await session.execute(text("SELECT 'snapshot'"))
    for engine in (database.engine, database.read_engine, auto):
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 'connection'"))
            with pytest.raises(DBAPIError):
                await connection.execute(text("SELECT nothing"))
    async with make() as session:
        await session.execute(text("SELECT 'plain session'"))


ALL = [
    *("session", "reading session", "snapshot", "connection", "connection", "connection"),
    "plain session",
]
READING = ["reading session", "connection"]


@pytest.mark.parametrize("registered", ["before", "after"])
async def test_listeners_hear_of_each_statement_of_each_start_once(
    driver_url: str, registered: str
):
    """Registered before the start or after it; those of the reading engine hear of its own alone."""
    database = Database(DatabaseSettings(url=driver_url))
    auto = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    make = async_sessionmaker(database.engine)
    if registered == "after":
        await database.start()
    all_of_it, reading = Heard(database.engine), Heard(database.read_engine)
    if registered == "before":
        await database.start()
    try:
        await use(database, auto, make)
    finally:
        await database.stop()
    for heard, statements in ((all_of_it, ALL), (reading, READING)):
        assert heard.statements == statements
        assert len(heard.errors) == 3
    counted = all_of_it.pool
    assert counted["checkout"] == counted["checkin"] >= 7
    if registered == "before":
        assert counted["connect"] == counted["close"] >= 1
    async with database:
        await use(database, auto, make)
    assert (all_of_it.statements, reading.statements) == (ALL * 2, READING * 2)
    assert len(all_of_it.errors) == 6


async def test_class_level_listener_hears_of_a_statement_once(database: Database):
    """As Sentry's: the engines that stand for others do not hear of it a second time."""
    seen: list[str] = []

    def note(*args: Any) -> None:
        seen.append(args[2])

    event.listen(Engine, "before_cursor_execute", note)
    try:
        async with database.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
        async with database.read_session() as session:
            await session.execute(text("SELECT 1"))
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert seen.count("SELECT 1") == 2


async def test_removed_listener_hears_nothing(database: Database):
    """``event.remove`` and ``event.contains`` take the engine that the listener was registered on."""
    seen: list[object] = []

    def note(*args: Any) -> None:
        seen.append(args)

    target = database.engine.sync_engine
    for name in ("before_cursor_execute", "checkout"):
        event.listen(target, name, note)
        assert event.contains(target, name, note)
        event.remove(target, name, note)
    async with database.session() as session:
        await session.execute(text("SELECT 1"))
    assert not seen


def test_engines_are_sqlalchemys_before_the_start():
    """What libraries look at when modules are imported; nothing of it reads more than the settings."""
    database = Database(DatabaseSettings(url="postgresql://ada:pa55word@db.example/app"))
    for engine in (database.engine, database.read_engine):
        assert isinstance(engine, AsyncEngine)
        assert isinstance(engine.sync_engine, Engine)
        assert (engine.name, engine.driver) == ("postgresql", "asyncpg")
        assert engine.dialect.name == "postgresql"
        assert engine.url.host == "db.example"
        assert "pa55word" not in f"{engine!r} {engine.sync_engine!r} {engine.pool!r} {engine.url!r}"
    assert database.engine is database.engine
    assert database.engine.sync_engine is not database.read_engine.sync_engine


async def test_listening_reads_no_settings(monkeypatch: pytest.MonkeyPatch):
    """A wrong DATABASE_URL is an error of the start, not of the import."""
    monkeypatch.setenv("DATABASE_URL", "nonsense")
    database = Database()
    Heard(database.engine)
    async_sessionmaker(database.engine.execution_options(isolation_level="AUTOCOMMIT"))
    assert repr(database.engine.sync_engine) == "Engine(not started)"


async def test_session_of_the_engine_has_one_connection(database: Database):
    """A plain session finds its connection again, although it was given the engine before the start."""
    async with async_sessionmaker(database.engine).begin() as session:
        session.add(Note(text="kept"))
        await session.flush()
        assert await session.scalar(select(Note.text)) == "kept"
        assert checked_out(database) == 1
        connection = await session.connection()
        assert isinstance(connection, AsyncConnection)
        assert connection.engine is database.engine
        assert "note" in await connection.run_sync(lambda sync: inspect(sync).get_table_names())


async def test_own_choice_of_the_engine_is_the_sessions_engine(database_url: str):
    """A ``get_bind`` that returns ``database.engine`` shares the transaction, and ``on_begin``."""
    begun: list[object] = []

    class Routing(Session):
        def get_bind(self, mapper: Any = None, **kwargs: Any) -> Any:
            return own.engine.sync_engine if mapper else super().get_bind(mapper, **kwargs)

    class Own(AsyncSession):
        sync_session_class = Routing

    async def on_begin(session: Own, connection: object) -> None:
        begun.append(session)

    settings = DatabaseSettings(url=database_url, pool_timeout=0.5)
    own = Database(settings, session_class=Own, on_begin=on_begin)
    async with own, own.session() as session:
        await session.execute(text("SELECT 1"))
        await session.run_sync(lambda sync: sync.connection(bind_arguments={"mapper": Note}))
        assert checked_out(own) == 1
    assert len(begun) == 1


async def test_engine_on_a_disposed_pool_goes_on(database: Database):
    """SQLAlchemy makes a new pool; the listeners hear of it as well."""
    heard = Heard(database.engine)
    await database.engine.dispose()
    async with database.engine.connect() as connection:
        await connection.execute(text("SELECT 'connection'"))
    assert heard.statements == ["connection"]
    assert heard.pool["connect"] == 1


async def test_sandbox_governs_engines_from_before(database: Database):
    """Engines and what was made of them at import commit nothing, and their listeners hear of it."""
    heard = Heard(database.engine)
    make = async_sessionmaker(database.engine)
    async with sandbox(database) as session:
        async with make.begin() as plain:
            plain.add(Note(text="undone"))
        async with database.engine.begin() as connection:
            await connection.execute(text("SELECT 'connection'"))
        async with database.read_session() as reader:
            await reader.execute(text("SELECT 'reading session'"))
        assert await session.scalar(select(Note.text)) == "undone"
    assert heard.statements == ["connection", "reading session"]
    async with make() as plain:
        assert await plain.scalar(select(Note.text)) is None


async def test_after_the_stop_the_engine_says_so(database_url: str):
    """The same message as before the start."""
    database = Database(DatabaseSettings(url=database_url))
    make = async_sessionmaker(database.engine)
    async with database:
        pass
    with pytest.raises(DatabaseNotStarted, match="lifespan did not run"):
        async with make() as session:
            await session.execute(text("SELECT 1"))
