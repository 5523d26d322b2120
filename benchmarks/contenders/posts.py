"""Posts with an author and tags, and the routes that answer with them: the same for all with an ORM."""

import enum
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Any

from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Column, DateTime, ForeignKey, Select, String, Table, Text, select, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

POSTS, AUTHORS, TAGS = 10_000, 100, 50
TAGS_OF_A_POST = 5
PAGE = 100
"""Rows of a list."""
BATCH = 500
"""Rows that a stream reads at a time."""


class Base(DeclarativeBase):
    """The declarative base of the tables."""


class Status(enum.Enum):
    """The status of a post."""

    draft = "draft"
    published = "published"


class Author(Base):
    """The author of posts."""

    __tablename__ = "benchmark_author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    email: Mapped[str] = mapped_column(String(200))


class Tag(Base):
    """A tag of posts."""

    __tablename__ = "benchmark_tag"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50))


post_tags = Table(
    "benchmark_post_tag",
    Base.metadata,
    Column("post_id", ForeignKey("benchmark_post.id"), primary_key=True),
    Column("tag_id", ForeignKey("benchmark_tag.id"), primary_key=True),
)


class Post(Base):
    """A row of eight columns."""

    __tablename__ = "benchmark_post"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    summary: Mapped[str | None] = mapped_column(Text)
    status: Mapped[Status]
    views: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    published_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    author_id: Mapped[int] = mapped_column(ForeignKey(Author.id))
    author: Mapped[Author] = relationship()
    tags: Mapped[list[Tag]] = relationship(secondary=post_tags, order_by=Tag.id)


class Out(BaseModel):
    """The base of the schemas."""

    model_config = ConfigDict(from_attributes=True)


class AuthorOut(Out):
    """An author in an answer."""

    id: int
    name: str
    email: str


class TagOut(Out):
    """A tag in an answer."""

    id: int
    name: str


class PostOut(Out):
    """A post in an answer: all its columns."""

    id: int
    title: str
    summary: str | None
    status: Status
    views: int
    created_at: datetime
    published_at: datetime | None
    author_id: int


class FullPostOut(PostOut):
    """A post with its relations."""

    author: AuthorOut
    tags: list[TagOut]


def post_of(number: int) -> Select[Any]:
    """Return what selects one row by its key."""
    return select(Post).where(Post.id == number)


def first_posts() -> Select[Any]:
    """Return what selects a list."""
    return select(Post).order_by(Post.id).limit(PAGE)


def all_posts() -> Select[Any]:
    """Return what selects the rows of a stream."""
    return select(Post).order_by(Post.id)


def add_posts(app: FastAPI, read: Any) -> None:
    """Add the routes as tutorials have them: objects of the ORM, ``selectinload``, ``response_model``.

    Args:
        app: The application of a contender.
        read: ``Depends(...)`` with the session of routes that read.
    """

    @app.get("/posts/{number}", response_model=PostOut)
    async def read_post(number: int, session: Annotated[AsyncSession, read]) -> Any:
        return (await session.scalars(post_of(number))).one()

    @app.get("/posts", response_model=list[PostOut])
    async def list_posts(session: Annotated[AsyncSession, read]) -> Any:
        return (await session.scalars(first_posts())).all()

    @app.get("/full-posts", response_model=list[FullPostOut])
    async def list_full_posts(session: Annotated[AsyncSession, read]) -> Any:
        relations = selectinload(Post.author), selectinload(Post.tags)
        return (await session.scalars(first_posts().options(*relations))).all()

    @app.get("/all-posts")
    async def stream_posts(session: Annotated[AsyncSession, read]) -> StreamingResponse:
        return StreamingResponse(lines(session), media_type="application/x-ndjson")


async def lines(session: AsyncSession) -> AsyncIterator[str]:
    """Yield a line of JSON for each row."""
    options = {"yield_per": BATCH}
    async for post in await session.stream_scalars(all_posts(), execution_options=options):
        yield PostOut.model_validate(post).model_dump_json() + "\n"


ROWS = (
    """
    INSERT INTO benchmark_author (name, email)
    SELECT 'Author ' || i, 'author' || i || '@example.org' FROM generate_series(1, :authors) AS i
    """,
    "INSERT INTO benchmark_tag (name) SELECT 'tag-' || i FROM generate_series(1, :tags) AS i",
    """
    INSERT INTO benchmark_post
        (title, summary, status, views, created_at, published_at, author_id)
    SELECT 'The title of post number ' || i,
           CASE WHEN i % 4 > 0 THEN 'What post ' || i || ' says, "in short", in a line' END,
           (CASE WHEN i % 3 > 0 THEN 'published' ELSE 'draft' END)::status, i * 7 % 10000,
           '2026-01-01 00:00:00.125Z'::timestamptz + i * interval '100.25 seconds',
           CASE WHEN i % 3 > 0 THEN '2026-06-01 00:00:00.5Z'::timestamptz + i * interval '60 s' END,
           i % :authors + 1
    FROM generate_series(1, :posts) AS i ORDER BY i
    """,
    """
    INSERT INTO benchmark_post_tag (post_id, tag_id)
    SELECT i, (i + 7 * j) % :tags + 1
    FROM generate_series(1, :posts) AS i, generate_series(1, :of_a_post) AS j
    """,
)


async def create_posts(url: str) -> None:
    """Create the tables in PostgreSQL, with all their rows."""
    counts = {"authors": AUTHORS, "tags": TAGS, "posts": POSTS, "of_a_post": TAGS_OF_A_POST}
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
        for statement in map(text, ROWS):
            names = statement._bindparams
            await connection.execute(statement, {name: counts[name] for name in names})
        await connection.execute(text("VACUUM ANALYZE"))
    await engine.dispose()
