"""What type checkers know of answers; run by pytest only so that it imports."""

from dataclasses import dataclass
from typing import Annotated, Any, assert_type

from fastapi import Depends, FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from fastapi_asyncdb import (
    Answer,
    Base,
    CursorPage,
    CursorQuery,
    Page,
    PageQuery,
    ReadDB,
    Related,
    answer,
    rows,
)


class TypedPost(Base):
    __tablename__ = "typed_posts"
    id: Mapped[int] = mapped_column(primary_key=True)


class PostOut(BaseModel):
    id: int


@dataclass
class PostValue:
    id: int


class ThreadOut(BaseModel):
    posts: Annotated[list[PostOut], Related(where=lambda post: post.id > 1, limit=3)]


async def answers(db: AsyncSession, by_offset: PageQuery, by_cursor: CursorQuery) -> None:
    """Return what the schema says."""
    posts = select(TypedPost)
    assert_type(await answer(db, posts, PostOut), Answer[PostOut])
    assert_type(await answer(db, posts, list[PostOut]), Answer[list[PostOut]])
    page = await answer(db, posts, Page[PostOut], page=by_offset, total=None)
    assert_type(page, Answer[Page[PostOut]])
    step = await answer(db, posts, CursorPage[PostOut], page=by_cursor, secret="secret")
    assert_type(step, Answer[CursorPage[PostOut]])
    assert_type(await answer(db, posts, PostOut | None), Answer[Any])
    assert_type(await answer.stream(db, posts, PostOut), StreamingResponse)
    assert_type(answer.explain(list[PostOut], TypedPost), str)
    assert_type(await rows(db, posts, PostOut), list[PostOut])
    assert_type(await rows(db, posts, PostValue), list[PostValue])
    assert_type(await rows(db, select(TypedPost.id), int), list[int])
    await answer(db, posts, PostOut, page=1)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await answer.stream(db, posts, PostOut, format="csv")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


app = FastAPI()


@app.get("/posts")
async def list_posts(db: ReadDB, query: Annotated[PageQuery, Depends()]) -> Answer[Page[PostOut]]:
    """Return a page."""
    return await answer(db, select(TypedPost), Page[PostOut], page=query)


@app.get("/posts/{post_id}")
async def read_post(post_id: int, db: ReadDB) -> Answer[PostOut | None]:
    """Return one post, or null."""
    return await answer(db, select(TypedPost).where(TypedPost.id == post_id), PostOut | None)
