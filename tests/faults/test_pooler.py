"""A real PgBouncer in transaction mode: default settings, many clients on few server connections."""

import asyncio
import enum
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any
from urllib.parse import urlsplit

import pytest
from fastapi import Depends, FastAPI
from fastapi.requests import HTTPConnection
from sqlalchemy import ARRAY, JSON, String, func, select, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.engine.in_doubt import outcome_of, remember_transaction_id
from fastapi_asyncdb.errors import DatabaseUnavailable
from fastapi_asyncdb.testing import postgres_server
from tests.support.application import Base, Note, client, eventually
from tests.support.cancelling import Witness
from tests.support.databases import execute, with_driver
from tests.support.pgbouncer import pgbouncer
from tests.support.tcp_proxy import tcp_proxy

pytestmark = pytest.mark.promise("T21")

FOUND = "go through a pooler"
LOGGER = "fastapi_asyncdb.dialects.postgresql.pooler"


@pytest.fixture
def pooled_driver_url(pooled_url: str, driver: str) -> str:
    """An empty database through PgBouncer, with each driver."""
    return with_driver(pooled_url, driver)


@pytest.fixture
async def pooled(pooled_driver_url: str) -> AsyncIterator[Database]:
    """A started ``Database`` with the default settings, through PgBouncer."""
    async with Database(DatabaseSettings(url=pooled_driver_url)) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield database


# --- Many requests over few connections to the server ----------------------------------------------


async def test_200_requests_share_5_connections(postgres_url: str, driver: str):
    """Each request gets its own answer, its own context from on_begin, and its row is stored."""

    async def set_caller(session: AsyncSession, connection: HTTPConnection | None) -> None:
        caller = "" if connection is None else connection.path_params["number"]
        await session.execute(select(func.set_config("app.caller", caller, True)))

    with pgbouncer(postgres_url, server_connections=5) as url:
        settings = DatabaseSettings(
            url=with_driver(url, driver),
            pool_size=25,
            max_overflow=0,
            # A machine may stand still for a while.
            connect_timeout=60,
            pool_timeout=60,
        )
        writing, reading = Database(settings, on_begin=set_caller), Database(settings)
        app = FastAPI()

        @app.post("/{number}")
        async def write(
            number: str, db: Annotated[AsyncSession, Depends(writing.get_db)]
        ) -> str | None:
            db.add(Note(text=number))
            await db.flush()
            caller: str | None = await db.scalar(text("SELECT current_setting('app.caller')"))
            return caller

        @app.get("/{number}")
        async def read(
            number: int, db: Annotated[AsyncSession, Depends(reading.get_read_db)]
        ) -> list[str]:
            query = text("SELECT :text || pg_sleep(0.01) UNION ALL SELECT current_user")
            return list((await db.execute(query, {"text": f"{number}"})).scalars())

        async with writing, reading, client(app) as http:
            await writing.start(create_tables=Base.metadata)
            posts = [http.post(f"/{number}") for number in range(100)]
            gets = [http.get(f"/{number}") for number in range(100)]
            answers = await asyncio.gather(*posts, *gets)
            await writing.stop()
            async with reading.read_session() as session:
                texts = set(await session.scalars(select(Note.text)))
    numbers = [str(number) for number in range(100)]
    assert {answer.status_code for answer in answers} == {200}
    assert [answer.json() for answer in answers[:100]] == numbers
    assert [answer.json()[0] for answer in answers[100:]] == numbers
    assert texts == set(numbers)


async def test_round_trips(pooled_url: str, driver: str):
    """Psycopg's are those without a pooler; asyncpg's statements without a name cost one more each."""
    costs = []
    statement = text("SELECT CAST(:number AS integer)")
    async with (
        tcp_proxy(urlsplit(pooled_url).port or 0) as proxy,
        Database(DatabaseSettings(url=proxy.through(pooled_url, driver))) as database,
    ):
        for opened in (database.read_session, database.session):
            async with opened() as session:  # SQLAlchemy's first statement
                await session.scalar(statement, {"number": 1})
            before = proxy.round_trips
            async with opened() as session:
                await session.scalar(statement, {"number": 2})
            costs.append(proxy.round_trips - before)
    assert costs == {"psycopg": [1, 2], "asyncpg": [2, 4]}[driver]


class Color(enum.Enum):
    red = "red"
    blue = "blue"


class TypedBase(DeclarativeBase):
    """For a table that SQLite cannot have."""


class Typed(TypedBase):
    """Types that asyncpg looks up on the server when it meets them first."""

    __tablename__ = "typed"
    id: Mapped[int] = mapped_column(primary_key=True)
    color: Mapped[Color]
    plain: Mapped[dict[str, Any]] = mapped_column(JSON)
    binary: Mapped[dict[str, Any]] = mapped_column(JSONB)
    words: Mapped[list[str]] = mapped_column(ARRAY(String))


async def test_types_of_the_database_are_read_by_many_at_once(pooled: Database):
    """The lookup of a type, in autocommit, is in no other statement's way."""
    async with pooled.engine.begin() as connection:
        await connection.run_sync(TypedBase.metadata.create_all)
    values = {"color": Color.blue, "plain": {"a": 1}, "binary": {"b": [2]}, "words": ["c", "d"]}
    async with pooled.session() as session:
        session.add(Typed(id=1, **values))

    async def read() -> dict[str, Any]:
        async with pooled.read_session() as session:
            row = (await session.scalars(select(Typed))).one()
            return {name: getattr(row, name) for name in values}

    assert await asyncio.gather(*(read() for _ in range(60))) == [values] * 60


async def test_changed_table_costs_nothing(pooled: Database, postgres_url: str):
    """No plan and no description of a result is kept, so that none is out of date."""
    async with pooled.read_session() as session:
        await session.execute(text("SELECT id, text FROM note"))
        await execute(postgres_url, "INSERT INTO note (id, text) VALUES (1, '1234')")
        assert (await session.execute(text("SELECT * FROM note"))).one() == (1, "1234")
        await execute(postgres_url, "ALTER TABLE note ALTER text TYPE integer USING text::integer")
        assert (await session.execute(text("SELECT * FROM note"))).one() == (1, 1234)


# --- Timeouts -------------------------------------------------------------------------------------

TIMEOUTS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")


async def _timeouts(session: AsyncSession) -> list[str]:
    return [await session.scalar(text(f"SHOW {name}")) or "" for name in TIMEOUTS]


async def test_timeouts_hold_in_transactions_and_end_with_them(postgres_url: str, driver: str):
    """They go with each BEGIN, the URL's own first; the next client of the connection has none."""
    with pgbouncer(postgres_url, server_connections=1) as url:
        settings = DatabaseSettings(
            url=f"{with_driver(url, driver)}?options=-c%20lock_timeout%3D3s",
            statement_timeout=2,
            lock_timeout=9,
        )
        async with Database(settings) as database:
            async with database.session() as session:
                assert await _timeouts(session) == ["2s", "3s", "1min"]
                async with session.begin_nested():
                    assert await _timeouts(session) == ["2s", "3s", "1min"]
            async with database.session(statement_timeout=1) as session:
                assert await _timeouts(session) == ["1s", "3s", "1min"]
            async with database.read_session() as session:
                assert await _timeouts(session) == ["0", "0", "0"]


async def test_many_rows_by_one_statement_begin_with_the_timeouts_too(pooled: Database):
    """Psycopg sends them in a pipeline, BEGIN included."""
    async with pooled.session() as session:
        rows = [{"id": number, "text": str(number)} for number in range(3)]
        await session.execute(text("INSERT INTO note (id, text) VALUES (:id, :text)"), rows)
        assert (await _timeouts(session))[2] == "1min"
        assert await session.scalar(select(func.count()).select_from(Note)) == 3


# --- Recognition ----------------------------------------------------------------------------------


async def test_refused_parameter_tells(
    pooled_driver_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The default settings have a timeout, which PgBouncer refuses; it is logged once."""
    caplog.set_level(logging.INFO, LOGGER)
    async with (
        Database(DatabaseSettings(url=pooled_driver_url)) as database,
        database.session() as one,
        database.session() as other,
    ):
        assert await one.scalar(text("SELECT 1")) == await other.scalar(text("SELECT 1"))
    [message] = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    assert FOUND in message
    assert "refuses a startup parameter" in message


async def test_number_of_the_process_tells(
    pooled_driver_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without timeouts PgBouncer has nothing to refuse."""
    caplog.set_level(logging.INFO, LOGGER)
    settings = DatabaseSettings(url=pooled_driver_url, idle_in_transaction_timeout=None)
    async with Database(settings) as database, database.session() as session:
        await session.scalar(text("SELECT 1"))
        assert await session.scalar(text("SELECT count(*) FROM pg_prepared_statements")) == 0
    [message] = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    assert "pg_backend_pid()" in message


async def test_pooler_whose_server_was_down_is_recognised(
    driver: str, caplog: pytest.LogCaptureFixture
):
    """It lets clients in all the same. Its error is not the answer of a server, and passes."""
    with (
        postgres_server() as server,
        pgbouncer(server.url(), settings="query_wait_timeout = 1\n") as url,
    ):
        settings = DatabaseSettings(
            url=with_driver(url, driver), idle_in_transaction_timeout=None, startup_timeout=20
        )
        async with Database(settings):
            pass  # from now on the pooler knows what to tell its clients
        await asyncio.to_thread(server.stop)
        caplog.clear()
        starting = asyncio.create_task(Database(settings).__aenter__())
        await eventually(lambda: starting.done() or "Trying for another" in caplog.text)
        await asyncio.to_thread(server.start)
        database = await starting
        async with database.session() as session:
            named = text("SELECT count(*) FROM pg_prepared_statements")
            assert await session.scalar(named) == 0
        await database.stop()


async def test_pooler_that_ignores_parameters_is_recognised(postgres_url: str, driver: str):
    """ignore_startup_parameters takes the timeouts, and drops them."""
    ignored = ", ".join((*TIMEOUTS, "options"))
    with pgbouncer(postgres_url, settings=f"ignore_startup_parameters = {ignored}\n") as url:
        database = Database(DatabaseSettings(url=with_driver(url, driver)))
        async with database, database.session() as session:
            assert (await _timeouts(session))[2] == "1min"


async def test_server_itself_is_no_pooler(
    driver_url: str, postgres_url: str, caplog: pytest.LogCaptureFixture
):
    """The first connection is kept, in no transaction, and has its timeouts from the startup message."""
    caplog.set_level(logging.INFO, LOGGER)
    async with Database(DatabaseSettings(url=driver_url)) as database:
        witness = Witness(database, postgres_url)
        assert not await witness.sessions("state <> 'idle'")
        async with database.read_session() as session:
            assert (await _timeouts(session))[2] == "1min"
    assert not caplog.records


@pytest.mark.parametrize("way", ["setting", "url"])
async def test_user_may_deny_a_pooler(pooled_driver_url: str, way: str):
    """Nothing is found out then; the refusal ends the start, and its message names the setting."""
    url = pooled_driver_url + ("?pgbouncer=false" if way == "url" else "")
    settings = DatabaseSettings(url=url, pgbouncer=False if way == "setting" else None)
    with pytest.raises(DatabaseUnavailable, match="DATABASE_PGBOUNCER"):
        await Database(settings).start()


@pytest.mark.parametrize("way", ["setting", "url"])
async def test_user_may_say_that_there_is_one(
    driver_url: str, way: str, caplog: pytest.LogCaptureFixture
):
    """The server itself takes what a pooler takes."""
    caplog.set_level(logging.INFO, LOGGER)
    url = driver_url + ("?pgbouncer=true&connection_limit=1" if way == "url" else "")
    settings = DatabaseSettings(url=url, pgbouncer=True if way == "setting" else None)
    async with Database(settings) as database:
        assert [FOUND in record.getMessage() for record in caplog.records] == [True]
        async with database.session() as session:
            assert (await _timeouts(session))[2] == "1min"
        async with database.read_session() as session:
            assert (await _timeouts(session))[2] == "0"


# --- What goes on at the server -------------------------------------------------------------------


async def test_cancelled_statement_ends_on_the_server(pooled: Database, postgres_url: str):
    """The driver's request to cancel it goes through the pooler, in a transaction and outside of one."""
    witness = Witness(pooled, postgres_url)

    async def sleep(opened: Any) -> None:
        async with opened() as session:
            await session.execute(text("SELECT pg_sleep(60)"))

    async with asyncio.timeout(15):
        for opened in (pooled.session, pooled.read_session):
            task = asyncio.create_task(sleep(opened))
            await witness.until("state = 'active'")
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await witness.nothing_is_left_behind()


async def test_outcome_of_a_transaction_is_known(pooled: Database):
    """Any connection to the server knows what became of a transaction."""
    async with pooled.session() as session:
        session.add(Note(text="stored"))
        number = await remember_transaction_id(session)
    assert number is not None
    assert await outcome_of(pooled.engine, number) == "committed"
