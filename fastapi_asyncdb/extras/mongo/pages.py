"""The pages of a repository: by offset, and by cursor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi_asyncdb.data.pages.cursor import CursorPage
from fastapi_asyncdb.data.pages.offset import Page, Total
from fastapi_asyncdb.data.pages.queries import CursorQuery, PageQuery
from fastapi_asyncdb.extras.mongo.cursors import MongoCursors, after, reverse
from fastapi_asyncdb.extras.mongo.documents import read
from fastapi_asyncdb.extras.mongo.filters import Filter, OrderBy, joined, sort_keys
from fastapi_asyncdb.signatures import Secret

if TYPE_CHECKING:
    from fastapi_asyncdb.extras.mongo.queries import DocumentQueries


async def offset_page(
    queries: DocumentQueries[Any],
    query: PageQuery,
    where: Filter,
    order_by: OrderBy,
    total: Total | None,
) -> Page[Any]:
    """Return one page of the documents of a filter, by offset."""
    keys = sort_keys(queries.layout, order_by, unique=True)
    found = await queries.find(where, keys, limit=query.limit + 1, skip=query.offset)
    return Page[Any].model_construct(
        items=read(queries.model, found[: query.limit]),
        total=await _total(queries, where, total),
        offset=query.offset,
        limit=query.limit,
        has_more=len(found) > query.limit,
    )


async def _total(queries: DocumentQueries[Any], where: Filter, total: Total | None) -> int | None:
    if total is None:
        return None
    # A transaction has no estimate.
    if total == "estimated" and not where and not queries.session.is_transaction:
        async with queries.session.operation():
            return await queries.collection.estimated_document_count()
    return await queries.count_where(where)


async def cursor_page(
    queries: DocumentQueries[Any],
    query: CursorQuery,
    where: Filter,
    order_by: OrderBy,
    secret: Secret | None,
) -> CursorPage[Any]:
    """Return one page of the documents of a filter, by cursor."""
    keys = sort_keys(queries.layout, order_by, unique=True)
    cursors = MongoCursors(queries.layout.collection, keys, secret)
    backwards, start = False, None
    if query.cursor is not None:
        backwards, start = cursors.read(query.cursor)
    walk = reverse(keys) if backwards else keys
    position = None if start is None else after(walk, start)
    found = await queries.find(joined(where, position), walk, limit=query.limit + 1)
    more, found = len(found) > query.limit, found[: query.limit]
    if backwards:
        found.reverse()
    has_next, has_previous = (True, more) if backwards else (more, start is not None)
    return CursorPage[Any].model_construct(
        items=read(queries.model, found),
        next_cursor=cursors.write(found[-1], backwards=False) if has_next and found else None,
        previous_cursor=cursors.write(found[0], backwards=True) if has_previous and found else None,
        limit=query.limit,
    )
