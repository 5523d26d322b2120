"""Data access over SQLModel's session, which deprecates ``execute``; warnings are errors here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from sqlmodel import Field, SQLModel, col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from fastapi_asyncdb import (
    CursorQuery,
    Database,
    DatabaseSettings,
    PageQuery,
    Repository,
    paginate,
    paginate_cursor,
)
from fastapi_asyncdb.testing import sandbox
from tests.data.library import TABLES, Hero
from tests.support.databases import ONE_DRIVER

pytestmark = pytest.mark.databases(*ONE_DRIVER)


class HeroUpdate(SQLModel):
    name: str | None = None
    age: int | None = Field(default=None, ge=0)


@asynccontextmanager
async def opened(database_url: str, kind: str) -> AsyncIterator[AsyncSession]:
    """Open a session of a ``Database``, of its sandbox, or of SQLModel alone; nothing is stored."""
    database = Database(DatabaseSettings(url=database_url), session_class=AsyncSession)
    await database.start(create_tables=TABLES)
    try:
        if kind == "sandbox":
            async with sandbox(database) as session:
                yield session
        elif kind == "sqlmodel":
            async with AsyncSession(database.engine) as session:
                yield session
        else:
            async with database.session() as session:
                yield session
                await session.rollback()
    finally:
        await database.stop()


@pytest.mark.parametrize("kind", ["session", "sandbox", "sqlmodel"])
async def test_no_verb_warns(database_url: str, kind: str):
    """No line of the library asks the user for ``exec()``."""
    async with opened(database_url, kind) as session:
        heroes = Repository[Hero](session)
        ada = await heroes.create(Hero(name="Ada", age=36))
        await heroes.create_many([{"name": "Bob"}, Hero(name="Eve", age=7)])
        assert ada.id is not None
        assert await heroes.find_one(Hero.name == "Ada") is ada
        await heroes.update(ada, HeroUpdate(name="Ada L."))
        assert await heroes.update_where(col(Hero.age) == 7, age=8) == 1
        assert [hero.age for hero in await heroes.list(order_by=col(Hero.name))] == [36, None, 8]
        assert [hero.name async for hero in heroes.stream(col(Hero.age).is_(None))] == ["Bob"]
        assert (await heroes.upsert({"id": ada.id, "name": "Ada"}, conflict=["id"])).id == ada.id
        assert await heroes.upsert_many([{"id": ada.id, "name": "Ida"}], conflict=["id"]) == 1
        assert await heroes.delete_where(Hero.name == "Bob") == 1
        assert (await heroes.count(), await heroes.exists(Hero.name == "Bob")) == (2, False)
        page = await heroes.page(PageQuery(limit=1), order_by=col(Hero.id), total="estimated")
        assert [hero.id for hero in page.items] == [ada.id]
        await heroes.delete(ada)
        assert await heroes.get(ada.id) is None


async def test_pages_of_statements_of_sqlmodel(database_url: str):
    """What ``select`` of SQLModel selects: objects of one model, rows of several columns."""
    async with opened(database_url, "session") as session:
        session.add_all([Hero(name="Ada", age=36), Hero(name="Bob"), Hero(name="Eve", age=7)])
        everyone = select(Hero).order_by(col(Hero.name))
        page = await paginate(session, everyone, PageQuery(limit=2))
        assert ([hero.name for hero in page.items], page.total) == (["Ada", "Bob"], 3)
        rows = await paginate(session, select(Hero.name, Hero.age).order_by(Hero.name), PageQuery())
        assert rows.items[0].name == "Ada"
        first = await paginate_cursor(session, everyone, CursorQuery(limit=2))
        rest = await paginate_cursor(session, everyone, CursorQuery(cursor=first.next_cursor))
        assert [hero.name for hero in rest.items] == ["Eve"]


@pytest.mark.databases("sqlite")
async def test_methods_of_the_session_do_not_warn(database_url: str):
    """``scalars()`` is not deprecated, although SQLAlchemy's calls ``execute()``."""
    async with opened(database_url, "session") as session:
        session.add(Hero(name="Ada"))
        assert (await session.scalars(select(Hero.name))).one() == "Ada"
        assert await session.scalar(select(Hero.name)) == "Ada"
        assert (await (await session.stream_scalars(select(Hero.name))).all()) == ["Ada"]


@pytest.mark.databases("sqlite")
async def test_execute_warns_at_the_line_that_calls_it(database_url: str):
    """The user's own call, as with SQLModel alone."""
    async with opened(database_url, "session") as session:
        with pytest.warns(DeprecationWarning, match=r"session\.exec") as caught:
            await session.execute(select(Hero))
    assert [warning.filename for warning in caught] == [__file__]
