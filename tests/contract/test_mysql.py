"""What is MySQL's own: statements that commit, the state of its connections, unread rows."""

import asyncio

import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.errors import ImplicitCommit
from tests.support.application import Note, stored
from tests.support.databases import MARIADB

pytestmark = pytest.mark.databases(*MARIADB)


@pytest.fixture
async def one_connection(database: Database, database_url: str):
    """A handle with a single connection: what one session leaves there, the next one finds."""
    settings = DatabaseSettings(url=database_url, pool_size=1, max_overflow=0)
    async with Database(settings) as single:
        yield single


@pytest.mark.promise("T3")
@pytest.mark.parametrize(
    "statement",
    ["CREATE TABLE thing (id int)", "/* why */ truncate note", "ALTER TABLE note COMMENT 'x'"],
)
async def test_statement_that_would_commit_uncommitted_changes_is_refused(
    database: Database, statement: str
):
    """A failure after it could not undo them."""
    with pytest.raises(ImplicitCommit, match=r"commits the transaction.*await db\.commit"):
        async with database.session() as session:
            session.add(Note(text="half"))
            await session.flush()
            await session.execute(text(statement))
    assert await stored(database) == []


async def test_it_may_run_while_nothing_was_changed(database: Database):
    """At the beginning, after a read, after a commit, in a temporary table."""
    async with database.session() as session:
        await session.execute(text("CREATE TABLE thing (id int)"))
        await session.execute(text("SELECT * FROM note"))
        await session.execute(text("DROP TABLE thing"))
        session.add(Note(text="kept"))
        await session.execute(text("CREATE TEMPORARY TABLE thing (id int)"))
        await session.commit()
        await session.execute(text("ALTER TABLE note COMMENT 'x'"))
    assert await stored(database) == ["kept"]


async def test_autocommit_has_nothing_to_commit(database: Database):
    """Each statement is a transaction of its own."""
    engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.execute(insert(Note).values(text="kept"))
        await connection.execute(text("ALTER TABLE note COMMENT 'x'"))
    assert await stored(database) == ["kept"]


async def test_session_has_what_the_documentation_says(database: Database):
    """UTC, strict mode, READ COMMITTED, utf8mb4."""
    variables = "@@time_zone, @@tx_isolation, @@character_set_connection, @@sql_mode"
    async with database.session() as session:
        *values, mode = (await session.execute(text(f"SELECT {variables}"))).one()
        assert values == ["+00:00", "READ-COMMITTED", "utf8mb4"]
        assert {"STRICT_TRANS_TABLES", "NO_ZERO_DATE"} <= set(mode.split(","))
        session.add(Note(text="🐬"))
    assert await stored(database) == ["🐬"]


async def test_one_text_has_one_statement(database: Database):
    """The error of the second would be lost."""
    with pytest.raises(ProgrammingError, match="1064"):
        async with database.session() as session:
            await session.execute(text("SELECT 1; DELETE FROM note"))


@pytest.mark.promise("T17")
async def test_autocommit_is_switched_only_when_it_differs(one_connection: Database):
    """Reads after reads and writes after writes are told nothing."""

    async def switches() -> int:
        async with one_connection.read_session() as session:
            status = text("SHOW SESSION STATUS LIKE 'Com_set_option'")
            return int((await session.execute(status)).one()[1])

    await switches()
    before = await switches()
    for _ in range(5):
        await stored(one_connection)
    assert await switches() == before
    for _ in range(5):
        async with one_connection.session() as session:
            session.add(Note(text="x"))
    # Off for the first of them, and on again for this one.
    assert await switches() == before + 2


async def test_commit_is_the_last_word(one_connection: Database):
    """No ROLLBACK follows it; and a transaction that only reads is ended too."""

    async def counted() -> list[int]:
        async with one_connection.read_session() as session:
            status = text(
                "SHOW SESSION STATUS WHERE Variable_name IN ('Com_commit', 'Com_rollback')"
            )
            return [int(value) for _, value in await session.execute(status)]

    commits, rollbacks = await counted()
    for _ in range(3):
        async with one_connection.session() as session:
            await session.execute(text("SELECT * FROM note"))
        async with one_connection.session() as session:
            session.add(Note(text="x"))
    assert await counted() == [commits + 6, rollbacks]


async def until_level(session: AsyncSession, level: str) -> None:
    """Wait until the server says that the transaction has this level; its table is a little late."""
    transaction = text(
        "SELECT trx_isolation_level FROM information_schema.innodb_trx "
        "WHERE trx_mysql_thread_id = CONNECTION_ID()"
    )
    await session.execute(text("SELECT * FROM note"))
    async with asyncio.timeout(10):
        while await session.scalar(transaction) != level:
            await asyncio.sleep(0.2)  # for 0.1 s after a read, the table stays as it is


async def test_options_of_one_session_end_with_it(one_connection: Database):
    """The isolation level, and timeouts, which are put back to those of the settings."""
    timeouts = text("SELECT @@innodb_lock_wait_timeout, @@max_statement_time")
    async with one_connection.session() as session:
        usual = (await session.execute(timeouts)).one()
    async with one_connection.session(
        isolation_level="SERIALIZABLE", lock_timeout=7.5, statement_timeout=3.0
    ) as session:
        await until_level(session, "SERIALIZABLE")
        assert tuple((await session.execute(timeouts)).one()) == (8, 3.0)
    async with one_connection.session() as session:
        await until_level(session, "READ COMMITTED")
        assert (await session.execute(timeouts)).one() == usual


async def test_timeouts_of_the_settings_are_kept(database_url: str):
    """A statement that runs too long, and one that waits for a row too long."""
    settings = DatabaseSettings(url=database_url, statement_timeout=0.2, lock_timeout=1)
    async with Database(settings) as database, database.session() as session:
        with pytest.raises(OperationalError, match="1969"):
            await session.execute(text("SELECT sleep(5)"))


async def test_stream_that_is_left_early_is_not_read_to_its_end(one_connection: Database):
    """Its query is ended on the server, and the connection goes on."""
    endless = text("SELECT seq, REPEAT('x', 100) FROM seq_0_to_100000000000")
    async with one_connection.session() as session:
        number = await session.scalar(text("SELECT CONNECTION_ID()"))
        result = await session.stream(endless)
        assert (await anext(result))[0] == 0
        await result.close()
        assert await session.scalar(text("SELECT CONNECTION_ID()")) == number
