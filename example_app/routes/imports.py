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
NDJSON = "application/x-ndjson"
BODY = {"required": True, "content": {NDJSON: {"schema": PostCreate.model_json_schema()}}}


@router.post(
    "/posts",
    openapi_extra={"requestBody": BODY},
    responses={
        409: {"description": "An author does not exist"},
        415: {"description": "The body is not NDJSON"},
        422: {"description": "A line is not a post"},
    },
)
async def import_posts(request: Request, blog: BlogDep) -> Imported:
    """Store the posts of the request's body, which has a JSON object in each line."""
    # A form of another site can send text/plain, but not this type.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != NDJSON:
        raise HTTPException(415, f"Send Content-Type: {NDJSON}, and a JSON object in each line.")
    try:
        done = await blog.posts.create_many(read_posts(request), progress=log_progress)
    except IntegrityError as error:
        raise HTTPException(409, "An author does not exist. Nothing was stored.") from error
    return Imported(posts=done)


def log_progress(done: int) -> None:
    """Log how many posts were inserted so far. The end of the request commits them."""
    logger.info("Inserted %d posts so far.", done)


async def read_posts(request: Request) -> AsyncIterator[PostCreate]:
    """Read post after post while the client sends them."""
    count = 0
    async for number, line in read_lines(request):
        count += 1
        if count > MOST_POSTS:
            raise refusal(f"There are more than {MOST_POSTS} posts.")
        try:
            yield PostCreate.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ", ".join([f"Line {number}", *map(str, first["loc"])])
            raise refusal(f"{where}: {first['msg']}.") from error


async def read_lines(request: Request) -> AsyncIterator[tuple[int, bytes]]:
    """Read line after line with its number, but no empty ones; the last one may lack its end."""
    rest, number = b"", 0
    async for chunk in request.stream():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            number += 1
            if line.strip():
                yield number, line
        if len(rest) > LONGEST_LINE:
            raise refusal(f"Line {number + 1} is longer than {LONGEST_LINE} bytes.")
    if rest.strip():
        yield number + 1, rest


def refusal(reason: str) -> HTTPException:
    """Return the answer that rolls the import back."""
    return HTTPException(422, f"{reason} Nothing was stored.")
