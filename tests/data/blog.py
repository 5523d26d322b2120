"""The models, the filter sets and the application that filters are tested with."""

import enum
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date, datetime, time
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, FastAPI
from httpx import AsyncClient
from pydantic import Field
from sqlalchemy import (
    REAL,
    BigInteger,
    Column,
    ForeignKey,
    Numeric,
    SmallInteger,
    Table,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from fastapi_asyncdb import (
    AnyOf,
    CursorPage,
    CursorQuery,
    Database,
    Filter,
    FilterSet,
    OrderBy,
    Page,
    PageQuery,
    Search,
    SoftDeleteMixin,
    paginate,
    paginate_cursor,
)
from fastapi_asyncdb.models import UTCDateTime
from tests.support.application import running
from tests.support.mysql_types import CLOCK, DOUBLE, MOMENT, NUMBER, TEXT, WORD


class Base(DeclarativeBase):
    type_annotation_map = {str: WORD, float: DOUBLE, datetime: MOMENT, time: CLOCK}  # noqa: RUF012 - SQLAlchemy's own


class Status(enum.Enum):
    DRAFT = "draft"
    OUT = "out"


class Writer(SoftDeleteMixin, Base):
    __tablename__ = "writer"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    boss_id: Mapped[int | None] = mapped_column(ForeignKey("writer.id"))
    boss: Mapped["Writer | None"] = relationship(remote_side=lambda: Writer.id)


class Tag(Base):
    __tablename__ = "tag"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]


post_tag = Table(
    "post_tag",
    Base.metadata,
    Column("post_id", ForeignKey("post.id"), primary_key=True),
    Column("tag_id", ForeignKey(Tag.id), primary_key=True),
)


class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    writer_id: Mapped[int | None] = mapped_column(ForeignKey(Writer.id))
    title: Mapped[str] = mapped_column(default="")
    body: Mapped[str] = mapped_column(TEXT, default="")
    note: Mapped[str | None]
    views: Mapped[int] = mapped_column(default=0)
    rank: Mapped[int] = mapped_column(SmallInteger, default=0)
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    score: Mapped[float | None]
    ratio: Mapped[float] = mapped_column(REAL, default=0)
    price: Mapped[Decimal] = mapped_column(Numeric(6, 2), default=Decimal(0))
    exact: Mapped[Decimal] = mapped_column(NUMBER, default=Decimal(0))
    status: Mapped[Status] = mapped_column(default=Status.DRAFT)
    public: Mapped[bool] = mapped_column(default=False)
    token: Mapped[UUID] = mapped_column(default=UUID(int=0))
    made_at: Mapped[datetime | None] = mapped_column(UTCDateTime())
    local_at: Mapped[datetime] = mapped_column(default=datetime(2020, 1, 1))  # noqa: DTZ001
    day: Mapped[date] = mapped_column(default=date(2020, 1, 1))
    hour: Mapped[time] = mapped_column(default=time(12))
    writer: Mapped[Writer | None] = relationship()
    comments: Mapped[list["Comment"]] = relationship()
    tags: Mapped[list[Tag]] = relationship(secondary=post_tag)


class Comment(Base):
    __tablename__ = "comment"
    id: Mapped[int] = mapped_column(primary_key=True)
    post_id: Mapped[int] = mapped_column(ForeignKey(Post.id))
    writer_id: Mapped[int | None] = mapped_column(ForeignKey(Writer.id))
    text: Mapped[str]
    writer: Mapped[Writer | None] = relationship()


class PostFilter(FilterSet[Post]):
    """Every type and every operator."""

    id = Filter(Post.id, "eq", "in", "gt")
    title = Filter(
        Post.title,
        *("eq", "ne", "in", "contains", "icontains", "startswith", "istartswith", "endswith"),
        "iendswith",
    )
    body = Filter(Post.body, "lt", "le", "gt", "ge")
    note = Filter(Post.note, "eq", "ne", "not_in", "is_null", "icontains")
    views = Filter(Post.views, "eq", "ne", "lt", "le", "gt", "ge", "in", "not_in")
    rank = Filter(Post.rank)
    size = Filter(Post.size)
    score = Filter(Post.score, "eq", "lt", "ge", "is_null")
    ratio = Filter(Post.ratio, "eq", "le")
    price = Filter(Post.price, "eq", "lt", "ge", "in")
    exact = Filter(Post.exact, "eq", "lt")
    status = Filter(Post.status, "eq", "ne", "in")
    public = Filter(Post.public)
    token = Filter(Post.token, "eq", "in")
    made_at = Filter(Post.made_at, "eq", "lt", "ge", "is_null")
    local_at = Filter(Post.local_at, "eq", "ge")
    day = Filter(Post.day, "eq", "le", "in")
    hour = Filter(Post.hour, "eq", "gt")
    writer = Filter(Writer.name, "eq", "ne", "in", through=Post.writer)
    boss = Filter(Writer.name, through=(Post.writer, Writer.boss))
    comment = Filter(Comment.text, "eq", "icontains", through=Post.comments)
    commenter = Filter(Writer.name, "eq", "is_null", through=(Post.comments, Comment.writer))
    tag = Filter(Tag.name, "eq", "in", through=Post.tags)
    search = Search(Post.body, Post.note)
    order_by = OrderBy(Post.views, Post.made_at, Post.score, text=Post.body, default="-views")
    either = AnyOf()


class Narrow(FilterSet[Post]):
    """A filter with a narrower type, in a set that ignores what it does not know."""

    ignore_unknown = True
    views = Filter(Post.views, "ge", type=Annotated[int, Field(ge=0, le=9)])
    title = Filter(Post.title, "in", type=str)


def application(database: Database) -> FastAPI:
    """Return an application that lists posts in each way."""
    app = FastAPI(lifespan=database.lifespan)
    session = Annotated[AsyncSession, Depends(database.get_read_db)]
    by_filter = Annotated[PostFilter, Depends()]

    @app.get("/posts")
    async def list_posts(
        session: session, filters: by_filter, query: Annotated[PageQuery, Depends()]
    ) -> Page[Any]:
        return await paginate(session, filters.apply(select(Post.id)), query)

    @app.get("/feed")
    async def feed(
        session: session, filters: by_filter, query: Annotated[CursorQuery, Depends()]
    ) -> CursorPage[Any]:
        return await paginate_cursor(session, filters.apply(select(Post.id)), query)

    @app.get("/narrow")
    async def narrow(session: session, filters: Annotated[Narrow, Depends()]) -> list[int]:
        return list(await session.scalars(filters.apply(select(Post.id)).order_by(Post.id)))

    return app


@asynccontextmanager
async def served(database: Database, *rows: Any) -> AsyncIterator[AsyncClient]:
    """Store rows, and return a client of the application."""
    async with database.session() as session:
        session.add_all(rows)
    async with running(application(database)) as client:
        yield client


async def found(client: AsyncClient, query: str, path: str = "/posts") -> list[int]:
    """Return the ids that a query string finds."""
    answer = await client.get(f"{path}?{query}")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    items: list[int] = body if isinstance(body, list) else body["items"]
    return items


async def refused(client: AsyncClient, query: str, path: str = "/posts") -> list[dict[str, Any]]:
    """Return why a query string is refused."""
    answer = await client.get(f"{path}?{query}")
    assert answer.status_code == 422, answer.text
    detail: list[dict[str, Any]] = answer.json()["detail"]
    return detail
