"""Plans: what explains them, what is logged, and that they are shared by threads and bounded."""

import asyncio
import logging
import pkgutil
import threading
from functools import lru_cache
from importlib import import_module
from typing import Any

import pytest
from pydantic import BaseModel, computed_field, field_validator
from sqlalchemy import MetaData, select

from fastapi_asyncdb import CursorPage, Database, DatabaseSettings, Page, answer
from fastapi_asyncdb.data import answers
from fastapi_asyncdb.data.answers.plan import plan_of
from fastapi_asyncdb.errors import ConfigurationError
from tests.data.answers.forum import (
    POSTS,
    AuthorOut,
    Base,
    Post,
    PostOut,
    Title,
    fill,
    sent,
)
from tests.support.databases import ONE_DRIVER

IN_ORDER = select(Post).order_by(Post.id)
CACHED: Any = type(lru_cache(len))
LOGGER = "fastapi_asyncdb.data.answers.plan"
URLS = {
    "postgresql": "postgresql://nobody@localhost/none",
    "sqlite": "sqlite:///none.db",
    "mysql": "mysql://nobody@localhost/none",
    "mariadb": "mariadb://nobody@localhost/none",
}


class Loud(Title):
    @field_validator("title")
    @classmethod
    def raised(cls, value: str) -> str:
        """Shout."""
        return value.upper()


class Counted(BaseModel):
    """What Pydantic computes is of a nested schema."""

    author: "Initial"


class Initial(AuthorOut):
    @computed_field  # type: ignore[prop-decorator]
    @property
    def initial(self) -> str:
        """The first letter."""
        return self.name[0]


@pytest.fixture
def tables() -> MetaData:
    """The tables of ``database``."""
    return Base.metadata


def explained(kind: str, schema: Any) -> str:
    """Return what a database that is not started says of a schema."""
    database = Database(DatabaseSettings(url=URLS[kind]))
    return answer.explain(schema, Post, database=database)


@pytest.mark.parametrize("kind", ["postgresql", "sqlite", "mariadb"])
def test_what_the_database_builds(kind: str):
    """The form of the answer makes no difference; the database need not be there."""
    for schema in (PostOut, PostOut | None, list[PostOut], Page[PostOut], CursorPage[PostOut]):
        assert explained(kind, schema) == "PostOut from Post: the database builds the JSON."


def test_where_no_database_builds_json():
    """Rows without objects, or objects where there are relationships."""
    reason = "since the database does not build JSON as Pydantic does."
    assert explained("mysql", Title) == (
        f"Title from Post: Pydantic validates rows without objects, {reason}"
    )
    assert explained("mysql", PostOut) == (
        f"PostOut from Post: Pydantic validates mapped objects, {reason}"
    )


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_why_pydantic_writes_the_json(kind: str):
    """The name of the schema and of the field, and what the database cannot do about it."""
    assert explained(kind, Loud) == (
        "Loud from Post: Pydantic validates rows without objects, "
        "since Loud.title has an after validator."
    )
    assert explained(kind, Counted) == (
        "Counted from Post: Pydantic validates mapped objects, since Initial has computed fields."
    )


def test_what_cannot_be_explained():
    """The error is that of an answer."""

    class Missing(BaseModel):
        nothing: int

    with pytest.raises(ConfigurationError, match="Post has no attribute 'nothing'"):
        explained("postgresql", Missing)


@pytest.mark.databases(*ONE_DRIVER)
async def test_each_plan_is_logged_once(database: Database, caplog: pytest.LogCaptureFixture):
    """At DEBUG, with the text of ``explain()``; never at a level that is shown by default."""
    await fill(database)

    class Own(Title):
        pass

    with caplog.at_level(logging.DEBUG, LOGGER):
        async with database.read_session() as session:
            for _ in range(3):
                await answer(session, IN_ORDER, list[Own])
    records = [record for record in caplog.records if record.name == LOGGER]
    assert [record.levelno for record in records] == [logging.DEBUG]
    assert records[0].getMessage() == answer.explain(Own, Post, database=database)


@pytest.mark.databases(*ONE_DRIVER)
async def test_sessions_at_the_same_time(database: Database):
    """Tasks of one loop share a plan, and mix up no rows."""
    await fill(database)
    plan_of.cache_clear()

    async def one(number: int) -> Any:
        async with database.read_session() as session:
            return await sent(session, IN_ORDER.where(Post.id == number), PostOut)

    found = await asyncio.gather(*(one(1 + n % 3) for n in range(30)))
    assert found == 10 * POSTS


@pytest.mark.databases(*ONE_DRIVER)
async def test_threads_at_the_same_time(database: Database, database_url: str):
    """Loops in several threads make the same plans at once, each from its own ``Database``."""
    await fill(database)
    plan_of.cache_clear()
    together = threading.Barrier(4)

    def thread(number: int) -> list[Any]:
        async def work() -> list[Any]:
            own = Database(DatabaseSettings(url=database_url))
            async with own, own.read_session() as session:
                together.wait(timeout=30)
                chosen = IN_ORDER.where(Post.id == number)
                return [await sent(session, chosen, PostOut) for _ in range(20)]

        return asyncio.run(work())

    found = await asyncio.gather(*(asyncio.to_thread(thread, 1 + n % 3) for n in range(4)))
    assert found == [20 * [POSTS[n % 3]] for n in range(4)]


def test_caches_are_bounded():
    """An application that makes schemas while it runs does not grow without end."""
    modules = [
        import_module(each.name)
        for each in pkgutil.iter_modules(answers.__path__, answers.__name__ + ".")
    ]
    caches = {
        f"{module.__name__}.{name}": value.cache_parameters()["maxsize"]
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, CACHED)
    }
    assert any(name.endswith(".plan_of") for name in caches)
    assert not [name for name, size in caches.items() if size is None or size > 1024]
