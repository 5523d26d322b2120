"""A COPY that fails or is cancelled is a statement like any other: errors, guards and connections."""

import asyncio
from typing import Any

import anyio
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.data.bulk.create import create_many
from fastapi_asyncdb.data.bulk.upsert import upsert_many
from fastapi_asyncdb.errors import ConcurrentSessionUse, TransactionAborted
from fastapi_asyncdb.testing import sandbox
from tests.data.goods import Everything, Product, products
from tests.support.cancelling import Cancellable, Witness, closed_connections

pytestmark = pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg")

WRONG: dict[str, list[dict[str, Any]]] = {
    "duplicate": [*products(300), {"sku": "s0", "name": "again"}],
    "value": [*products(300), {"sku": "x", "name": "a\0b"}],
    "type": [*products(300, stock=1), {"sku": "x", "name": "b", "stock": object()}],
}


async def stored(database: Database) -> list[str | None]:
    """Return the names that another session sees."""
    async with database.read_session() as session:
        return list(await session.scalars(select(Product.name)))


@pytest.mark.promise("T9")
@pytest.mark.parametrize("kind", WRONG)
async def test_swallowed_failure_of_a_copy_is_an_error(database: Database, kind: str):
    """Also if the server has not refused a row, but the driver could not send it."""
    with pytest.raises(TransactionAborted):
        async with database.session() as session:
            with pytest.raises(DBAPIError) as caught:
                await create_many(session, Product, WRONG[kind])
            assert "COPY" in str(caught.value)
    assert await stored(database) == []


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.databases(
    "postgresql-asyncpg", "postgresql-asyncpg-pooled", "postgresql-psycopg-pooled"
)
async def test_savepoint_outlives_a_failed_copy(database: Database, kind: str):
    """The connection goes on as if nothing had been copied."""
    async with database.session() as session:
        with pytest.raises(DBAPIError):
            async with session.begin_nested():
                await create_many(session, Product, WRONG[kind])
        await create_many(session, Product, products(300))
    assert len(await stored(database)) == 300


@pytest.mark.promise("T10")
@pytest.mark.parametrize("how", ["task", "scope"])
async def test_cancelled_copy_leaves_nothing_behind(
    database_url: str, database: Database, how: str
):
    """No row, no lock, no connection in the middle of a COPY."""
    closed = closed_connections(database)
    async with database.session() as other:
        await create_many(other, Product, products(1))

        async def work() -> None:
            async with database.session() as session:
                await create_many(session, Product, list(reversed(products(400))))

        run = Cancellable(work, how)
        run.start()
        witness = Witness(database, database_url)
        async with asyncio.timeout(10):
            await witness.until("wait_event_type = 'Lock' AND query LIKE 'COPY%'")
            await run.cancel()
        await other.rollback()
    assert len(closed) == 1
    await witness.nothing_is_left_behind()
    assert await stored(database) == []


@pytest.mark.promise("T15")
async def test_one_task_at_a_time(database: Database):
    """A second task that uses the session in the middle of a COPY is refused."""
    async with database.session() as session:
        await create_many(session, Product, products(300))
        with pytest.raises(ExceptionGroup) as caught:
            async with anyio.create_task_group() as group:
                for start in (1000, 2000):
                    rows = [{"sku": f"x{start + each}"} for each in range(300)]
                    group.start_soon(create_many, session, Product, rows)
        assert caught.group_contains(ConcurrentSessionUse)
        await session.rollback()


async def test_row_level_security(database_url: str, database: Database):
    """COPY FROM is refused under it: the rows are inserted, and the policy holds."""
    role = f"tenant_{id(database)}"
    async with database.session() as session:
        connection = await session.connection()
        for statement in (
            f"CREATE ROLE {role}",
            f"GRANT USAGE ON SCHEMA public TO {role}",
            f'GRANT ALL ON "Product list" TO {role}',
            f'GRANT ALL ON "Product list_id_seq" TO {role}',
            'ALTER TABLE "Product list" ENABLE ROW LEVEL SECURITY',
            f'CREATE POLICY own ON "Product list" TO {role} USING (stock = 5)',
        ):
            await connection.exec_driver_sql(statement)
    try:
        async with database.session() as session:
            await session.execute(text(f"SET LOCAL ROLE {role}"))
            await create_many(session, Product, products(300, stock=5))
            await upsert_many(
                session, Product, products(600, stock=5, name="new"), conflict=["sku"]
            )
            with pytest.raises(DBAPIError) as caught:
                await create_many(session, Product, [{"sku": f"y{n}"} for n in range(300)])
            assert getattr(caught.value.orig, "sqlstate", None) == "42501"
            await session.rollback()
    finally:
        async with database.session() as session:
            await session.execute(text(f"DROP OWNED BY {role}"))
            await session.execute(text(f"DROP ROLE {role}"))


async def test_role_without_temporary_tables(database: Database):
    """Its upserts are statements with parameters, of any number of rows."""
    role = f"plain_{id(database)}"
    async with database.session() as session:
        connection = await session.connection()
        name = (await session.execute(text("SELECT current_database()"))).scalar_one()
        for statement in (
            f"CREATE ROLE {role}",
            f"GRANT USAGE ON SCHEMA public TO {role}",
            f"REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC",
            f'GRANT ALL ON "Product list" TO {role}',
            f'GRANT ALL ON "Product list_id_seq" TO {role}',
            f"SET LOCAL ROLE {role}",
        ):
            await connection.exec_driver_sql(statement)
        outcomes: list[str] = []
        await upsert_many(
            session,
            Product,
            products(600),
            conflict=["sku"],
            report=lambda row, outcome: outcomes.append(outcome),
        )
        assert outcomes == ["created"] * 600
        await session.rollback()


async def test_copies_in_a_sandbox(database: Database):
    """They are rolled back with all else, and a failed one leaves the sandbox as it was."""
    async with sandbox(database):
        async with database.session() as session:
            await create_many(session, Product, products(300))
            await upsert_many(session, Product, products(600, name="new"), conflict=["sku"])
        for rows in WRONG.values():
            async with database.session() as session:
                with pytest.raises(DBAPIError):
                    await create_many(session, Product, rows)
                await session.rollback()
        assert await stored(database) == ["new"] * 600
    assert await stored(database) == []


async def test_statement_timeout_and_echo(
    database_url: str, database: Database, caplog: pytest.LogCaptureFixture
):
    """The server cancels a COPY that takes too long; the log shows it without its values."""
    async with Database(DatabaseSettings(url=database_url, echo=True)) as echoing:
        async with echoing.session() as session:
            await create_many(session, Everything, [{"words": "a secret"}] * 300)
        async with database.session() as other:
            await create_many(other, Product, products(1))
            with pytest.raises(DBAPIError) as caught:
                async with echoing.session(statement_timeout=0.2) as session:
                    await create_many(session, Product, list(reversed(products(300))))
            await other.rollback()
    assert getattr(caught.value.orig, "sqlstate", None) == "57014"
    assert "COPY everything (words) FROM STDIN" in caplog.text
    assert "a secret" not in caplog.text


async def test_plain_engine_after_a_failed_copy(database: Database):
    """Its connection is rolled back, and used again."""
    engine = create_async_engine(database.engine.url, pool_size=1, max_overflow=0)
    for rows in WRONG.values():
        async with AsyncSession(engine) as session:
            with pytest.raises(DBAPIError):
                await create_many(session, Product, rows)
            await session.rollback()
            await create_many(session, Product, products(300))
            await session.rollback()
    await engine.dispose()
