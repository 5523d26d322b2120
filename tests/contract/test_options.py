"""Options of a transaction: checked when defined, in force in each transaction, gone with it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.responses import StreamingResponse
from sqlalchemy import func, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import ConfigurationError, ReadOnlySession
from tests.support.application import Base, Note, Request, client, stored
from tests.support.tcp_proxy import tcp_proxy

SETTINGS = (
    "transaction_isolation",
    "transaction_read_only",
    "transaction_deferrable",
    "statement_timeout",
    "lock_timeout",
)
DEFAULTS = ["read committed", "off", "off", "0", "0"]
ASKED: list[tuple[dict[str, Any], list[str]]] = [
    ({"isolation_level": "SERIALIZABLE"}, ["serializable", "off", "off", "0", "0"]),
    (
        {"isolation_level": "REPEATABLE READ", "read_only": True},
        ["repeatable read", "on", "off", "0", "0"],
    ),
    (
        {"isolation_level": "SERIALIZABLE", "read_only": True, "deferrable": True},
        ["serializable", "on", "on", "0", "0"],
    ),
    (
        {"statement_timeout": 1.5, "lock_timeout": 0.25},
        ["read committed", "off", "off", "1500ms", "250ms"],
    ),
    (
        {"isolation_level": "READ COMMITTED", "read_only": True, "lock_timeout": 2},
        ["read committed", "on", "off", "0", "2s"],
    ),
]


async def in_force(session: AsyncSession) -> list[str]:
    """Return what the server says of the transaction."""
    return list((await session.execute(select(*map(func.current_setting, SETTINGS)))).one())


@pytest.fixture
async def one_connection(driver_url: str):
    """A handle with a single connection, on each driver: what leaks into it is seen by the next."""
    settings = DatabaseSettings(url=driver_url, pool_size=1, max_overflow=0, pool_timeout=5)
    database = Database(settings)
    await database.start(create_tables=Base.metadata)
    yield database
    await database.stop()


MEANINGLESS: list[tuple[dict[str, Any], str]] = [
    ({"isolation_level": "SERIALISABLE"}, "SERIALISABLE.*READ COMMITTED, REPEATABLE READ"),
    ({"isolation_level": "AUTOCOMMIT"}, "read_only=True alone"),
    ({"statement_timeout": -1}, "statement_timeout=-1 is not a time"),
    ({"lock_timeout": float("inf")}, "lock_timeout=inf is not a time"),
    ({"lock_timeout": 3e6}, "lock_timeout=.* to 2147484"),
    ({"deferrable": True}, "read_only=True: add both"),
    ({"deferrable": True, "isolation_level": "SERIALIZABLE"}, "read_only=True: add both"),
    ({"read_only": True, "lock_timeout": 1}, "autocommit.*DATABASE_LOCK_TIMEOUT"),
]


@pytest.mark.parametrize(("options", "message"), MEANINGLESS)
def test_what_means_nothing_is_refused_when_it_is_defined(options: dict[str, Any], message: str):
    """A typo fails when the module is imported, not in the first request."""
    with pytest.raises(ConfigurationError, match=message):
        Database().dependency(**options)
    with pytest.raises(ConfigurationError, match=message):
        Database().session(**options)


NOT_ON_SQLITE: list[tuple[dict[str, Any], str]] = [
    ({"isolation_level": "READ COMMITTED"}, "SQLite has no READ COMMITTED"),
    ({"isolation_level": "REPEATABLE READ"}, "SQLite has no REPEATABLE READ"),
    ({"statement_timeout": 1}, "SQLite has no statement_timeout.*asyncio.timeout"),
    ({"lock_timeout": 1}, "SQLite has no lock_timeout.*DATABASE_LOCK_TIMEOUT"),
    (
        {"isolation_level": "SERIALIZABLE", "read_only": True, "deferrable": True},
        "SQLite has no deferrable",
    ),
]


@pytest.mark.parametrize(("options", "message"), NOT_ON_SQLITE)
async def test_what_sqlite_lacks_is_refused_as_soon_as_it_is_known(
    sqlite_url: str, options: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
):
    """At definition if the handle has settings, else at start, for a session when it is opened."""
    with pytest.raises(ConfigurationError, match=message):
        Database(DatabaseSettings(url=sqlite_url)).dependency(**options)

    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    database = Database()
    database.dependency(**options)
    with pytest.raises(ConfigurationError, match=message):
        await database.start()
    assert repr(database) == "<Database not started>"

    async with Database() as other:
        with pytest.raises(ConfigurationError, match=message):
            async with other.session(**options):
                pass


async def test_serializable_is_what_sqlite_does(sqlite_url: str):
    """SERIALIZABLE is accepted on SQLite, to write and to read."""
    database = Database(DatabaseSettings(url=sqlite_url))
    database.dependency(isolation_level="SERIALIZABLE")
    await database.start(create_tables=Base.metadata)
    async with database.session(isolation_level="SERIALIZABLE") as session:
        session.add(Note(text="one"))
    async with database.session(isolation_level="SERIALIZABLE", read_only=True) as session:
        assert list(await session.scalars(select(Note.text))) == ["one"]
    await database.stop()


@pytest.mark.parametrize(("options", "expected"), ASKED)
async def test_options_hold_in_every_transaction_and_leak_into_none(
    one_connection: Database, options: dict[str, Any], expected: list[str]
):
    """Handler, after its commit, stream, background: the same; the next session: nothing of it."""
    seen: list[list[str]] = []
    app = FastAPI()

    async def body(db: AsyncSession) -> AsyncIterator[str]:
        seen.append(await in_force(db))
        yield "end"
        await db.commit()

    async def later(db: AsyncSession) -> None:
        seen.append(await in_force(db))

    @app.get("/")
    async def endpoint(
        db: Annotated[AsyncSession, Depends(one_connection.dependency(**options))],
        tasks: BackgroundTasks,
    ) -> StreamingResponse:
        seen.append(await in_force(db))
        await db.commit()
        seen.append(await in_force(db))
        tasks.add_task(later, db)
        return StreamingResponse(body(db), background=tasks)

    async with one_connection.session() as session:
        assert await in_force(session) == DEFAULTS
    await Request(app, "/").run()
    assert seen == [expected] * 4
    async with one_connection.session() as session:
        assert await in_force(session) == DEFAULTS
    async with one_connection.read_session() as session:
        assert await in_force(session) == DEFAULTS

    with pytest.raises(RuntimeError):
        async with one_connection.session(**options) as session:
            assert await in_force(session) == expected
            await session.rollback()
            assert await in_force(session) == expected
            raise RuntimeError
    async with one_connection.session() as session:
        assert await in_force(session) == DEFAULTS


async def test_read_only_leaves_the_servers_default_behind(one_connection: Database):
    """What the server's administrator has set for all is in force again afterwards."""
    async with one_connection.session() as session:
        await session.execute(text("SET default_transaction_read_only = on"))
    for _ in range(2):
        async with one_connection.session() as session:
            assert (await in_force(session))[1] == "on"
        async with one_connection.session(
            isolation_level="SERIALIZABLE", read_only=True, deferrable=True
        ) as session:
            assert (await in_force(session))[1:3] == ["on", "on"]


async def test_timeouts_end_what_takes_too_long(one_connection: Database):
    """A slow statement and a long wait for a lock are errors of this session, not of the next."""
    async with one_connection.session() as session:
        session.add(Note(text="locked"))
    settings = one_connection.settings
    assert settings is not None
    async with Database(settings) as other, other.session() as holder:
        await holder.execute(select(Note).with_for_update())
        with pytest.raises(DBAPIError, match="lock timeout"):
            async with one_connection.session(lock_timeout=0.05) as session:
                await session.execute(select(Note).with_for_update())
    with pytest.raises(DBAPIError, match="statement timeout"):
        async with one_connection.session(statement_timeout=0.05) as session:
            await session.execute(text("SELECT pg_sleep(5)"))
    async with one_connection.session() as session:
        await session.execute(text("SELECT pg_sleep(0.1)"))


async def test_serializable_refuses_what_no_order_explains(one_connection: Database):
    """Two transactions that each write what the other has read: one of them fails."""
    settings = one_connection.settings
    assert settings is not None
    count = select(func.count()).select_from(Note)
    async with Database(settings) as other:
        with pytest.raises(DBAPIError, match="could not serialize"):
            async with (
                one_connection.session(isolation_level="SERIALIZABLE") as first,
                other.session(isolation_level="SERIALIZABLE") as second,
            ):
                for session in (first, second):
                    session.add(Note(text=f"after {await session.scalar(count)}"))
                await first.commit()
    assert await stored(one_connection) in ([], ["after 0"])


async def test_only_timeouts_cost_a_round_trip(postgres_url: str, driver: str):
    """Counted on the wire: what BEGIN can say costs nothing, both timeouts together cost one.

    With psycopg they cost none, since they are a first statement with parameters, and go with BEGIN.
    """
    url = make_url(postgres_url)
    costs: dict[str, int] = {}
    options: dict[str, dict[str, Any]] = {
        "plain": {},
        "serializable": {"isolation_level": "SERIALIZABLE"},
        "snapshot": {"isolation_level": "REPEATABLE READ", "read_only": True},
        "timeouts": {"statement_timeout": 5, "lock_timeout": 1},
        "all": {"isolation_level": "SERIALIZABLE", "statement_timeout": 5, "lock_timeout": 1},
        "read_only": {"read_only": True},
    }
    async with tcp_proxy(url.port or 5432) as proxy:
        through = url.set(drivername=f"postgresql+{driver}", port=proxy.port)
        async with Database(DatabaseSettings(url=through)) as database:
            for name, asked in options.items():
                app = FastAPI()

                @app.get("/")
                async def endpoint(
                    db: Annotated[AsyncSession, Depends(database.dependency(**asked))],
                ) -> int:
                    return await db.scalar(text("SELECT 1")) or 0

                async with client(app) as http:
                    for _ in range(8):  # the first ones prepare the statements
                        before = proxy.round_trips
                        assert (await http.get("/")).json() == 1
                        costs[name] = proxy.round_trips - before
    with_timeouts = 4 if driver == "asyncpg" else 3
    assert costs == {
        "plain": 3,
        "serializable": 3,
        "snapshot": 3,
        "timeouts": with_timeouts,
        "all": with_timeouts,
        "read_only": 1,
    }


async def test_timeouts_leave_a_request_without_statements_alone(postgres_url: str):
    """No statement, no transaction, no round trip, with options as without."""
    url = make_url(postgres_url)
    async with tcp_proxy(url.port or 5432) as proxy:
        settings = DatabaseSettings(url=url.set(port=proxy.port))
        async with Database(settings) as database:
            before = proxy.round_trips
            async with database.session(lock_timeout=1) as session:
                await session.commit()
            assert proxy.round_trips == before


async def test_read_only_without_a_level_is_autocommit(database: Database):
    """session(read_only=True) is read_session(): each statement sees the newest commit."""
    async with database.session(read_only=True) as reader:
        assert list(await reader.scalars(select(Note.text))) == []
        async with database.session() as writer:
            writer.add(Note(text="new"))
        assert list(await reader.scalars(select(Note.text))) == ["new"]
        with pytest.raises(ReadOnlySession):
            await reader.execute(text("DELETE FROM note"))


async def test_options_of_many_sessions_at_once_stay_apart(postgres_url: str):
    """Sessions with and without options share few connections, and none sees another's."""
    settings = DatabaseSettings(url=postgres_url, pool_size=2, max_overflow=1)
    async with Database(settings) as database:

        async def check(options: dict[str, Any], expected: list[str]) -> None:
            async with database.session(**options) as session:
                assert await in_force(session) == expected

        await asyncio.gather(*(check(*asked) for asked in [({}, DEFAULTS), *ASKED] * 20))
