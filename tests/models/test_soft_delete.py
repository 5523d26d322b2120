"""Rows that are marked as deleted are left out, however they are read, unless the statement says so."""

import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import ForeignKey, Select, delete, event, exists, func, select, union_all, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    aliased,
    joinedload,
    mapped_column,
    relationship,
    selectinload,
    subqueryload,
)

from fastapi_asyncdb import Database, SoftDeleteMixin
from tests.models.tables import create
from tests.support.databases import ONE_DRIVER

pytestmark = pytest.mark.databases(*ONE_DRIVER)

INCLUDING = {"include_deleted": True}
AT = datetime(2026, 1, 1, tzinfo=UTC)
# Before, SQLAlchemy added no criteria to an EXISTS whose table is not in the outer FROM.
in_exists = pytest.mark.skipif(
    sqlalchemy.__version__.startswith("2.0."), reason="needs SQLAlchemy 2.1"
)


class Own(DeclarativeBase):
    """Not ``Base``: the mixin works with any."""


class Tag(Own):
    """A class without the mixin."""

    __tablename__ = "tag"
    id: Mapped[int] = mapped_column(primary_key=True)
    post_id: Mapped[int | None] = mapped_column(ForeignKey("post.id"))
    post: Mapped["Post | None"] = relationship()


class Post(SoftDeleteMixin, Own):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("post.id"))
    notes: Mapped[list["Remark"]] = relationship(order_by="Remark.id", back_populates="post")
    answers: Mapped[list["Post"]] = relationship(lazy="joined", join_depth=1)


class Remark(SoftDeleteMixin, Own):
    __tablename__ = "remark"
    id: Mapped[int] = mapped_column(primary_key=True)
    post_id: Mapped[int] = mapped_column(ForeignKey("post.id"))
    post: Mapped[Post] = relationship(back_populates="notes")


@pytest.fixture
async def session(database: Database):
    """A post with two remarks and two answers, one of each deleted; a deleted post with a remark."""
    await create(database, Own.metadata)
    async with database.session() as before:
        before.add_all([Post(id=1), Post(id=2, deleted_at=AT)])
        await before.flush()
        before.add_all([Post(id=3, parent_id=1, deleted_at=AT), Post(id=4, parent_id=1)])
        before.add_all([Remark(id=1, post_id=1), Remark(id=2, post_id=1, deleted_at=AT)])
        before.add_all([Remark(id=3, post_id=2), Tag(id=1, post_id=2)])
    async with database.session() as session:
        yield session


other = aliased(Remark)
SELECTS: dict[str, tuple[Select[Any], list[int], list[int]]] = {
    "entities": (select(Remark), [1, 3], [1, 2, 3]),
    "columns": (select(Remark.id), [1, 3], [1, 2, 3]),
    "count": (select(func.count()).select_from(Remark), [2], [3]),
    "count of a column": (select(func.count(Remark.id)), [2], [3]),
    "alias": (select(other.id), [1, 3], [1, 2, 3]),
    "join": (select(Remark.id).join(Remark.post), [1], [1, 2, 3]),
    "join to a class without it": (select(Tag.id).join(Tag.post), [], [1]),
    "outer join": (select(Remark.id).outerjoin(Remark.post), [1, 3], [1, 2, 3]),
    "subquery": (select(select(Remark.id).subquery()), [1, 3], [1, 2, 3]),
    "cte": (select(select(Remark.id).cte()), [1, 3], [1, 2, 3]),
    "in": (select(Tag.id).where(Tag.post_id.in_(select(Post.id))), [], [1]),
    "scalar subquery": (select(select(func.max(Post.id)).scalar_subquery()), [4], [4]),
    "exists": (select(Post.id).where(select(Remark).where(Remark.id == 2).exists()), [], [1, 2, 3, 4]),
}  # fmt: skip
LOADERS = [selectinload, joinedload, subqueryload]


def ids(found: Any) -> list[int]:
    """Return the keys, in order."""
    return sorted(getattr(each, "id", each) for each in found)


@pytest.mark.parametrize("name", SELECTS)
async def test_select_leaves_them_out(session: AsyncSession, name: str):
    """In each part of the statement; with the option, all rows are there."""
    statement, kept, all_ = SELECTS[name]
    assert ids((await session.scalars(statement)).unique()) == kept
    assert ids((await session.scalars(statement, execution_options=INCLUDING)).unique()) == all_
    including = statement.execution_options(include_deleted=True)
    assert ids((await session.scalars(including)).unique()) == all_


@in_exists
async def test_any_leaves_them_out(session: AsyncSession):
    """``any()``, ``has()`` and ``exists()`` in a WHERE clause."""
    second = select(Post.id).where(Post.notes.any(Remark.id == 2))
    assert ids(await session.scalars(second)) == []
    assert ids(await session.scalars(second, execution_options=INCLUDING)) == [1]
    assert ids(await session.scalars(select(Tag.id).where(Tag.post.has()))) == []
    assert ids(await session.scalars(select(Tag.id).where(exists().where(Post.id == 2)))) == []


async def test_union_leaves_them_out(session: AsyncSession):
    """Of columns, and of entities."""
    union = union_all(select(Remark.id), select(Remark.id))
    assert ids(await session.scalars(union)) == [1, 1, 3, 3]
    entities = select(Remark).from_statement(union_all(select(Remark), select(Remark)))
    assert ids(await session.scalars(entities)) == [1, 1, 3, 3]


async def test_stream_leaves_them_out(session: AsyncSession):
    """A stream is a SELECT like others."""
    streamed = await session.stream_scalars(select(Remark.id))
    assert ids(await streamed.all()) == [1, 3]


async def test_get_leaves_them_out(session: AsyncSession):
    """A deleted row is no row."""
    assert await session.get(Post, 2) is None
    assert (await session.get_one(Post, 1)).is_deleted is False
    assert (await session.get_one(Post, 2, execution_options=INCLUDING)).is_deleted is True


async def test_get_returns_what_the_session_holds(session: AsyncSession):
    """The identity map answers without a query; with ``populate_existing`` the database does."""
    post = await session.get_one(Post, 1)
    post.mark_deleted()
    await session.flush()
    assert await session.get(Post, 1) is post
    assert await session.get(Post, 1, populate_existing=True) is None
    assert await session.scalar(select(Post).where(Post.id == 1)) is None


@pytest.mark.parametrize("load", LOADERS)
async def test_loaders_leave_them_out(session: AsyncSession, load: Any):
    """The option of the statement applies to what it loads as well."""
    statement = select(Post).where(Post.id == 1).options(load(Post.notes))
    assert ids((await session.scalars(statement)).unique().one().notes) == [1]
    session.expunge_all()
    including = await session.scalars(statement, execution_options=INCLUDING)
    assert ids(including.unique().one().notes) == [1, 2]


async def load_lazily(session: AsyncSession, post: Post) -> None:
    """Load the remarks when they are read."""
    await session.run_sync(lambda _: post.notes)


async def load_by_refresh(session: AsyncSession, post: Post) -> None:
    """Load the remarks of an object that is there."""
    await session.refresh(post, ["notes"])


@pytest.mark.parametrize("load", [load_lazily, load_by_refresh])
@pytest.mark.parametrize("options", [{}, INCLUDING], ids=["without", "including"])
async def test_later_loads_leave_them_out(
    session: AsyncSession, load: Callable[[AsyncSession, Post], Awaitable[None]], options: Any
):
    """However the object itself was loaded."""
    post = await session.get_one(Post, 1, execution_options=options)
    await load(session, post)
    assert ids(post.notes) == [1]


async def test_many_to_one_is_none(session: AsyncSession):
    """What an object refers to is deleted."""
    tag = await session.get_one(Tag, 1)
    await session.refresh(tag, ["post"])
    assert tag.post is None


async def test_object_of_this_session_loads_its_collection(session: AsyncSession):
    """One that no statement has loaded."""
    post = Post(id=9)
    session.add(post)
    await session.flush()
    session.add_all([Remark(id=8, post_id=9), Remark(id=9, post_id=9, deleted_at=AT)])
    await session.flush()
    await session.refresh(post, ["notes"])
    assert ids(post.notes) == [8]


async def test_refresh_finds_a_deleted_row(session: AsyncSession):
    """An object that was just deleted can be refreshed; what is joined to it leaves out deleted rows."""
    post = await session.get_one(Post, 1)
    assert ids(post.answers) == [4]
    post.mark_deleted()
    await session.flush()
    await session.refresh(post)
    assert post.is_deleted
    assert ids(post.answers) == [4]


async def test_mark_and_restore(session: AsyncSession):
    """The first mark counts; a restored row is back."""
    post = await session.get_one(Post, 1)
    post.mark_deleted()
    marked = post.deleted_at
    post.mark_deleted()
    assert post.is_deleted
    assert post.deleted_at == marked
    await session.commit()
    assert ids((await session.scalars(select(Post))).unique()) == [4]
    post.restore()
    await session.commit()
    assert post.deleted_at is None
    assert ids((await session.scalars(select(Post))).unique()) == [1, 4]


async def test_update_and_delete_are_sqlalchemys(session: AsyncSession):
    """A statement that changes rows, or a ``Table``, sees all of them; ``session.delete`` deletes."""
    updated: Any = await session.execute(update(Remark).values(post_id=1))
    assert updated.rowcount == 3
    table: Any = Remark.__table__
    assert len((await session.execute(select(table))).all()) == 3
    await session.delete(await session.get_one(Remark, 1))
    await session.flush()
    deleted: Any = await session.execute(delete(Remark))
    assert deleted.rowcount == 2


async def test_reading_sessions_and_plain_ones(session: AsyncSession, database: Database):
    """SQLAlchemy's own session, and one that reads in autocommit."""
    async with database.read_session() as reader, AsyncSession(database.engine) as plain:
        for each in (reader, plain):
            assert ids(await each.scalars(select(Remark))) == [1, 3]


async def test_each_statement_is_compiled_once(session: AsyncSession):
    """The criteria do not fill SQLAlchemy's cache of compiled statements."""

    async def read(number: int) -> None:
        await session.scalars(select(Remark).where(Remark.id == number))
        post = await session.get_one(Post, 1, populate_existing=True)
        await session.refresh(post, ["notes"])
        await session.get(Post, 1000 + number)

    await read(0)
    cache: Any = session.get_bind().engine._compiled_cache
    before = len(cache)
    for number in range(1, 20):
        await read(number)
    assert len(cache) == before


async def test_criteria_are_added_once(session: AsyncSession, database: Database):
    """A relationship's load inherits them from the statement that loaded the object."""
    statements: list[str] = []
    post = await session.get_one(Post, 1)

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    event.listen(database.engine.sync_engine, "before_cursor_execute", note)
    await load_lazily(session, post)
    assert [each.count("remark.deleted_at IS NULL") for each in statements] == [1]


def test_application_without_the_mixin_pays_nothing():
    """Nothing listens to statements until a class uses it."""
    code = """
import fastapi_asyncdb
from fastapi_asyncdb.models import soft_delete
from sqlalchemy import event
from sqlalchemy.orm import Session
assert not event.contains(Session, 'do_orm_execute', soft_delete.leave_out_deleted)
class Deletable(fastapi_asyncdb.SoftDeleteMixin): pass
assert event.contains(Session, 'do_orm_execute', soft_delete.leave_out_deleted)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
