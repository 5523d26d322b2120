"""Pages by cursor: ``CursorPage`` and ``paginate_cursor``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Generic, TypeVar, TypeVarTuple, overload

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row, Select
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.data.pages.cursors import CursorFormat, Position
from fastapi_asyncdb.data.pages.keyset import Criterion, Keyset
from fastapi_asyncdb.data.pages.queries import CursorQuery
from fastapi_asyncdb.data.pages.rows import as_models, items_with_more
from fastapi_asyncdb.data.pages.selects import check_select, check_walk
from fastapi_asyncdb.data.pages.statements import Source
from fastapi_asyncdb.dialects import backend_of
from fastapi_asyncdb.signatures import Secret

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
S = TypeVar("S")
Ts = TypeVarTuple("Ts")


class CursorPage(BaseModel, Generic[T]):
    """A page with the cursors of its neighbours. As a response: ``CursorPage[UserOut]``."""

    # For annotations such as Page[User], of objects that are no models of Pydantic.
    model_config: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)

    items: list[T]
    next_cursor: Annotated[
        str | None, Field(description="The cursor of the next page; null on the last page.")
    ]
    previous_cursor: Annotated[
        str | None, Field(description="The cursor of the previous page; null on the first page.")
    ]
    limit: Annotated[int, Field(description="The largest number of items of a page.")]

    def to(self, schema: type[S]) -> CursorPage[S]:
        """Return the page with its items validated as a schema: from attributes, or as they are.

        Args:
            schema: A Pydantic model, or another type that Pydantic validates.

        Returns:
            A ``CursorPage[schema]``, which FastAPI does not validate again.

        Raises:
            pydantic.ValidationError: an item does not fit.
        """
        values = dict(self) | {"items": as_models(self.items, schema)}
        return CursorPage[schema].model_construct(**values)  # type: ignore[valid-type]


@overload
async def paginate_cursor(
    session: AsyncSession,
    statement: Select[T],
    query: CursorQuery,
    *,
    secret: Secret | None = None,
) -> CursorPage[T]: ...
@overload
async def paginate_cursor(
    session: AsyncSession,
    statement: Select[T1, T2, *Ts],
    query: CursorQuery,
    *,
    secret: Secret | None = None,
) -> CursorPage[Row[T1, T2, *Ts]]: ...
async def paginate_cursor(
    session: AsyncSession,
    statement: Select[*tuple[Any, ...]],
    query: CursorQuery,
    *,
    secret: Secret | None = None,
) -> CursorPage[Any]:
    """Return one page of the rows of a statement, by the position of its first or last row.

    Each page costs the same, however far it is from the first, if there is an index on the ordering.
    Rows that are inserted or deleted between two pages do not shift the others.

    Args:
        session: Any session.
        statement: A select without LIMIT: of one entity or column, whose page has the objects or values,
            or of several, whose page has rows. Its order is made unique by the primary key.
        query: Which page.
        secret: Signs the cursors. Without one they have a checksum, so that a client can make its own.
            Either way a client can read them: they are the values of the ordering keys of a row.

    Returns:
        The page.

    Raises:
        InvalidCursor: the cursor is damaged or forged, or is of another ordering.
        TypeError: the statement is no select: wrap a union as a subquery.
        ConfigurationError: the statement has a LIMIT, DISTINCT ON or a window function; it is ordered
            by ``text()``; a cursor cannot carry the type or a value of an ordering key.
    """
    check_select(statement)
    dialect = session.get_bind(clause=statement).dialect
    source = Source(statement, backend_of(dialect))
    return await cursor_page_of(session, source, query, secret)


async def cursor_page_of(
    session: AsyncSession, source: Source, query: CursorQuery, secret: Secret | None
) -> CursorPage[Any]:
    """Return one page of a source: see ``paginate_cursor``."""
    check_walk(source.statement)
    dialect = session.get_bind(clause=source.statement).dialect
    cursors = CursorFormat(source.keys, source.names, dialect, secret)
    position = Position() if query.cursor is None else cursors.read(query.cursor)
    items, rows = await _rows(session, source, position, dialect, query.limit + 1)
    return _page(items, rows, position, cursors, query)


async def _rows(
    session: AsyncSession, source: Source, position: Position, dialect: Dialect, limit: int
) -> tuple[list[Any], list[Sequence[Any]]]:
    """Return the first rows after the position, or the last before it in the reverse order."""
    keys, pairs = source.keys, list(position.pairs)
    if position.backwards:
        keys = [key.reverse() for key in keys]
        pairs = [(key.reverse(), value) for key, value in pairs]
    items: list[Any] = []
    rows: list[Sequence[Any]] = []
    for condition in _ranges(dialect, pairs):
        if len(rows) < limit:
            statement = source.by_keys(keys, condition, limit - len(rows))
            more = await items_with_more(session, source, statement)
            items += more[0]
            rows += more[1]
    return items, rows


def _ranges(dialect: Dialect, pairs: Sequence[Any]) -> Sequence[Criterion | None]:
    if not pairs:
        return [None]
    backend = backend_of(dialect)
    if backend is None:
        return Keyset(nulls_are_largest=False, seeks_by_rows=False).ranges_after(pairs)
    keyset = Keyset(backend.nulls_are_largest, backend.seeks_by_rows)
    return keyset.ranges_after(pairs)


def _page(
    items: list[Any],
    rows: list[Sequence[Any]],
    position: Position,
    cursors: CursorFormat,
    query: CursorQuery,
) -> CursorPage[Any]:
    """Return the page. It goes on where a row was left over, and back to where it came from."""
    on, back = len(rows) > query.limit, bool(position.pairs)
    del items[query.limit :], rows[query.limit :]
    # Of no row, a cursor is one of the other end.
    first, last = (rows[0], rows[-1]) if rows else ((), ())
    has_previous, has_next = back, on
    if position.backwards:
        items.reverse()
        first, last, has_previous, has_next = last, first, on, back
    return CursorPage[Any].model_construct(
        items=items,
        next_cursor=cursors.write(last, backwards=False) if has_next else None,
        previous_cursor=cursors.write(first, backwards=True) if has_previous else None,
        limit=query.limit,
    )
