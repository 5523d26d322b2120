"""Import of many posts in one request: all of them or none, and never all of them in memory."""

import logging
from collections.abc import AsyncIterator

from fastapi import APIRouter, HTTPException, Request
from pydantic import ValidationError
from sqlalchemy.exc import IntegrityError

from example_app.repositories import BlogDep
from example_app.schemas import Imported, PostCreate

router = APIRouter(prefix="/import", tags=["import"])
logger = logging.getLogger(__name__)

LONGEST_LINE = 64 * 1024
"""Bytes."""
MOST_POSTS = 100_000
BODY = {"content": {"application/x-ndjson": {"schema": PostCreate.model_json_schema()}}}


@router.post(
    "/posts",
    openapi_extra={"requestBody": BODY},
    responses={
        409: {"description": "An author does not exist"},
        422: {"description": "A line is not a post"},
    },
)
async def import_posts(request: Request, blog: BlogDep) -> Imported:
    """Store the posts of the request's body, which has a JSON object in each line."""
    try:
        done = await blog.posts.create_many(read_posts(request), progress=log_progress)
    except IntegrityError as error:
        raise HTTPException(409, "An author does not exist. Nothing was stored.") from error
    return Imported(posts=done)


def log_progress(done: int) -> None:
    """Log how many posts are stored so far."""
    logger.info("Imported %d posts.", done)


async def read_posts(request: Request) -> AsyncIterator[PostCreate]:
    """Read post after post while the client sends them."""
    number = 0
    async for line in read_lines(request):
        number += 1
        if number > MOST_POSTS:
            raise HTTPException(422, f"There are more than {MOST_POSTS} posts. Nothing was stored.")
        try:
            yield PostCreate.model_validate_json(line)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"])) or "the line"
            reason = error.errors()[0]["msg"]
            raise HTTPException(422, f"Line {number}, {where}: {reason}") from error


async def read_lines(request: Request) -> AsyncIterator[bytes]:
    """Read line after line, the last one also without its end."""
    rest = b""
    async for chunk in request.stream():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
        if len(rest) > LONGEST_LINE:
            raise HTTPException(422, f"A line is longer than {LONGEST_LINE} bytes.")
    if rest.strip():
        yield rest
