"""New posts as server-sent events, for as long as the client listens."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from example_app.models import Post
from example_app.schemas import PostOut
from fastapi_asyncdb import ReadDB, rows

router = APIRouter(prefix="/events", tags=["events"])

BATCH = 100
PAUSE = 0.5
"""Seconds between two queries for new posts."""


class EventStreamResponse(StreamingResponse):
    """A response of server-sent events.

    https://html.spec.whatwg.org/multipage/server-sent-events.html
    """

    media_type = "text/event-stream"


@router.get("/posts", response_class=EventStreamResponse)
async def post_events(
    db: ReadDB, last_event_id: Annotated[int, Header(ge=0, le=2**31 - 1)] = 0
) -> EventStreamResponse:
    """Send the posts after the last one that the client has received, then each new post."""
    return EventStreamResponse(events(db, last_event_id))


async def events(db: AsyncSession, last: int) -> AsyncIterator[str]:
    """Query new posts again and again; between two queries no connection is held."""
    posts = select(Post).order_by(Post.id).limit(BATCH)
    while True:
        for post in await rows(db, posts.where(Post.id > last), PostOut):
            last = post.id
            yield f"id: {last}\ndata: {post.model_dump_json()}\n\n"
        await asyncio.sleep(PAUSE)
