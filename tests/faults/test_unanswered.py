"""A statement that gets no answer: its connection is given up in time, and another one serves."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings, remember_transaction_id
from fastapi_asyncdb.errors import CommitOutcomeUnknown
from fastapi_asyncdb.testing import PostgresServer
from tests.support.application import checked_out, eventually
from tests.support.black_hole import BlackHole, black_hole
from tests.support.databases import with_driver
from tests.support.grace import shorten_answers
from tests.support.tcp_proxy import Proxy


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the library's warnings."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name.startswith("fastapi_asyncdb") and record.levelno >= logging.WARNING
    ]


# --- The options of the socket --------------------------------------------------------------------


async def socket_options(database: Database) -> dict[str, int]:
    """Read back what the socket of a driver's connection has."""
    async with database.engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        if database.engine.driver == "asyncpg":
            number = driver._transport.get_extra_info("socket").fileno()
        else:
            number = driver.pgconn.socket
        with socket.socket(fileno=os.dup(number)) as copy:
            alive = copy.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            if copy.family == socket.AF_UNIX:
                return {"alive": alive}
            names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
            return {"alive": alive} | {
                name: copy.getsockopt(socket.IPPROTO_TCP, getattr(socket, name))
                for name in names
                if hasattr(socket, name)
            }


def over_tcp(url: str, driver: str, query: str = "") -> str:
    """Return the server's URL with this driver, over TCP."""
    parts = urlsplit(url)
    return f"postgresql+{driver}://{parts.username}@127.0.0.1:{parts.port}{parts.path}?{query}"


@pytest.mark.parametrize(
    ("query", "options", "expected"),
    [
        ("", {}, (1, 10, 5, 4, 30_000)),
        ("", {"tcp_keepalive": 12}, (1, 4, 2, 4, 12_000)),
        ("keepalives_idle=7&keepalives_interval=3&keepalives_count=2", {}, (1, 7, 3, 2, 13_000)),
        ("tcp_user_timeout=9000", {}, (1, 10, 5, 4, 9_000)),
        (
            "keepalives_idle=7&tcp_user_timeout=9000",
            {"tcp_keepalive": 0},
            (1, 7, None, None, 9_000),
        ),
    ],
)
async def test_socket_has_the_options_of_settings_and_url(
    driver: str, query: str, options: dict[str, float], expected: tuple[Any, ...], postgres_url: str
):
    """Each driver's TCP socket notices a dead peer; what the URL says wins."""
    settings = DatabaseSettings(url=over_tcp(postgres_url, driver, query), **options)
    async with Database(settings) as database:
        found = await socket_options(database)
    for value, wanted in zip(found.values(), expected, strict=True):
        assert value == wanted or wanted is None


async def test_keepalives_of_the_url_can_be_off(driver: str, postgres_url: str):
    """keepalives=0 turns all of it off, as in libpq."""
    settings = DatabaseSettings(url=over_tcp(postgres_url, driver, "keepalives=0"))
    async with Database(settings) as database:
        found = await socket_options(database)
    assert (found["alive"], found["TCP_USER_TIMEOUT"]) == (0, 0)


async def test_zero_leaves_it_to_the_system(postgres_url: str):
    """Then asyncpg's socket is as asyncpg makes it."""
    settings = DatabaseSettings(url=over_tcp(postgres_url, "asyncpg"), tcp_keepalive=0)
    async with Database(settings) as database:
        found = await socket_options(database)
    assert (found["alive"], found["TCP_USER_TIMEOUT"]) == (0, 0)


async def test_unix_socket_has_no_options(driver: str):
    """There is no network in between."""
    with PostgresServer() as server:
        url = server.socket_url().replace("postgresql:", f"postgresql+{driver}:", 1)
        async with Database(DatabaseSettings(url=url)) as database:
            assert await socket_options(database) == {"alive": 0}


async def test_each_of_several_hosts_has_them(driver: str, postgres_url: str, unused_port: int):
    """With asyncpg the library tries several hosts itself."""
    parts = urlsplit(postgres_url)
    hosts = f"127.0.0.1:{unused_port},127.0.0.1:{parts.port}"
    url = f"postgresql+{driver}://{parts.username}@{hosts}{parts.path}"
    async with Database(DatabaseSettings(url=url)) as database:
        assert (await socket_options(database))["alive"] == 1


# --- A statement's own bound ----------------------------------------------------------------------


OVERDUE = 2.0
"""Seconds, more than a statement and its grace period of these tests have together."""


@pytest.fixture(autouse=True)
def _answers_are_soon_overdue(monkeypatch: pytest.MonkeyPatch) -> None:
    """The grace period of an answer is half a second."""
    shorten_answers(monkeypatch, 0.5)


@pytest.fixture
async def database(driver: str, postgres_url: str, proxy: Proxy) -> AsyncIterator[Database]:
    """A started handle with one connection, over a network of which TCP never hears that it is cut."""
    settings = DatabaseSettings(
        url=proxy.through(postgres_url, driver),
        pool_size=1,
        max_overflow=0,
        statement_timeout=0.5,
        hold_warning=0.3,
    )
    async with Database(settings) as database:
        yield database


async def forgotten(session: AsyncSession, proxy: Proxy) -> None:
    """Begin, and send a statement whose answer never comes."""
    await session.execute(text("SELECT 1"))
    proxy.forget_open()
    await session.execute(text("SELECT 2"))


@pytest.mark.promise("T18")
async def test_forgotten_statement_gives_its_place_up(
    database: Database, proxy: Proxy, caplog: pytest.LogCaptureFixture
):
    """The error says what happened, the log too, and the next in line is served."""

    async def victim() -> None:
        async with database.session() as session:
            await forgotten(session, proxy)

    async def next_in_line() -> object:
        async with database.session() as session:
            return await session.scalar(text("SELECT 3"))

    first = asyncio.create_task(victim())
    await eventually(lambda: checked_out(database) == 1)
    assert await next_in_line() == 3
    with pytest.raises(OperationalError, match="DATABASE_STATEMENT_TIMEOUT") as caught:
        await first
    assert caught.value.connection_invalidated
    assert "SELECT 2" in str(caught.value)
    assert checked_out(database) == 0
    held, lost = warnings(caplog)
    assert "waits for the answer to a statement" in held
    assert "slow work" not in held
    assert lost.startswith("A connection was lost. The server has answered nothing")


@pytest.mark.parametrize("how", ["session", "reader", "many"])
async def test_own_timeout_of_a_transaction_is_kept_too(how: str, postgres_url: str, proxy: Proxy):
    """Without one in the settings: what a session asks for, each reader's statement, each of many."""
    own = None if how == "session" else 0.5
    settings = DatabaseSettings(url=proxy.through(postgres_url), statement_timeout=own)
    async with Database(settings) as database:
        with pytest.raises(OperationalError, match="DATABASE_STATEMENT_TIMEOUT"):
            if how == "reader":
                async with database.read_session() as session:
                    await forgotten(session, proxy)
            elif how == "session":
                async with database.session(statement_timeout=0.5) as session:
                    await forgotten(session, proxy)
            else:
                async with database.session() as session:
                    await session.execute(text("CREATE TABLE n (i int)"))
                    proxy.forget_open()
                    await session.execute(text("DELETE FROM n WHERE i = :i"), [{"i": 1}, {"i": 2}])


@pytest.mark.parametrize(
    "setting",
    [
        "SET statement_timeout = 0",
        "SET LOCAL statement_timeout = 0",
        "SELECT set_config('statement_timeout', '0', true)",
    ],
)
async def test_timeout_set_by_sql_is_left_to_the_server(database: Database, setting: str):
    """Only the server knows it then, so a long statement is waited for."""
    async with database.session() as session:
        await session.execute(text(setting))
        assert await session.scalar(text(f"SELECT 1 FROM pg_sleep({OVERDUE})")) == 1


async def test_longer_timeout_of_a_session_is_respected(database: Database):
    """No limit for this transaction is no limit at the client either."""
    async with database.session(statement_timeout=0) as session:
        assert await session.scalar(text(f"SELECT 1 FROM pg_sleep({OVERDUE})")) == 1


@pytest.mark.parametrize("value", ["9s", "9000", "0"])
async def test_longer_timeout_of_the_url_wins(value: str, postgres_url: str):
    """The server has it from the URL, and so has the client."""
    separator = "&" if "?" in postgres_url else "?"
    url = f"{postgres_url}{separator}options=-c%20statement_timeout%3D{value}"
    settings = DatabaseSettings(url=url, statement_timeout=0.5)
    async with Database(settings) as database, database.session() as session:
        assert await session.scalar(text(f"SELECT 1 FROM pg_sleep({OVERDUE})")) == 1


async def test_slow_statement_is_cancelled_by_the_server(database: Database):
    """Where the server answers, it is the server that says so, and the connection lives."""
    with pytest.raises(DBAPIError, match="statement timeout") as caught:
        async with database.session() as session:
            await session.execute(text("SELECT pg_sleep(20)"))
    assert not caught.value.connection_invalidated


@pytest.mark.promise("T11")
@pytest.mark.parametrize("own", [None, 0.5])
async def test_forgotten_commit_ends(
    own: float | None, driver: str, postgres_url: str, proxy: Proxy
):
    """It has the time of a statement, in doubt; by the settings, or by what the session asks for."""
    timeout = 0.5 if own is None else None
    settings = DatabaseSettings(url=proxy.through(postgres_url, driver), statement_timeout=timeout)
    async with Database(settings) as database:
        with pytest.raises(CommitOutcomeUnknown, match="DATABASE_STATEMENT_TIMEOUT"):
            async with database.session(statement_timeout=own) as session:
                await session.execute(text("SELECT 1"))
                proxy.forget_open()
        assert checked_out(database) == 0
        async with database.session() as session:
            assert await session.scalar(text("SELECT 2")) == 2


@pytest.fixture
async def slow_commits(postgres_url: str) -> None:
    """A table with a deferred constraint that takes its time."""
    async with Database(DatabaseSettings(url=postgres_url)) as database, database.session() as db:
        for statement in (
            "CREATE TABLE slow (i int)",
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END $$",
            "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION wait()",
        ):
            await db.execute(text(statement))


@pytest.mark.usefixtures("slow_commits")
@pytest.mark.parametrize(
    ("options", "setting"),
    [({}, "SET LOCAL statement_timeout = 0"), ({"statement_timeout": 0}, "")],
)
async def test_slow_commit_of_a_transaction_without_timeout_is_not_cut_short(
    database: Database, options: dict[str, Any], setting: str
):
    """Its COMMIT has none either."""
    async with database.session(**options) as session:
        await session.execute(text("INSERT INTO slow VALUES (1)"))
        if setting:
            await session.execute(text(setting))
    async with database.session() as session:
        assert await session.scalar(text("SELECT count(*) FROM slow")) == 1


@pytest.mark.usefixtures("slow_commits")
async def test_timeout_of_an_earlier_transaction_ends_no_commit(driver: str, postgres_url: str):
    """One that was rolled back had a timeout; the next one on its connection has none."""
    settings = DatabaseSettings(url=with_driver(postgres_url, driver), pool_size=1, max_overflow=0)
    async with Database(settings) as database:
        with pytest.raises(LookupError):
            async with database.session(statement_timeout=0.2) as session:
                await session.execute(text("SELECT 1"))
                raise LookupError
        async with database.session() as session:
            await session.execute(text("INSERT INTO slow VALUES (1)"))


async def test_blocked_event_loop_costs_no_connection(database: Database):
    """An answer that came while the loop was blocked is read before its absence is judged."""
    async with database.session() as session:
        waiting = asyncio.create_task(session.scalar(text("SELECT 1 FROM pg_sleep(0.2)")))
        await asyncio.sleep(0.1)
        time.sleep(OVERDUE)  # noqa: ASYNC251 - to block is the point
        assert await waiting == 1


# --- A network that swallows packets --------------------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server whose Unix socket is known."""
    with PostgresServer() as server:
        yield server


@pytest.fixture
def hole(server: PostgresServer) -> Iterator[BlackHole]:
    """A network in front of it, to which TCP listens in vain."""
    with black_hole(str(server.data / f".s.PGSQL.{server.port}")) as hole:
        yield hole


@pytest.fixture
async def far_database(driver: str, hole: BlackHole) -> AsyncIterator[Database]:
    """A started handle with one connection, through that network."""
    settings = DatabaseSettings(
        url=f"postgresql+{driver}://postgres@{hole.far}:{hole.port}/postgres",
        pool_size=1,
        max_overflow=0,
        tcp_keepalive=3,
        connect_timeout=1,
    )
    async with Database(settings) as database:
        yield database


async def swallow_answer(session: AsyncSession, hole: BlackHole) -> None:
    """Cut the network while the server works: all that was sent has been acknowledged."""
    waiting = asyncio.create_task(session.execute(text("SELECT pg_sleep(1)")))
    await asyncio.sleep(0.3)
    hole.swallow()
    await waiting


async def swallow_statement(session: AsyncSession, hole: BlackHole) -> None:
    """Cut the network before the next statement: nothing of it is acknowledged."""
    hole.swallow()
    await session.execute(text("SELECT 2"))


@pytest.mark.parametrize("cut", [swallow_answer, swallow_statement])
async def test_dead_network_is_noticed(
    cut: Callable[[AsyncSession, BlackHole], Awaitable[None]],
    far_database: Database,
    hole: BlackHole,
    caplog: pytest.LogCaptureFixture,
):
    """Without any statement_timeout TCP gives up in bounded time, and the place is free again."""
    async with asyncio.timeout(12):
        with pytest.raises(OperationalError, match="DATABASE_TCP_KEEPALIVE") as caught:
            async with far_database.session() as session:
                await session.execute(text("SELECT 1"))
                await cut(session, hole)
        assert caught.value.connection_invalidated
        assert checked_out(far_database) == 0
        hole.heal()
        async with far_database.session() as session:
            assert await session.scalar(text("SELECT 3")) == 3
    (lost,) = warnings(caplog)
    assert lost.startswith("A connection was lost. The network, or the machine of the server")


@pytest.mark.promise("T11")
async def test_commit_on_a_dead_network_ends(far_database: Database, hole: BlackHole):
    """It ends in bounded time, in doubt; here it had arrived, and only the answer did not."""
    async with asyncio.timeout(12):
        with pytest.raises(CommitOutcomeUnknown) as caught:
            async with far_database.session() as session:
                await remember_transaction_id(session)
                hole.swallow()
        hole.heal()
        assert await caught.value.resolve(far_database) == "committed"
