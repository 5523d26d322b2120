"""Streamed export of all posts, in batches: the memory needed does not depend on their number."""

from collections.abc import AsyncIterator

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from example_app.models import Post
from example_app.schemas import PostOut
from fastapi_asyncdb import ReadDB, rows

router = APIRouter(prefix="/export", tags=["export"])

BATCH = 200


class NDJSONResponse(StreamingResponse):
    """A response of one JSON object per line."""

    media_type = "application/x-ndjson"


@router.get("/posts", response_class=NDJSONResponse)
async def export_posts(db: ReadDB) -> NDJSONResponse:
    """Send every post, the oldest first."""
    return NDJSONResponse(lines(db))


async def lines(db: AsyncSession) -> AsyncIterator[str]:
    """Read the posts in batches by id: no cursor, no long transaction.

    ``answer.stream()`` would hold a connection for as long as the client reads.
    """
    posts = select(Post).order_by(Post.id).limit(BATCH)
    last = 0
    while batch := await rows(db, posts.where(Post.id > last), PostOut):
        yield "".join(f"{post.model_dump_json()}\n" for post in batch)
        last = batch[-1].id
