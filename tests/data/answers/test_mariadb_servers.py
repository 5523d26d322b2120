"""On which servers JSON is built, and when that is known; and their settings that change SQL."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel
from sqlalchemy import MetaData, insert, select
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import selectinload

from fastapi_asyncdb import Database, DatabaseSettings, Related, answer
from fastapi_asyncdb.dialects import json_of
from fastapi_asyncdb.testing import assert_queries
from tests.data.answers.cellar import Base, Bottle, BottleOut, Shade, Shelf, ShelfOut
from tests.data.answers.fastapi_answer import assert_equal
from tests.support.databases import MARIADB

pytestmark = [pytest.mark.databases(*MARIADB), pytest.mark.usefixtures("_builds_json")]
BUILT = "the database builds the JSON."


class FirstBottle(BaseModel):
    """What only the database can read."""

    id: int


class FirstOfShelf(BaseModel):
    bottles: Annotated[list[FirstBottle], Related(limit=1)]


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


@pytest.fixture(autouse=True)
async def _stored(database: Database) -> None:
    async with database.session() as session:
        await session.execute(insert(Shelf).values(id=1))
        row: dict[str, Any] = {"shade": Shade.DARK, "data": {"\\": '"'}, "name": "\\"}
        await session.execute(insert(Bottle).values(id=1, shelf_id=1, **row))


@pytest.mark.parametrize("version", [(10, 6, 21), (10, 11, 0), (11, 8, 2)])
@pytest.mark.parametrize("is_mariadb", [False, True])
async def test_versions(version: tuple[int, ...], is_mariadb: bool):
    """MariaDB from the oldest version on that the tests run on, and never MySQL."""
    dialect = mysql.dialect(is_mariadb=is_mariadb)
    assert json_of(dialect) is None or is_mariadb
    dialect.server_version_info = version
    assert (json_of(dialect) is not None) == (is_mariadb and version >= (10, 11))


async def test_before_the_start_the_url_says(database: Database):
    """``mysql://`` means either, and ``mariadb://`` one of them."""
    for url, built in (("mysql://db/shop", False), ("mariadb://db/shop", True)):
        told = answer.explain(BottleOut, Bottle, database=Database(DatabaseSettings(url=url)))
        assert told.endswith(BUILT) == built
    assert answer.explain(BottleOut, Bottle, database=database).endswith(BUILT)


async def test_the_first_statement_of_an_engine(database: Database):
    """The session asks the server what it is, before an answer is planned."""
    engine = create_async_engine(database.engine.url)
    try:
        async with AsyncSession(engine) as session:
            found = await answer(session, select(Shelf), FirstOfShelf)
    finally:
        await engine.dispose()
    assert found.body == b'{"bottles":[{"id":1}]}'


async def test_a_start_without_a_connection(database_url: str):
    """The same for the engines of a ``Database`` that has never been connected."""
    database = Database(DatabaseSettings(url=database_url))
    await database.start(require_connection=False)
    try:
        async with AsyncSession(database.engine) as session:
            found = await answer(session, select(Shelf), FirstOfShelf)
    finally:
        await database.stop()
    assert found.body == b'{"bottles":[{"id":1}]}'


@pytest.mark.parametrize("sql_mode", ["NO_BACKSLASH_ESCAPES", "ANSI,TRADITIONAL", "ORACLE", ""])
async def test_modes_of_sql(database_url: str, sql_mode: str):
    """Texts have no backslashes, and no double quotes around them, whose meaning depends on it."""
    url = f"{database_url}{'&' if '?' in database_url else '?'}sql_mode={sql_mode}"
    async with Database(DatabaseSettings(url=url)) as database, database.session() as session:
        is_read_again = sql_mode == "ORACLE"  # where CONCAT() takes NULL for an empty text
        with assert_queries(database, exactly=5 if is_read_again else 3):
            await assert_equal(session, select(Shelf), ShelfOut, selectinload(Shelf.bottles))
