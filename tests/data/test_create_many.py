"""Many rows go into a table without an object for each, from any source, in any session."""

import re
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Column, Integer, MetaData, Sequence, String, Table, event, func, select
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, registry
from sqlmodel import Field, SQLModel

from fastapi_asyncdb import Database
from fastapi_asyncdb.data.bulk.create import create_many
from fastapi_asyncdb.errors import ReadOnlySession
from fastapi_asyncdb.testing import count_queries
from tests.data.goods import (
    VALUES,
    Account,
    Animal,
    Cat,
    Dog,
    Everything,
    Part,
    Product,
    ProductIn,
    products,
    stored_values,
)

# Below and above what is copied on PostgreSQL.
SIZES = pytest.mark.parametrize("count", [3, 700])


def statements(database: Database) -> list[str]:
    """Collect the first word of each statement from now on."""
    seen: list[str] = []

    @event.listens_for(database.engine.sync_engine, "before_cursor_execute")
    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        seen.append(statement.split()[0])

    return seen


async def names(database: Database) -> list[str | None]:
    """Return what is stored, as another session sees it."""
    async with database.read_session() as session:
        return list(await session.scalars(select(Product.name).order_by(Product.id)))


@SIZES
async def test_rows_are_stored_with_all_defaults(database: Database, count: int):
    """Scalar and callable defaults of Python, the server's, the first version, quoted names."""
    async with database.session() as session:
        assert await create_many(session, Product, products(count)) == count
    async with database.read_session() as session:
        found = list(await session.scalars(select(Product).order_by(Product.id)))
    assert [each.sku for each in found] == [f"s{number}" for number in range(count)]
    assert len({each.token for each in found}) == count
    assert {(each.stock, each.version, each.changes) for each in found} == {(0, 1, 0)}
    assert all(each.created for each in found)


@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg", "postgresql-asyncpg-pooled")
async def test_large_batches_are_copied(database: Database):
    """COPY is a statement like any other: listeners see it, behind PgBouncer too."""
    seen = statements(database)
    async with database.session() as session:
        await create_many(session, Product, products(1000), batch_size=500)
        await create_many(session, Product, [{"sku": "one"}])
    assert seen.count("COPY") == 2
    assert seen.count("INSERT") == 1
    assert len(await names(database)) == 1001


@SIZES
async def test_every_type_is_stored_as_by_the_orm(database: Database, count: int):
    """Values pass through the types, and come back as they were; so does NULL."""
    async with database.session() as session:
        session.add(Everything(id=1, **VALUES))
        session.add(Everything(id=2))
        await session.flush()
        rows = [{"id": 10 + number, **VALUES} for number in range(count)]
        rows += [{"id": 2000, **dict.fromkeys(VALUES)}]
        await create_many(session, Everything, rows)
    async with database.read_session() as session:
        found = {each.id: each for each in await session.scalars(select(Everything))}
    for name, value in stored_values(database.engine.dialect).items():
        assert getattr(found[10], name) == getattr(found[9 + count], name) == value
        assert getattr(found[1], name) == value
        assert getattr(found[2000], name) is None


@pytest.mark.parametrize("kind", ["list", "generator", "async generator"])
async def test_rows_come_from_any_source(database: Database, kind: str):
    """Iterables and async iterables; the callback hears the number of rows so far."""

    async def stream() -> AsyncIterator[dict[str, Any]]:
        for row in products(10):
            yield row

    sources: dict[str, Callable[[], Any]] = {
        "list": lambda: products(10),
        "generator": lambda: (row for row in products(10)),
        "async generator": stream,
    }
    heard: list[int] = []

    async def slowly(done: int) -> None:
        heard.append(done)

    for progress in (heard.append, slowly):
        async with database.session() as session:
            rows = sources[kind]()
            done = await create_many(session, Product, rows, batch_size=4, progress=progress)
            assert done == 10
            await session.rollback()
    assert heard == [4, 8, 10] * 2
    assert await names(database) == []


async def test_rows_may_be_models_or_instances(database: Database):
    """Pydantic models with their defaults; instances, whose None are left to the database."""
    instance = Product(sku="c", name=None)
    async with database.session() as session:
        rows = [ProductIn(sku="a"), {"sku": "b", "name": "B", "id": None}, instance]
        assert await create_many(session, Product, rows) == 3
        assert instance not in session
        assert list(await session.scalars(select(Product.sku).order_by(Product.sku))) == [
            "a",
            "b",
            "c",
        ]


async def test_rows_may_have_different_attributes(database: Database):
    """Each gets the defaults of what it leaves out."""
    async with database.session() as session:
        rows: list[dict[str, Any]] = [{"sku": "a"}, {"name": "B", "sku": "b"}, {"sku": "c"}]
        assert await create_many(session, Product, [*rows, {"sku": "d", "stock": 4}]) == 4
        found = await session.execute(
            select(Product.sku, Product.name, Product.stock).order_by(Product.sku)
        )
    assert [tuple(row) for row in found] == [
        ("a", None, 0),
        ("b", "B", 0),
        ("c", None, 0),
        ("d", None, 4),
    ]


@pytest.mark.parametrize("name", ["SKU no", "parts", "nmae"])
async def test_unknown_attribute_is_refused(database: Database, name: str):
    """The name of a column, of a relationship, a typo: the error names it and the model."""
    async with database.session() as session:
        with pytest.raises(
            TypeError, match=rf"Product has no column attribute '{name}'.*sku, name"
        ):
            await create_many(session, Product, [{"sku": "a"}, {"sku": "b", name: 1}])


async def test_what_is_no_row_or_no_model_is_refused(database: Database):
    """A tuple, a class that is not mapped, joined inheritance, a batch of nothing."""
    wrong: Any = [("a", "b")]
    async with database.session() as session:
        with pytest.raises(TypeError, match="A row of Product is a tuple"):
            await create_many(session, Product, wrong)
        with pytest.raises(TypeError, match="no mapped class"):
            await create_many(session, int, [])
        with pytest.raises(TypeError, match=r"Cat is stored in more than one table.*add_all"):
            await create_many(session, Cat, [{"name": "x", "lives": 9}])
        with pytest.raises(ValueError, match="batch_size=0"):
            await create_many(session, Product, [], batch_size=0)
        assert await create_many(session, Product, []) == 0


@SIZES
async def test_single_table_inheritance_stores_the_kind(database: Database, count: int):
    """As a flush does."""
    async with database.session() as session:
        await create_many(session, Dog, [{"name": "rex"}] * count)
        assert len(list(await session.scalars(select(Dog)))) == count
        assert set(await session.scalars(select(Animal.kind))) == {"dog"}


@SIZES
async def test_defaults_that_need_sql_or_other_values(database: Database, count: int):
    """An expression and a function with a context are computed for each row."""
    async with database.session() as session:
        await create_many(session, Product, [{"id": 1, "sku": "a"}])
        await create_many(session, Part, [{"product_id": 1}] * count)
        rows = await session.execute(select(Part.made, Part.label).distinct())
        assert [tuple(row) for row in rows] == [("now", "part 1")]


@SIZES
@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg")
async def test_sequences_schemas_and_imperative_models(database: Database, count: int):
    """A default that is a sequence, a table in another schema, a class mapped by hand."""
    metadata = MetaData(schema="Other one")
    numbers = Sequence("numbers", start=100, metadata=metadata)
    table = Table(
        "Thing",
        metadata,
        Column("Id", Integer, numbers, primary_key=True),
        Column("na:me %s", String, key="name"),
    )

    class Thing:
        id: int
        name: str

    registry(metadata=metadata).map_imperatively(Thing, table, properties={"id": table.c.Id})
    async with database.session() as session:
        connection = await session.connection()
        await connection.exec_driver_sql('CREATE SCHEMA "Other one"')
        await connection.run_sync(metadata.create_all)
        await create_many(session, Thing, [{"name": "a"}] * count)
        await create_many(session, Thing, [{"id": -1 - n, "name": "b"} for n in range(count)])
        low, high = (
            await session.execute(select(func.min(table.c.Id), func.max(table.c.Id)))
        ).one()
        assert (low, high) == (-count, 99 + count)
        await session.rollback()  # other tests share the database


class Hero(SQLModel, table=True):
    """Its instances are Pydantic models too, with ``id=None`` among their values."""

    id: int | None = Field(default=None, primary_key=True)
    name: str
    power: str = "none"


HEROES: Table = Hero.__table__  # type: ignore[attr-defined]


async def test_sqlmodel_tables(database: Database):
    """Instances and mappings of a table of SQLModel."""
    async with database.session() as session:
        connection = await session.connection()
        await connection.run_sync(HEROES.create)
        await create_many(session, Hero, [Hero(name=f"h{each}") for each in range(700)])
        await create_many(session, Hero, [{"name": "flying", "power": "flight"}])
        rows = await session.execute(select(HEROES.c.name, HEROES.c.power).order_by(HEROES.c.id))
        assert [tuple(row) for row in rows][::700] == [("h0", "none"), ("flying", "flight")]


async def test_pending_objects_are_flushed_first(database: Database):
    """As a query would; not in a block of no_autoflush."""
    async with database.session() as session:
        session.add(Product(id=100, sku="first"))
        await create_many(session, Part, [{"product_id": 100}])
        with session.no_autoflush:
            session.add(Product(id=200, sku="later"))
            await create_many(session, Product, [{"id": 50, "sku": "x"}])
            assert session.new
    assert len(await names(database)) == 3


@SIZES
async def test_nothing_is_committed(database: Database, count: int):
    """The rows belong to the session's transaction, and to its savepoint."""
    async with database.session() as session:
        await create_many(session, Product, products(count))
        await session.rollback()
        with pytest.raises(IntegrityError):
            async with session.begin_nested():
                await create_many(session, Product, [*products(count), {"sku": "s1"}])
        await create_many(session, Product, [{"sku": "kept", "name": "kept"}])
    assert await names(database) == ["kept"]


@SIZES
async def test_reading_sessions_refuse(database: Database, count: int):
    """With the error of any statement that writes, whatever the number of rows."""
    async with database.read_session() as session:
        with pytest.raises(ReadOnlySession):
            await create_many(session, Product, products(count))
    async with database.session(read_only=True, isolation_level="SERIALIZABLE") as session:
        with pytest.raises(ReadOnlySession):
            await create_many(session, Product, products(count))


@SIZES
async def test_violations_are_sqlalchemys_errors(database: Database, count: int):
    """With the SQLSTATE; the statement's text names the table."""
    async with database.session() as session:
        with pytest.raises(IntegrityError) as caught:
            await create_many(session, Product, [*products(count), {"sku": "s0", "name": "x"}])
        await session.rollback()
    if database.engine.dialect.name == "postgresql":
        assert getattr(caught.value.orig, "sqlstate", None) == "23505"
    assert re.search("Product list", str(caught.value))


async def test_plain_engines_and_sessions(database_url: str, database: Database):
    """Any AsyncSession, on an engine that is not the library's."""
    engine = create_async_engine(database.engine.url, echo=True)
    seen: list[str] = []
    event.listen(
        engine.sync_engine, "before_cursor_execute", lambda *a: seen.append(a[2].split()[0])
    )
    async with AsyncSession(engine) as session:
        await create_many(session, Product, products(1000))
        with pytest.raises(IntegrityError):
            await create_many(session, Product, products(1000))
        await session.rollback()
        await create_many(session, Product, products(300))
        await session.commit()
    await engine.dispose()
    assert ("COPY" in seen) is (engine.dialect.name == "postgresql")
    assert len(await names(database)) == 300


@pytest.mark.databases("sqlite", "postgresql-asyncpg", "postgresql-psycopg")
async def test_memory_does_not_grow_with_the_rows(database: Database):
    """Forty batches need no more than one does."""

    def rows(count: int) -> Iterator[dict[str, Any]]:
        for number in range(count):
            yield {"name": f"account {number} {'x' * 200}", "state": "closed"}

    async def peak(count: int) -> int:
        tracemalloc.start()
        try:
            async with database.session() as session:
                await create_many(session, Account, rows(count), batch_size=500)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    await peak(500)
    assert await peak(20_000) < 2 * await peak(1000)


async def test_budget_of_statements(database: Database):
    """One statement a batch, on PostgreSQL two: the server says whether it may be copied."""
    async with database.session() as session:
        await create_many(session, Product, [{"sku": "first"}])
        with count_queries(database) as few:
            await create_many(session, Product, products(100))
        with count_queries(database) as many:
            await create_many(session, Account, [{"name": f"{n}"} for n in range(600)])
    assert len(few) == 1
    assert len(many) == (2 if database.engine.dialect.name == "postgresql" else 1)


class _Other(DeclarativeBase):
    pass


class Loose(_Other):
    """What a model says differs from the table: text for a number, a rule, an identity."""

    __tablename__ = "loose"
    id: Mapped[int] = mapped_column(primary_key=True)
    moment: Mapped[str] = mapped_column(String)


@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg")
@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE TABLE loose (id int GENERATED BY DEFAULT AS IDENTITY, moment varchar(9) NOT NULL);",
        "CREATE TABLE loose (id serial, moment text); CREATE RULE skip AS ON INSERT TO loose "
        "DO ALSO NOTIFY loose;",
        "CREATE TABLE base (id serial, moment varchar); CREATE VIEW loose AS SELECT * FROM base;",
        "CREATE DOMAIN short AS varchar CHECK (length(value) < 9); "
        "CREATE TABLE loose (id serial, moment short);",
    ],
)
async def test_tables_for_which_a_copy_means_something_else(database: Database, ddl: str):
    """Another type, a rule, a view, a domain: the rows are inserted."""
    seen = statements(database)
    async with database.session() as session:
        connection = await session.connection()
        for statement in filter(None, map(str.strip, ddl.split(";"))):
            await connection.exec_driver_sql(statement)
        await create_many(session, Loose, [{"moment": "text"}] * 300)
        assert len(list(await session.scalars(select(Loose.id)))) == 300
        await session.rollback()
    copied = "varchar(9)" in ddl
    assert ("COPY" in seen) is copied


@SIZES
@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg")
async def test_identity_that_is_always_generated(database: Database, count: int):
    """A given value is refused, which COPY would store; one that is left out is generated."""
    async with database.session() as session:
        connection = await session.connection()
        await connection.exec_driver_sql(
            "CREATE TABLE loose (id int GENERATED ALWAYS AS IDENTITY, moment varchar)"
        )
        await create_many(session, Loose, [{"moment": "now"}] * count)
        with pytest.raises(DBAPIError) as caught:
            await create_many(session, Loose, [{"id": -n, "moment": "x"} for n in range(count)])
        assert getattr(caught.value.orig, "sqlstate", None) == "428C9"
        await session.rollback()


@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg")
async def test_value_of_the_wrong_type(database: Database):
    """The driver cannot send it: an error of the database, and the transaction is lost."""
    rows: list[dict[str, Any]] = [
        *products(300),
        {"sku": "x", "name": "\0 or so", "stock": object()},
    ]
    async with database.session() as session:
        with pytest.raises((DBAPIError, TypeError)):
            await create_many(session, Product, rows)
        await session.rollback()
        await create_many(session, Product, [{"sku": "kept", "name": "kept"}])
    assert await names(database) == ["kept"]
