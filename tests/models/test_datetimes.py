"""Datetimes that are aware on every database, and the two of ``TimestampMixin``."""

import asyncio
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata, produce_migrations, render_python_code
from alembic.migration import MigrationContext
from sqlalchemy import (
    Connection,
    Interval,
    MetaData,
    String,
    cast,
    func,
    literal,
    select,
    text,
    update,
)
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import fastapi_asyncdb.models
from fastapi_asyncdb import Database, TimestampMixin
from fastapi_asyncdb.models import UTCDateTime
from tests.models.tables import create
from tests.support.databases import COMPARED


class Own(DeclarativeBase):
    """No ``Base``: with it there would be ``eager_defaults`` too."""

    type_annotation_map = {str: String(200)}  # noqa: RUF012 - SQLAlchemy's own


class Event(TimestampMixin, Own):
    __tablename__ = "event"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(default="")
    at: Mapped[datetime | None] = mapped_column(UTCDateTime())


NOON = datetime(2026, 3, 1, 14, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2, minutes=30)))


async def test_what_is_stored_comes_back_in_utc(database: Database):
    """The same point in time, whatever the zone of the value and of the connection."""
    await create(database, Own.metadata)
    async with database.session() as session:
        session.add_all([Event(id=1, at=NOON), Event(id=2)])
    async with database.session() as session:
        if session.get_bind().dialect.name == "postgresql":
            await session.execute(text("SET LOCAL TimeZone TO 'Asia/Kolkata'"))
        first, second = await session.scalars(select(Event).order_by(Event.id))
        assert (first.at, first.at and first.at.utcoffset()) == (NOON, timedelta(0))
        assert second.at is None
        assert await session.scalar(select(func.max(Event.at))) == NOON


async def test_points_in_time_compare(database: Database):
    """A WHERE clause converts as an INSERT does."""
    await create(database, Own.metadata)
    async with database.session() as session:
        session.add(Event(id=1, at=NOON))
        await session.flush()
        later, earlier = NOON + timedelta(microseconds=1), NOON.astimezone(UTC)
        assert await session.scalar(select(Event.id).where(Event.at < later)) == 1
        assert await session.scalar(select(Event.id).where(Event.at == earlier)) == 1
        assert await session.scalar(select(Event.id).where(Event.at.in_([earlier, later]))) == 1
        assert await session.scalar(select(Event.id).where(Event.at > later)) is None
        value: Any = literal(NOON, UTCDateTime())
        if session.get_bind().dialect.name == "mysql":  # where a literal is a text
            value = cast(value, UTCDateTime())
        assert await session.scalar(select(value)) == NOON


async def test_naive_values_are_refused(database: Database):
    """The message has the value, where it may come from, and what to write instead."""
    await create(database, Own.metadata)
    async with database.session() as session:
        session.add(Event(at=datetime(2026, 1, 1)))  # noqa: DTZ001
        with pytest.raises(StatementError, match=r"2026, 1, 1.*no time zone.*now\(UTC\)") as caught:
            await session.flush()
        assert isinstance(caught.value.orig, ValueError)
        await session.rollback()


def test_other_operands_keep_their_types():
    """A duration that is added to a point in time is a duration, and a date is compared as a date."""
    added: Any = Event.at + timedelta(hours=1)
    assert isinstance(added.right.type, Interval)
    compared: Any = Event.at >= date(2026, 1, 1)
    assert not isinstance(compared.right.type, UTCDateTime)


@pytest.mark.databases("postgresql-asyncpg", "postgresql-psycopg")
async def test_postgresql_computes_with_them(database: Database):
    """It adds a duration, and subtracts two."""
    await create(database, Own.metadata)
    async with database.session() as session:
        session.add(Event(id=1, at=NOON))
        await session.flush()
        assert await session.scalar(select(Event.at + timedelta(hours=1))) == NOON + timedelta(
            hours=1
        )
        since = select(Event.id).where(Event.at >= func.now() - timedelta(days=36500))
        assert await session.scalar(since) == 1


# --- TimestampMixin -------------------------------------------------------------------------------


async def test_timestamps_are_set_and_readable(database: Database):
    """After an INSERT and an UPDATE without a query, on a base without ``eager_defaults``."""
    await create(database, Own.metadata)
    before = datetime.now(UTC)
    async with database.session() as session:
        event = Event(id=1)
        session.add(event)
        await session.flush()
        created, updated = event.created_at, event.updated_at
        assert before <= created <= updated <= datetime.now(UTC)
        event.name = "changed"
        await session.flush()
        assert event.created_at == created
        assert event.updated_at > updated
        updated = event.updated_at
    async with database.session() as session:
        event = await session.get_one(Event, 1)
        assert (event.created_at, event.updated_at) == (created, updated)
        await session.execute(update(Event).values(name="again"))
        assert (await session.scalar(select(Event.updated_at)) or created) > updated


async def test_rows_of_other_programs_have_the_time_of_the_server(database: Database):
    """In the form of all other rows, which SQLite compares and sorts as texts."""
    await create(database, Own.metadata)
    insert = text("INSERT INTO event (id, name) VALUES (2, '')")
    async with database.session() as session:
        session.add(Event(id=1))
        await session.flush()
        await asyncio.sleep(0.002)  # SQLite counts milliseconds
        await session.execute(insert)
        other = await session.get_one(Event, 2)
        # PostgreSQL's is the time at which the transaction began.
        assert abs(datetime.now(UTC) - other.created_at) < timedelta(seconds=60)
        assert (
            await session.scalar(
                select(Event.id).where(Event.created_at == other.created_at, Event.id == 2)
            )
            == 2
        )
        lengths = await session.scalars(
            text("SELECT length(CAST(created_at AS char(40))) FROM event")
        )
        if session.get_bind().dialect.name != "postgresql":
            assert set(lengths) == {len("2026-01-01 00:00:00.000000")}


def test_columns_stand_at_the_end():
    """A table is read by people too."""
    assert list(Event.__table__.c.keys()) == ["id", "name", "at", "created_at", "updated_at"]


# --- Alembic --------------------------------------------------------------------------------------


async def migrate(database: Database, metadata: MetaData, work: Any) -> Any:
    """Call a function with Alembic's context of an empty database."""

    def run(connection: Connection) -> Any:
        options = {"compare_server_default": True, "target_metadata": metadata}
        return work(MigrationContext.configure(connection, opts=options))

    async with database.engine.begin() as connection:
        return await connection.run_sync(run)


@pytest.mark.databases(*COMPARED)
async def test_alembic_sees_no_difference(database: Database):
    """Neither in the types nor in the defaults of the server."""
    await create(database, Own.metadata)
    assert await migrate(database, Own.metadata, lambda c: compare_metadata(c, Own.metadata)) == []


async def test_alembic_writes_names_that_can_be_imported(database: Database):
    """The public module of the type, for which the template of migrations has one import."""

    def render(context: MigrationContext) -> str:
        upgrade: Any = produce_migrations(context, Own.metadata).upgrade_ops
        return render_python_code(upgrade)

    code = await migrate(database, Own.metadata, render)
    assert "fastapi_asyncdb.models.UTCDateTime()" in code
    types = {"fastapi_asyncdb": fastapi_asyncdb, "sa": __import__("sqlalchemy")}
    assert isinstance(eval("fastapi_asyncdb.models.UTCDateTime()", types), UTCDateTime)
