"""What type checkers know of filters; run by pytest only so that it imports."""

from collections.abc import Sequence
from typing import assert_type

from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fastapi_asyncdb import (
    Filter,
    FilterSet,
    OrderBy,
    Page,
    PageQuery,
    ReadRepository,
    Search,
    paginate,
)


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "typed_filtered_user"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


class UserFilter(FilterSet[User]):
    name = Filter(User.name, "eq", "icontains")
    search = Search(User.name)
    order_by = OrderBy(User.name)


async def listed(
    db: AsyncSession, users: ReadRepository[User], filters: UserFilter, query: PageQuery
) -> None:
    """Conditions and order go to repositories, and into any select, whose type stays."""
    assert_type(filters.where, Sequence[ColumnElement[bool]])
    page = await users.page(query, *filters.where, order_by=filters.order_by)
    assert_type(page, Page[User])
    assert_type(filters.apply(select(User)), Select[User])
    assert_type(await paginate(db, filters.apply(select(User.id)), query), Page[int])


def test_declarations_stay_what_they_are():
    """Of the class they are declarations, of an object its values."""
    assert_type(UserFilter.name, Filter)
    assert_type(UserFilter.order_by, OrderBy)
    assert isinstance(UserFilter.order_by, OrderBy)
    assert_type(UserFilter.search, Search)
