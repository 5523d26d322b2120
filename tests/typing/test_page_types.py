"""What type checkers know of pages; run by pytest only so that it imports."""

from typing import assert_type

from pydantic import BaseModel
from sqlalchemy import Row, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, aliased, mapped_column

from fastapi_asyncdb import CursorPage, CursorQuery, Page, PageQuery, paginate, paginate_cursor


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "typed_user"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class UserOut(BaseModel):
    id: int


async def users(db: AsyncSession, query: PageQuery) -> Page[UserOut]:
    """A route that names its response."""
    return (await paginate(db, select(User).order_by(User.name), query)).to(UserOut)


async def feed(db: AsyncSession, query: CursorQuery) -> CursorPage[UserOut]:
    """The same by cursor."""
    page = await paginate_cursor(db, select(User).order_by(User.name.desc()), query, secret="x")
    return page.to(UserOut)


async def by_offset(db: AsyncSession) -> None:
    """Of an entity, a column, and several."""
    query = PageQuery(offset=20, limit=10)
    page = await paginate(db, select(User), query, total=None)
    assert_type(page, Page[User])
    assert_type(page.items[0].name, str)
    assert_type(page.total, int | None)
    assert_type(page.has_more, bool)
    assert_type(page.to(int), Page[int])
    assert_type(await paginate(db, select(aliased(User)), query, total="estimated"), Page[User])
    assert_type(await paginate(db, select(User.id), query), Page[int])
    assert_type(await paginate(db, select(User, User.id), query), Page[Row[User, int]])
    three = await paginate(db, select(User.id, User.name, func.count(User.id)), query)
    assert_type(three, Page[Row[int, str, int]])
    await paginate(db, select(User), query, total="guessed")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


async def by_cursor(db: AsyncSession) -> None:
    """The same, with cursors."""
    query = CursorQuery(limit=10)
    page = await paginate_cursor(db, select(User), query)
    assert_type(page, CursorPage[User])
    assert_type(page.next_cursor, str | None)
    assert_type(await paginate_cursor(db, select(User.name), query), CursorPage[str])
    rows = await paginate_cursor(db, select(User.id, User.name), query)
    assert_type(rows, CursorPage[Row[int, str]])


def test_types() -> None:
    """The rest of this file is for type checkers."""
