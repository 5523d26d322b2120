"""The query parameters of a page: ``PageQuery`` and ``CursorQuery``."""

# FastAPI does not evaluate the annotations of a class, so they must not be strings here.
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from fastapi_asyncdb.data.injectable import Injectable
from fastapi_asyncdb.data.pages.sealed import MAX_LENGTH


@dataclass(frozen=True)
class PageQuery(Injectable):
    """The query parameters ``offset`` and ``limit``: ``query: Annotated[PageQuery, Depends()]``.

    For other defaults and bounds declare a subclass, which must be a frozen Pydantic dataclass too.
    """

    offset: Annotated[int, Field(ge=0, le=2**31 - 1, description="How many items to skip.")] = 0
    limit: Annotated[int, Field(ge=1, le=100, description="How many items to return.")] = 20


@dataclass(frozen=True)
class CursorQuery(Injectable):
    """The query parameters ``cursor`` and ``limit``: ``query: Annotated[CursorQuery, Depends()]``.

    For other defaults and bounds declare a subclass, which must be a frozen Pydantic dataclass too.
    """

    cursor: Annotated[
        str | None,
        Field(
            max_length=MAX_LENGTH,
            description="`next_cursor` or `previous_cursor` of another page; none for the first.",
        ),
    ] = None
    limit: Annotated[int, Field(ge=1, le=100, description="How many items to return.")] = 20
