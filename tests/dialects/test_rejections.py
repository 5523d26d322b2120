"""Why a database rejected a statement: what the codes mean, and what the metadata adds."""

import sqlite3

import pytest
from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.dialects import Rejection, rejection_of
from fastapi_asyncdb.web.problems.constraints import complete
from tests.support.databases import EVERY_KIND

# What MariaDB says is in test_mysql_rejections.py; it has no functional indexes.
NAMED = tuple(name for name in EVERY_KIND if not name.startswith("mariadb"))
METADATA = MetaData()
SEAT = Table(
    "seat",
    METADATA,
    Column("row", Integer, primary_key=True),
    Column("number", Integer, unique=True),
    Column("below", ForeignKey("seat.row")),
    Column("colour", Integer),
    UniqueConstraint("row", "number", name="row_and_number"),
    CheckConstraint("number > 0", name="number_is_positive"),
)
Index("one_of_each_colour", SEAT.c.colour, unique=True)
Index("one_of_each_sign", func.abs(SEAT.c.below), unique=True)


@pytest.mark.databases(*NAMED)
@pytest.mark.parametrize(
    ("sql", "constraint", "columns"),
    [
        ("VALUES (1, 9, NULL, 9)", "seat_pkey", ("row",)),
        ("VALUES (9, 1, NULL, 9)", "seat_number_key", ("number",)),
        ("VALUES (9, 9, NULL, 1)", "one_of_each_colour", ("colour",)),
        ("VALUES (9, 9, -1, 9)", "one_of_each_sign", ("below",)),
        ("VALUES (9, 9, 8, 9)", "seat_below_fkey", ("below",)),
        ("VALUES (9, -9, NULL, 9)", "number_is_positive", ()),
    ],
)
async def test_names_of_the_constraint_and_its_columns(
    database: Database, sql: str, constraint: str, columns: tuple[str, ...]
):
    """From the database or from the metadata; names of PostgreSQL's own only where they exist."""
    async with database.session() as session:
        connection = await session.connection()
        await connection.run_sync(METADATA.create_all)
        await connection.execute(text("INSERT INTO seat VALUES (1, 1, 1, 1)"))
    with pytest.raises(IntegrityError) as caught:
        async with database.session() as session:
            await session.execute(text(f"INSERT INTO seat {sql}"))
    rejection = rejection_of(caught.value)
    assert rejection is not None
    rejection = complete(rejection, METADATA)
    if database.engine.dialect.name == "postgresql":
        assert (rejection.constraint, rejection.columns) == (constraint, columns)
    elif rejection.kind != "foreign key":
        assert rejection.columns == columns
        assert rejection.constraint == (None if constraint.startswith("seat_") else constraint)


@pytest.mark.databases(*NAMED)
@pytest.mark.parametrize(
    ("kind", "value"), [("bigint", 2**63), ("bigint", 2**100), ("varchar", "\ud800")], ids=ascii
)
async def test_value_that_no_driver_can_send(database: Database, kind: str, value: object):
    """SQLAlchemy's error from every driver, also where the driver raises Python's."""
    with pytest.raises(DBAPIError) as caught:
        async with database.session() as session:
            await session.execute(text(f"SELECT CAST(:value AS {kind})"), {"value": value})
    rejection = rejection_of(caught.value)
    assert (rejection and rejection.kind) == "value"


async def test_value_of_a_wrong_type_is_no_rejection(postgres_url: str):
    """Asyncpg gives it the code of a value that is out of range, and it is an error of the code."""
    error = TypeError("'str' object cannot be interpreted as an integer")
    driver = ValueError("invalid input for query argument $1")
    driver.sqlstate = "22000"  # type: ignore[attr-defined]
    assert rejection_of(DataError("SELECT", {}, driver)) == Rejection("value", "22000")
    driver.__cause__ = error
    assert rejection_of(DataError("SELECT", {}, driver)) is None


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("SQLITE_FULL", "unavailable"),
        ("SQLITE_IOERR_FSYNC", "unavailable"),
        ("SQLITE_TOOBIG", "value"),
    ],
)
def test_codes_of_sqlite(code: str, kind: str):
    """Faults of the disk are the server's, a text that is too big is the client's."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorname = code
    rejection = rejection_of(OperationalError("INSERT", {}, error))
    assert rejection == Rejection(kind, code)  # type: ignore[arg-type]


async def test_check_without_a_name_shows_no_sql(sqlite_url: str):
    """SQLite has the SQL in the place of the name, with the values in it."""
    async with Database(DatabaseSettings(url=sqlite_url)) as database:
        with pytest.raises(IntegrityError) as caught:
            async with database.session() as session:
                await session.execute(text("CREATE TABLE word (it TEXT CHECK (it <> 'hunter2'))"))
                await session.execute(text("INSERT INTO word VALUES ('hunter2')"))
    assert rejection_of(caught.value) == Rejection("check", "SQLITE_CONSTRAINT_CHECK")


@pytest.mark.parametrize(("number", "kind"), [(1062, "unique"), (1452, "foreign key"), (1, None)])
def test_codes_of_mysql(number: int, kind: str | None):
    """By number: the first argument of the driver's error."""
    rejection = rejection_of(IntegrityError("INSERT", {}, Exception(number, "in some language")))
    assert (rejection and rejection.kind) == kind
