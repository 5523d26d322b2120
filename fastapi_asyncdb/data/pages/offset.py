"""Pages by offset: ``Page`` and ``paginate``."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Generic, Literal, TypeVar, TypeVarTuple, overload

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Row, Select
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.data.pages.counts import count, estimate
from fastapi_asyncdb.data.pages.queries import PageQuery
from fastapi_asyncdb.data.pages.rows import as_models, items_of
from fastapi_asyncdb.data.pages.selects import check_select
from fastapi_asyncdb.data.pages.statements import Source

T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
S = TypeVar("S")
Ts = TypeVarTuple("Ts")

Total = Literal["exact", "estimated"]
"""How the total of a page is found."""


class Page(BaseModel, Generic[T]):
    """A page, and where it is. As a response: ``Page[UserOut]``."""

    # For annotations such as Page[User], of objects that are no models of Pydantic.
    model_config: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)

    items: list[T]
    total: Annotated[int | None, Field(description="The number of all items, if known.")]
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
        total: ``exact`` counts, unless the page is the last. ``estimated`` is the estimate of
            PostgreSQL's planner, and counts on other databases. ``None`` leaves it out.

    Returns:
        The page.

    Raises:
        TypeError: the statement is no select: wrap a union as a subquery.
        ConfigurationError: the statement has a LIMIT or OFFSET.
    """
    check_select(statement)
    source = Source(statement)
    # One more row says whether there are others, which an exact total says as well.
    rows = query.limit if total == "exact" else query.limit + 1
    found = await items_of(session, source, source.by_offset(rows, query.offset))
    items = found[: query.limit]
    end = query.offset + len(items)
    is_last = len(found) < rows and (bool(found) or query.offset == 0)
    least = end if items else 0
    number = end if is_last and total else await _total(session, source, total, least)
    return Page[Any].model_construct(
        items=items,
        total=number,
        offset=query.offset,
        limit=query.limit,
        has_more=(number or 0) > end if total == "exact" else len(found) > query.limit,
    )


async def _total(
    session: AsyncSession, source: Source, total: Total | None, least: int
) -> int | None:
    """Return the total, which is no less than what was read: rows may have gone since."""
    if total is None:
        return None
    find = count if total == "exact" else estimate
    return max(await find(session, source), least)
