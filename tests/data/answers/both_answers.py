"""Both answers to an example: FastAPI's own, and that of the library."""

from __future__ import annotations

import json
import re
from datetime import UTC
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy.exc import MultipleResultsFound
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import (
    CursorPage,
    CursorQuery,
    Page,
    PageQuery,
    answer,
    paginate,
    paginate_cursor,
    rows,
)
from fastapi_asyncdb.errors import NotFoundError
from tests.data.answers.examples import Example
from tests.data.answers.fastapi_answer import by_route
from tests.data.answers.loads import loads
from tests.data.answers.parts import Parts
from tests.data.answers.views import is_viewed, viewed

PAGES: dict[str, Any] = {"page": Page, "cursor page": CursorPage}
QUERIES: dict[str, Any] = {"page": PageQuery(limit=2), "cursor page": CursorQuery(limit=2)}


def response_model(example: Example, schema: Any) -> Any:
    """Return the ``response_model`` of an example, whose rows have a schema."""
    if example.asked == "one":
        return schema
    if example.asked == "optional":
        return schema | None
    return PAGES[example.asked][schema] if example.asked in PAGES else list[schema]


async def expected(session: AsyncSession, example: Example, schema: Any) -> str:
    """Return what FastAPI would send."""
    found = await _returned(session, example)
    model = response_model(example, schema)
    if example.asked == "route":
        return await by_route(found, model)
    adapter: TypeAdapter[Any] = TypeAdapter(model)
    value = adapter.validate_python(found, from_attributes=True)
    if example.asked == "rows":
        return _shown(value, adapter, example)
    return adapter.dump_json(value, by_alias=True).decode()


async def _returned(session: AsyncSession, example: Example) -> Any:
    """Return what a route returns: a page, a list of objects, one, or none."""
    options = loads(example.schema, example.entity)
    statement = example.statement.options(*options)
    if example.asked == "page":
        page: Any = await paginate(session, statement, QUERIES["page"])
    elif example.asked == "cursor page":
        page = await paginate_cursor(session, statement, QUERIES["cursor page"])
    else:
        result = await session.scalars(statement)
        unique = result.unique() if result._unique_filter_state is not None else result
        return _asked(example, await _viewed(session, example, list(unique.all())))
    page.items = await _viewed(session, example, page.items)
    return page


def _asked(example: Example, found: list[Any]) -> Any:
    if example.asked not in ("one", "optional"):
        return found
    if not found and example.asked == "one":
        raise NotFoundError("There is none.", model="")
    if len(found) > 1:
        raise MultipleResultsFound
    return found[0] if found else None


async def _viewed(session: AsyncSession, example: Example, objects: list[Any]) -> list[Any]:
    if not is_viewed(example.schema):
        return objects
    parts = await Parts(session, example.statement).of(objects, example.schema)
    return [viewed(each, example.schema, parts) for each in objects]


async def actual(session: AsyncSession, example: Example, schema: Any) -> str:
    """Return the library's answer."""
    if example.asked == "rows":
        found = await rows(session, example.statement, schema)
        return _shown(found, TypeAdapter(list[schema]), example)
    if example.asked in ("lines", "array"):
        return await _streamed(session, example, schema)
    model, page = response_model(example, schema), QUERIES.get(example.asked)
    response = await answer(session, example.statement, model, page=page)
    return bytes(response.body).decode()


def _shown(values: list[Any], adapter: TypeAdapter[Any], example: Example) -> str:
    """Return values as JSON: a text with their classes, if they have an order."""
    if example.is_unordered:
        return adapter.dump_json(values).decode()
    # What Pydantic makes of JSON has a class for UTC of its own.
    text = re.sub(r"TzInfo\((UTC|0)\)", repr(UTC), repr(values))
    return json.dumps(re.sub(" at 0x[0-9a-f]+", "", text))


async def _streamed(session: AsyncSession, example: Example, schema: Any) -> str:
    form: Any = "ndjson" if example.asked == "lines" else "json"
    response = await answer.stream(session, example.statement, schema, format=form, batch_size=2)
    text = "".join([str(part) async for part in response.body_iterator])
    return text if form == "json" else f"[{','.join(text.split(chr(10))[:-1])}]"
