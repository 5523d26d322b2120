"""A forum: the models, rows and schemas that answers are tested with."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import Column, ForeignKey, Table
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from fastapi_asyncdb import Database, SoftDeleteMixin, answer
from fastapi_asyncdb.models import UTCDateTime
from tests.support.mysql_types import TEXT, WORD

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


class Base(DeclarativeBase):
    type_annotation_map = {str: WORD}  # noqa: RUF012 - SQLAlchemy's own


class Author(SoftDeleteMixin, Base):
    __tablename__ = "forum_author"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    password: Mapped[str] = mapped_column(default="secret")
    posts: Mapped[list[Post]] = relationship(back_populates="author", order_by=lambda: Post.id)


class Tag(Base):
    __tablename__ = "forum_tag"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    weight: Mapped[int] = mapped_column(default=0)


post_tag = Table(
    "forum_post_tag",
    Base.metadata,
    Column("post_id", ForeignKey("forum_post.id"), primary_key=True),
    Column("tag_id", ForeignKey(Tag.id), primary_key=True),
)


class Post(Base):
    __tablename__ = "forum_post"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey(Author.id))
    title: Mapped[str]
    body: Mapped[str] = mapped_column(TEXT, default="long")
    views: Mapped[int] = mapped_column(default=0)
    made_at: Mapped[datetime] = mapped_column(UTCDateTime(), default=NOON)
    author: Mapped[Author] = relationship(back_populates="posts")
    tags: Mapped[list[Tag]] = relationship(secondary=post_tag, order_by=Tag.name)
    comments: Mapped[list[Comment]] = relationship(
        back_populates="post", order_by=lambda: Comment.id
    )


class Comment(SoftDeleteMixin, Base):
    __tablename__ = "forum_comment"
    id: Mapped[int] = mapped_column(primary_key=True)
    post_id: Mapped[int] = mapped_column(ForeignKey(Post.id))
    author_id: Mapped[int | None] = mapped_column(ForeignKey(Author.id))
    text: Mapped[str]
    post: Mapped[Post] = relationship(back_populates="comments")
    author: Mapped[Author | None] = relationship()


class AuthorOut(BaseModel):
    id: int
    name: str


class TagOut(BaseModel):
    name: str


class CommentOut(BaseModel):
    text: str
    author: AuthorOut | None


class PostOut(BaseModel):
    """Relationships to one and to many, through a table, and of what is related."""

    id: int
    title: str
    author: AuthorOut
    tags: list[TagOut]
    comments: list[CommentOut]


class Title(BaseModel):
    """No relationship."""

    id: int
    title: str


class Checked(Title):
    """What Pydantic has to write."""

    def model_post_init(self, context: Any) -> None:
        """Keep the database from building the JSON."""


ADA, BOB = {"id": 1, "name": "Ada"}, {"id": 2, "name": "Bob"}
POSTS: list[dict[str, Any]] = [
    {
        "id": 1,
        "title": "First",
        "author": ADA,
        "tags": [{"name": "sql"}, {"name": "web"}],
        "comments": [
            {"text": "nice", "author": BOB},
            {"text": "of a deleted author", "author": None},
            {"text": "of none", "author": None},
        ],
    },
    {"id": 2, "title": "Second", "author": BOB, "tags": [], "comments": []},
    {"id": 3, "title": "Third", "author": ADA, "tags": [{"name": "web"}], "comments": []},
]
"""What ``list[PostOut]`` is, ordered by the primary key."""
TITLES = [{"id": post["id"], "title": post["title"]} for post in POSTS]


async def fill(database: Database) -> None:
    """Store three posts."""
    async with database.session() as session:
        ada, bob = Author(id=1, name="Ada"), Author(id=2, name="Bob")
        eve = Author(id=3, name="Eve", deleted_at=NOON)
        web, sql = Tag(id=1, name="web", weight=1), Tag(id=2, name="sql", weight=2)
        session.add_all([ada, bob, eve, web, sql, Tag(id=3, name="unused")])
        await session.flush()
        session.add_all(
            [
                Post(id=1, author=ada, title="First", views=10, tags=[web, sql]),
                Post(id=2, author=bob, title="Second", views=30),
                Post(id=3, author=ada, title="Third", views=20, tags=[web]),
            ]
        )
        await session.flush()
        session.add_all(
            [
                Comment(id=1, post_id=1, author=bob, text="nice"),
                Comment(id=2, post_id=1, author=eve, text="of a deleted author"),
                Comment(id=3, post_id=1, text="of none"),
                Comment(id=4, post_id=2, author=ada, text="spam", deleted_at=NOON),
            ]
        )


async def sent(session: AsyncSession, statement: Any, schema: Any, **options: Any) -> Any:
    """Return the JSON of an answer."""
    response = await answer(session, statement, schema, **options)
    assert response.status_code == options.get("status_code", 200)
    assert response.headers["content-type"] == "application/json"
    return json.loads(bytes(response.body))
