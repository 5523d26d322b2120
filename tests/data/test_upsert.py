"""Rows are inserted, or update the stored ones with the same key, in one statement."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import event, select, text
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    ORMExecuteState,
    Session,
    mapped_column,
    with_loader_criteria,
)

from fastapi_asyncdb import Database
from fastapi_asyncdb.data.bulk.columns import ModelTable
from fastapi_asyncdb.data.bulk.create import create_many
from fastapi_asyncdb.data.bulk.upsert import upsert, upsert_many
from fastapi_asyncdb.data.bulk.upserter import Upserter
from fastapi_asyncdb.dialects.mysql.upserts import on_duplicate_key
from fastapi_asyncdb.errors import ConfigurationError, ReadOnlySession
from tests.data.goods import (
    VALUES,
    Account,
    Everything,
    Part,
    Product,
    ProductIn,
    products,
    stored_values,
)

# Below and above what goes through a temporary table on PostgreSQL.
SIZES = pytest.mark.parametrize("count", [3, 700])


@pytest.fixture
async def session(database: Database) -> AsyncIterator[AsyncSession]:
    """A session that is rolled back."""
    async with database.session() as session:
        yield session
        await session.rollback()


class Outcomes(list[str]):
    """What has happened to each row."""

    def note(self, row: Any, outcome: str) -> None:
        self.append(outcome)


async def test_upsert_returns_the_stored_object(session: AsyncSession):
    """First created, then updated, with defaults, onupdate and version; the same object."""
    created = await upsert(session, Product, {"sku": "a", "name": "one"}, conflict=["sku"])
    assert (created.name, created.stock, created.version, created.changes) == ("one", 0, 1, 0)
    created.stock = 5  # pending, and flushed first
    updated = await upsert(session, Product, {"sku": "a", "name": "two"}, conflict=[Product.sku])
    assert updated is created
    assert (updated.name, updated.stock, updated.changes) == ("two", 5, 7)
    assert updated.version == 3
    updated.name = "three"
    await session.flush()  # the version in memory is the stored one
    assert updated.version == 4


async def test_upsert_may_leave_the_stored_row_as_it_is(session: AsyncSession):
    """With update=() the object is the stored one."""
    first = await upsert(session, Product, {"sku": "a", "name": "one"}, conflict="sku", update=())
    again = await upsert(session, Product, {"sku": "a", "name": "two"}, conflict="sku", update=())
    assert again is first
    assert (again.name, again.version) == ("one", 1)


async def test_upsert_updates_what_the_client_has_sent(session: AsyncSession):
    """Default values of a Pydantic model are inserted, and do not overwrite what is stored."""
    await upsert(session, Product, ProductIn(sku="a", stock=3), conflict=["sku"])
    found = await upsert(session, Product, ProductIn(sku="a", name="new"), conflict=["sku"])
    assert (found.name, found.stock) == ("new", 3)
    found = await upsert(session, Product, ProductIn(sku="a", name=None), conflict=["sku"])
    assert (found.name, found.stock) == (None, 3)


async def test_upsert_of_chosen_attributes(session: AsyncSession):
    """Those that update names, and expressions as values."""
    await upsert(session, Product, {"sku": "a", "name": "one", "stock": 1}, conflict=["sku"])
    values = {"sku": "a", "name": "two", "stock": text("40 + 2")}
    found = await upsert(session, Product, values, conflict=["sku"], update=["stock"])
    assert (found.name, found.stock) == ("one", 42)


async def test_upsert_finds_what_a_filter_hides(session: AsyncSession):
    """As of rows that are deleted softly: they take part in the unique index."""

    def hide(state: ORMExecuteState) -> None:
        state.statement = state.statement.options(with_loader_criteria(Product, Product.stock == 0))

    await create_many(session, Product, [{"sku": "a", "stock": 9}])
    event.listen(session.sync_session, "do_orm_execute", hide)
    for update in ((), None):
        found = await upsert(session, Product, {"sku": "a"}, conflict=["sku"], update=update)
        assert found.stock == 9


async def test_wrong_arguments_are_refused(session: AsyncSession):
    """A name that is no column, a row without its key, no key at all, no unique index."""
    with pytest.raises(TypeError, match="Product has no column attribute 'SKU no'"):
        await upsert(session, Product, {"sku": "a"}, conflict=["SKU no"])
    with pytest.raises(TypeError, match="lacks 'sku', which conflict names"):
        await upsert_many(session, Product, [{"name": "a"}], conflict=["sku"])
    with pytest.raises(TypeError, match="conflict names no attribute"):
        await upsert_many(session, Product, [], conflict=[])
    rows = [{"sku": "a", "name": "b"}]
    if session.get_bind().dialect.name == "mysql":  # any unique key of the table counts there
        assert await upsert_many(session, Product, rows, conflict=["name"]) == 1
        return
    with pytest.raises(DBAPIError):
        await upsert_many(session, Product, rows, conflict=["name"])


async def test_databases_without_upserts(database: Database):
    """The error names the database."""
    upserter = Upserter(ModelTable(Product), ["sku"], None, None)

    class Oracle(Session):
        def get_bind(self, *args: Any, **kwargs: Any) -> Any:
            engine = create_async_engine("sqlite+aiosqlite://")
            engine.dialect.name = "oracle"
            return engine.sync_engine

    with pytest.raises(ConfigurationError, match="not supported on oracle"):
        upserter.one(Oracle(), {"sku": "a"})


@SIZES
async def test_many_rows_are_created_and_updated(session: AsyncSession, count: int):
    """The stored ones keep what the rows do not give; version and onupdate are set."""
    await create_many(session, Product, products(count // 2, stock=5))
    done = await upsert_many(session, Product, products(count, name="new"), conflict=["sku"])
    assert done == count
    found = list(await session.scalars(select(Product).order_by(Product.sku)))
    assert len(found) == count
    assert {each.name for each in found} == {"new"}
    assert sum(each.stock == 5 and each.version == 2 for each in found) == count // 2
    assert sum(each.changes == 7 for each in found) == count // 2
    assert sum(each.stock == 0 and each.version == 1 for each in found) == count - count // 2


@SIZES
async def test_the_last_of_rows_with_the_same_key_wins(session: AsyncSession, count: int):
    """As if they came one after the other; with update=() the first one stays."""
    for update, names in ((None, {"last"}), ((), {"first"})):
        rows = [*products(count, name="first"), *products(count, name="last")]
        outcomes = Outcomes()
        await upsert_many(
            session, Product, rows, conflict=["sku"], update=update, report=outcomes.note
        )
        assert set(await session.scalars(select(Product.name))) == names
        again = "updated" if update is None else "skipped"
        assert outcomes == ["created"] * count + [again] * count
        await session.rollback()


@SIZES
async def test_report_tells_what_happened_to_each_row(session: AsyncSession, count: int):
    """In the order of the rows; without update, stored ones are skipped."""
    await create_many(session, Product, products(count)[::2])
    for update, again in ((("stock",), "updated"), ((), "skipped")):
        told: list[tuple[str, str]] = []
        done: list[int] = []

        async def report(row: dict[str, Any], outcome: str, told: Any = told) -> None:
            told.append((row["sku"], outcome))

        async with session.begin_nested() as savepoint:
            await upsert_many(
                session,
                Product,
                products(count, stock=1),
                conflict=["sku"],
                update=update,
                report=report,
                progress=done.append,
                batch_size=max(2, count - 1),
            )
            await savepoint.rollback()
        expected = [again if number % 2 == 0 else "created" for number in range(count)]
        assert told == [(f"s{number}", each) for number, each in enumerate(expected)]
        assert done == [max(2, count - 1), count]


@SIZES
async def test_partial_unique_index(session: AsyncSession, count: int):
    """Rows outside of the index never meet; two closed accounts may have one name."""
    where = Account.state == "open"
    rows = [{"name": f"n{number}", "balance": 1} for number in range(count)]
    closed = [{"name": "n0", "state": "closed"}] * 2
    if session.get_bind().dialect.name == "mysql":
        with pytest.raises(ConfigurationError, match="no partial unique indexes"):
            await upsert_many(session, Account, rows, conflict=["name"], conflict_where=where)
        return
    for _ in range(2):
        await upsert_many(
            session, Account, [*rows, *closed], conflict=["name"], conflict_where=where
        )
    found = await session.scalars(select(Account.state).where(Account.name == "n0"))
    assert sorted(found) == ["closed"] * 4 + ["open"]
    again = await upsert(
        session,
        Account,
        {"name": "n1", "balance": 5},
        conflict=["name"],
        conflict_where=where,
        update=(),
    )
    assert again.balance == 1


async def test_rows_may_give_different_attributes(session: AsyncSession):
    """What a row does not give is not overwritten, also if update names it."""
    await create_many(session, Product, products(2, stock=5))
    rows: list[dict[str, Any]] = [{"sku": "s0", "name": "new"}, {"sku": "s1", "stock": 6}]
    await upsert_many(session, Product, rows, conflict=["sku"], update=["name", "stock"])
    found = await session.execute(select(Product.name, Product.stock).order_by(Product.sku))
    assert [tuple(row) for row in found] == [("new", 5), ("n1", 6)]


@SIZES
async def test_rows_without_a_primary_key_are_created(session: AsyncSession, count: int):
    """Those with one update; None is left to the database."""
    await create_many(session, Account, [{"id": 1_000_000, "name": "x"}])
    rows: list[dict[str, Any]] = [{"id": None, "name": f"n{number}"} for number in range(count)]
    outcomes: list[str] = []
    await upsert_many(
        session,
        Account,
        [*rows, {"id": 1_000_000, "name": "y"}],
        conflict=["id"],
        report=lambda row, outcome: outcomes.append(outcome),
    )
    assert outcomes == ["created"] * count + ["updated"]


@SIZES
async def test_every_type_and_default(session: AsyncSession, count: int):
    """Values pass through the types, on the way of a temporary table too; so do SQL defaults."""
    rows = [{"id": number + 1, **VALUES} for number in range(count)]
    for _ in range(2):
        await upsert_many(session, Everything, rows, conflict=["id"])
    found = await session.get_one(Everything, count)
    expected = stored_values(session.get_bind().dialect)
    assert {name: getattr(found, name) for name in VALUES} == expected
    parts = [{"id": number + 1, "label": "given"} for number in range(count)]
    await upsert_many(session, Part, parts, conflict=["id"])
    assert set(await session.scalars(select(Part.made))) == {"now"}


@SIZES
async def test_reading_sessions_refuse(database: Database, count: int):
    """With the error of any statement that writes."""
    async with database.read_session() as session:
        with pytest.raises(ReadOnlySession):
            await upsert_many(session, Product, products(count), conflict=["sku"])
        with pytest.raises(ReadOnlySession):
            await upsert(session, Product, {"sku": "a"}, conflict=["sku"])


@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg", "postgresql-psycopg-pooled")
async def test_temporary_tables_are_gone(database: Database):
    """Each upsert drops its own; in autocommit there is none."""
    async with database.session() as session:
        await upsert_many(session, Product, products(1500), conflict=["sku"], batch_size=600)
        query = text("SELECT count(*) FROM pg_class WHERE relname LIKE 'asyncdb%'")
        assert (await session.execute(query)).scalar_one() == 0
    engine = create_async_engine(database.engine.url, isolation_level="AUTOCOMMIT")
    async with AsyncSession(engine) as session:
        await upsert_many(session, Product, products(700, stock=1), conflict=["sku"])
    await engine.dispose()
    async with database.read_session() as session:
        found = await session.scalars(select(Product.stock))
        assert sorted(found) == [0] * 800 + [1] * 700


class _Partitioned(DeclarativeBase):
    pass


class Reading(_Partitioned):
    """A table in partitions, whose rows have no system columns for the whole."""

    __tablename__ = "reading"
    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int]
    __table_args__: Any = {"postgresql_partition_by": "HASH (id)"}  # noqa: RUF012


@SIZES
@pytest.mark.databases("postgresql-asyncpg")
async def test_partitioned_tables(session: AsyncSession, count: int):
    """Their rows are stored, and have outcomes, as others."""
    connection = await session.connection()
    await connection.run_sync(_Partitioned.metadata.create_all)
    for number in range(2):
        await connection.exec_driver_sql(
            f"CREATE TABLE reading{number} PARTITION OF reading FOR VALUES WITH "
            f"(MODULUS 2, REMAINDER {number})"
        )
    rows = [{"id": number, "value": 1} for number in range(count)]
    await create_many(session, Reading, rows[: count // 2])
    outcomes: list[str] = []
    await upsert_many(
        session, Reading, rows, conflict=["id"], report=lambda row, told: outcomes.append(told)
    )
    assert outcomes == ["updated"] * (count // 2) + ["created"] * (count - count // 2)


def compiled(statement: Any) -> str:
    """Return the statement for MySQL on one line."""
    return " ".join(str(statement.compile(dialect=mysql.dialect())).split())


def test_statements_of_mysql():
    """Any unique key counts; a column that keeps its value stands for no update."""
    target, dialect = ModelTable(Product), mysql.dialect()
    row = target.row({"sku": "a", "name": "b"})
    statement = Upserter(target, ["sku"], None, None)._upsert(row, dialect)
    assert compiled(on_duplicate_key(statement)).endswith(
        "ON DUPLICATE KEY UPDATE name = VALUES(name), changes = 7, "
        "version = `Product list`.version + 1"
    )
    statement = Upserter(target, ["sku"], (), None)._upsert(row, dialect)
    assert compiled(on_duplicate_key(statement)).endswith(
        "ON DUPLICATE KEY UPDATE `SKU no` = `Product list`.`SKU no`"
    )
    partial = Upserter(target, ["sku"], None, Product.stock == 0)
    with pytest.raises(ConfigurationError, match="no partial unique indexes"):
        on_duplicate_key(partial._upsert(row, dialect))
