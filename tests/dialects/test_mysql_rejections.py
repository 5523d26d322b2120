"""Why MariaDB and MySQL reject a statement: the numbers and the texts of a real server."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from fastapi_asyncdb import Database
from fastapi_asyncdb.dialects import Rejection, rejection_of
from tests.support.databases import MARIADB

SETUP = (
    "CREATE TABLE hall (id INT PRIMARY KEY)",
    """
    CREATE TABLE room (
        id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(5) NOT NULL, code INT UNIQUE,
        size TINYINT CHECK (size < 100), hall_id INT, kind ENUM('a', 'b'), opened DATETIME,
        price DECIMAL(4, 2), plan JSON, floor INT,
        CONSTRAINT uq_room UNIQUE (name, floor), CONSTRAINT ck_floor CHECK (floor >= 0),
        CONSTRAINT fk_hall FOREIGN KEY (hall_id) REFERENCES hall (id)
    )
    """,
    "INSERT INTO hall VALUES (1)",
    "INSERT INTO room (id, name, code, floor, hall_id) VALUES (1, 'one', 1, 1, 1)",
)


def refused(kind: Any, code: str, constraint: str | None = None, *columns: str) -> Rejection:
    """Return the rejection of a row of ``room``."""
    return Rejection(kind, code, constraint, "room", columns)


@pytest.fixture
async def rooms(database: Database) -> Database:
    """A database with two tables and a row in each."""
    async with database.session() as session:
        for statement in SETUP:
            await session.execute(text(statement))
    return database


@pytest.mark.databases(*MARIADB)
@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("INSERT INTO room (id, name) VALUES (1, 'x')", refused("unique", "1062", "PRIMARY")),
        ("INSERT INTO room (name, code) VALUES ('x', 1)", refused("unique", "1062", "code")),
        (
            "INSERT INTO `room` (name, floor) VALUES ('one', 1)",
            refused("unique", "1062", "uq_room"),
        ),
        ("UPDATE room SET floor = -1", refused("check", "4025", "ck_floor")),
        ("UPDATE room SET size = 101", refused("check", "4025", "size", "size")),
        ("UPDATE room SET plan = '{'", refused("check", "4025", "plan", "plan")),
        ("UPDATE room SET hall_id = 9", refused("foreign key", "1452", "fk_hall", "hall_id")),
        ("DELETE FROM hall", refused("foreign key", "1451", "fk_hall", "hall_id")),
        ("INSERT INTO room (name) VALUES (NULL)", refused("not null", "1048", None, "name")),
        ("INSERT INTO room (code) VALUES (5)", refused("not null", "1364", None, "name")),
        ("UPDATE room SET name = 'sixsix'", refused("value", "1406", None, "name")),
        ("UPDATE room SET code = 3000000000", refused("value", "1264", None, "code")),
        ("UPDATE room SET price = 123.4", refused("value", "1264", None, "price")),
        ("UPDATE room SET kind = 'c'", refused("value", "1265", None, "kind")),
        ("UPDATE room SET opened = '2020-99-99'", refused("value", "1292", None, "opened")),
        (
            "UPDATE room SET code = 'in column ''hunter2'' now'",
            refused("value", "1366", None, "code"),
        ),
        ("UPDATE room SET code = 1 / 0", refused("value", "1365")),
        (
            "UPDATE room SET code = 9223372036854775807 + 1",
            refused("value", "1690"),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_a_rejection_says(rooms: Database, statement: str, expected: Rejection):
    """Its kind, the constraint, the table and the columns."""
    with pytest.raises(DBAPIError) as caught:
        async with rooms.session() as session:
            await session.execute(text(statement))
    assert rejection_of(caught.value) == expected


# https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html
@pytest.mark.parametrize(
    ("number", "message", "expected"),
    [
        (
            1062,
            "Duplicate entry 'a.b' for key 'room.uq_room'",
            refused("unique", "1062", "uq_room"),
        ),
        (1062, "Duplicate entry '1' for key 'room.PRIMARY'", refused("unique", "1062", "PRIMARY")),
        (
            3819,
            "Check constraint 'room_chk_1' is violated.",
            refused("check", "3819", "room_chk_1"),
        ),
        (3140, "Invalid JSON text: \"x\" at position 1 in value for column 'room.plan'.", None),
        (
            1292,
            "Incorrect datetime value: 'x' for column 'opened' at row 1",
            refused("value", "1292", None, "opened"),
        ),
        (1048, "Column 'name' cannot be null", refused("not null", "1048", None, "name")),
        (
            3024,
            "Query execution was interrupted, maximum statement execution time exceeded",
            refused("statement timeout", "3024"),
        ),
        (
            3572,
            "Statement aborted because lock(s) could not be acquired immediately and NOWAIT is set.",
            refused("lock timeout", "3572"),
        ),
    ],
)
def test_texts_of_mysql(number: int, message: str, expected: Rejection | None):
    """As its manual has them, where they differ from MariaDB's."""
    error = DBAPIError("INSERT INTO shop.room VALUES (1)", {}, Exception(number, message))
    assert rejection_of(error) == (expected or refused("value", "3140", None, "room.plan"))
