"""Copies of a database of MySQL or MariaDB, which has no templates: everything in it is made again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing, suppress
from typing import Any

import pymysql
import pytest
from pydantic import SecretStr
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from fastapi_asyncdb import Database
from fastapi_asyncdb.testing import DatabaseTemplate
from fastapi_asyncdb.testing.databases.copies import unique_name
from fastapi_asyncdb.testing.databases.temporary import empty_database
from tests.support.application import Base
from tests.support.databases import MARIADB
from tests.support.kept_mysql_tables import connect

pytestmark = pytest.mark.databases(*MARIADB)

# Names and texts that need care: a percent sign, a backtick, a word that is reserved.
SCHEMA = """\
CREATE SEQUENCE numbers START WITH 7
CREATE TABLE parent (id INT AUTO_INCREMENT PRIMARY KEY, `a``b` VARCHAR(20) DEFAULT '10%' UNIQUE)
CREATE TABLE `order` (id INT PRIMARY KEY DEFAULT NEXTVAL(numbers), parent_id INT, \
    twice INT AS (id * 2), CHECK (id < 9999), \
    FOREIGN KEY (parent_id) REFERENCES parent (id) ON DELETE CASCADE)
INSERT INTO parent (id) VALUES (40)
INSERT INTO `order` (parent_id) VALUES (40)
SET sql_mode = CONCAT(@@sql_mode, ',NO_AUTO_VALUE_ON_ZERO')
INSERT INTO parent VALUES (0, 'zero')
CREATE VIEW base_of_view AS SELECT id AS order_id FROM `order`
CREATE VIEW above AS SELECT order_id FROM base_of_view
CREATE FUNCTION orders() RETURNS INT RETURN (SELECT COUNT(*) FROM `order`)
CREATE PROCEDURE clear() DELETE FROM parent
CREATE TRIGGER adds BEFORE INSERT ON parent FOR EACH ROW \
    SET NEW.`a``b` = CONCAT(NEW.`a``b`, '%')
"""


async def prepare(database: Database) -> None:
    """Make one of everything."""
    async with database.engine.connect() as connection:
        for statement in SCHEMA.replace("\\\n", "").splitlines():
            await connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
            await connection.commit()


@pytest.fixture
async def copy(database_url: str) -> AsyncIterator[Database]:
    """A copy of a database with one of everything."""
    async with DatabaseTemplate(database_url, prepare) as template, template.database() as copy:
        yield copy


async def values(database: Database, sql: str) -> list[Any]:
    """Return the first column, of what is committed at once."""
    async with database.session() as session:
        result: Any = await session.execute(text(sql))
        return list(result.scalars()) if result.returns_rows else []


async def test_copy_has_what_the_template_has(copy: Database):
    """Rows with their numbers, zero too; views, whatever their order; functions; sequences go on."""
    assert await values(copy, "SELECT id FROM parent ORDER BY id") == [0, 40]
    assert await values(copy, "SELECT twice FROM `order`") == [14]
    assert await values(copy, "SELECT order_id FROM above") == [7]
    assert await values(copy, "SELECT orders()") == [1]
    await values(copy, "INSERT INTO parent (`a``b`) VALUES ('next')")
    assert await values(copy, "SELECT id FROM parent WHERE `a``b` = 'next%'") == [41]
    await values(copy, "INSERT INTO `order` (parent_id) VALUES (41)")
    [first, second] = await values(copy, "SELECT id FROM `order` ORDER BY id")
    assert first == 7
    assert second > first


async def test_copy_refuses_what_the_template_refuses(copy: Database):
    """Foreign keys are checked, and act; so are CHECK and UNIQUE."""
    for refused in (
        "INSERT INTO `order` VALUES (8, 99, DEFAULT)",
        "INSERT INTO `order` VALUES (9999, NULL, DEFAULT)",
        "INSERT INTO parent VALUES (50, '10'), (51, '10')",
    ):
        with pytest.raises(DBAPIError):
            await values(copy, refused)
    await values(copy, "CALL clear()")
    assert await values(copy, "SELECT id FROM `order`") == []


async def test_copies_share_nothing(database_url: str):
    """What names the database itself names the copy: a view, and the default of a column."""
    async with DatabaseTemplate(database_url, prepare) as template:
        async with template.database() as copy:
            await values(copy, "DELETE FROM `order`")
            await values(copy, "INSERT INTO `order` () VALUES ()")
            assert await values(copy, "SELECT COUNT(*) FROM above") == [1]
        async with template.database() as copy:
            assert await values(copy, "SELECT order_id FROM above") == [7]


async def test_tables_are_like_those_of_the_urls_database(database_url: str):
    """How text is compared depends on the database that it is in."""
    name = make_url(database_url).database
    ask(database_url, f"ALTER DATABASE `{name}` COLLATE utf8mb4_bin")
    async with (
        DatabaseTemplate(database_url, metadata=Base.metadata) as template,
        template.database() as copy,
    ):
        assert await values(copy, "SELECT @@collation_database") == ["utf8mb4_bin"]


async def test_copy_is_dropped_under_its_clients(database_url: str):
    """A transaction that a test forgot does not keep its tables."""
    async with DatabaseTemplate(database_url, prepare) as template:
        async with template.copy() as copy:
            forgotten = connect(copy.get_secret_value())
            forgotten.cursor().execute("START TRANSACTION; SELECT * FROM parent FOR UPDATE")
        with pytest.raises(pymysql.Error):
            forgotten.cursor().execute("SELECT 1")
        with suppress(pymysql.Error):
            forgotten.close()


async def test_user_who_may_not_make_databases_is_told(database_url: str):
    """In the server's words, and not that there is nothing to drop."""
    user = unique_name()[-30:]
    ask(database_url, f"CREATE USER '{user}'@'%'")
    name = make_url(database_url).database
    ask(database_url, f"GRANT ALL ON `{name}`.* TO '{user}'@'%'")
    url = make_url(database_url).set(username=user).render_as_string()
    with pytest.raises(DBAPIError, match="Access denied"):
        await DatabaseTemplate(url, metadata=Base.metadata).__aenter__()
    ask(database_url, f"DROP USER '{user}'@'%'")


async def test_worker_gets_a_database_that_goes(database_url: str, tmp_path):
    """The plugin makes one on a server that it is given."""
    with empty_database(SecretStr(database_url), tmp_path) as url:
        ask(url.get_secret_value(), "CREATE TABLE kept (id INT)")
    with pytest.raises(pymysql.OperationalError, match="Unknown database"):
        connect(url.get_secret_value())


def ask(url: str, sql: str) -> None:
    """Run one statement on a connection of its own."""
    with closing(connect(url)) as connection:
        connection.cursor().execute(sql)
