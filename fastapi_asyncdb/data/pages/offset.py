"""Pages by offset: ``Page`` and ``paginate``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar, TypeVarTuple, overload

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row, Select
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.data.pages.counts import count, counted, estimate
from fastapi_asyncdb.data.pages.queries import PageQuery
from fastapi_asyncdb.data.pages.rows import as_models, items_of, items_with_more
from fastapi_asyncdb.data.pages.selects import check_select
from fastapi_asyncdb.data.pages.statements import Source
from fastapi_asyncdb.dialects import backend_of

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
S = TypeVar("S")
Ts = TypeVarTuple("Ts")

Total = Literal["exact", "estimated"]
"""How the total of a page is found."""


class Page(BaseModel, Generic[T]):
    """A page with its offset and the total. As a response: ``Page[UserOut]``."""

    # For annotations such as Page[User], of objects that are no models of Pydantic.
    model_config: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)

    items: list[T]
    total: Annotated[
        int | None, Field(description="The number of all items; null if it was not counted.")
    ]
    offset: Annotated[int, Field(description="The number of items before the page.")]
    limit: Annotated[int, Field(description="The largest number of items of a page.")]
    has_more: Annotated[bool, Field(description="Whether there are items after the page.")]

    def to(self, schema: type[S]) -> Page[S]:
        """Return the page with its items validated as a schema: from attributes, or as they are.

        Args:
            schema: A Pydantic model, or another type that Pydantic validates.

        Returns:
            A ``Page[schema]``, which FastAPI does not validate again.

        Raises:
            pydantic.ValidationError: an item does not fit.
        """
        values = dict(self) | {"items": as_models(self.items, schema)}
        return Page[schema].model_construct(**values)  # type: ignore[valid-type]


_AnyPage = Page[Any]


@overload
async def paginate(
    session: AsyncSession,
    statement: Select[T],
    query: PageQuery,
    *,
    total: Total | None = "exact",
) -> Page[T]: ...
@overload
async def paginate(
    session: AsyncSession,
    statement: Select[T1, T2, *Ts],
    query: PageQuery,
    *,
    total: Total | None = "exact",
) -> Page[Row[T1, T2, *Ts]]: ...
async def paginate(
    session: AsyncSession,
    statement: Select[*tuple[Any, ...]],
    query: PageQuery,
    *,
    total: Total | None = "exact",
) -> Page[Any]:
    """Return one page of the rows of a statement, by offset.

    The statement's order is made unique by the primary key, so that no row is on two pages. A join
    along a collection neither repeats nor counts an entity twice.

    Args:
        session: Any session.
        statement: A select without LIMIT: of one entity or column, whose page has the objects or values,
            or of several, whose page has rows.
        query: Which page.
        total: ``exact`` counts, in the statement that reads the page. ``estimated`` is the estimate of
            the planner of PostgreSQL or MySQL, and counts on other databases. ``None`` leaves it out.

    Returns:
        The page.

    Raises:
        TypeError: the statement is no select: wrap a union as a subquery.
        ConfigurationError: the statement has a LIMIT or OFFSET.
    """
    check_select(statement)
    source = Source(statement, backend_of(session.get_bind(clause=statement).dialect))
    return await page_of(session, source, query, total)


async def page_of(
    session: AsyncSession, source: Source, query: PageQuery, total: Total | None
) -> Page[Any]:
    """Return one page of a source: see ``paginate``."""
    number: int | None = None
    if total == "exact":
        items, number = await _counted(session, source, query)
        has_more = number > query.offset + len(items)
    else:
        found = await items_of(session, source, source.by_offset(query.limit + 1, query.offset))
        items, has_more = found[: query.limit], len(found) > query.limit
        if total == "estimated":
            number = await _estimated(session, source, query, found)
    return _AnyPage.model_construct(
        items=items, total=number, offset=query.offset, limit=query.limit, has_more=has_more
    )


async def _counted(
    session: AsyncSession, source: Source, query: PageQuery
) -> tuple[list[Any], int]:
    """Return the items of the page and the number of all, by one statement unless the page is empty."""
    statement = source.by_offset(query.limit, query.offset).add_columns(counted(source))
    items, rows = await items_with_more(session, source, statement)
    if rows:
        return items, int(rows[0][-1])
    return items, await count(session, source) if query.offset else 0


async def _estimated(
    session: AsyncSession, source: Source, query: PageQuery, found: Sequence[Any]
) -> int:
    """Return the estimate, which is no less than what was read; of a last page, the number itself."""
    end = query.offset + len(found[: query.limit])
    if len(found) <= query.limit and (found or not query.offset):
        return end
    return max(await estimate(session, source), end if found else 0)
