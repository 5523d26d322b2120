"""The forms of an answer: one row, a list, or a page, and their JSON."""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

from sqlalchemy import Select
from sqlalchemy.exc import MultipleResultsFound
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.data.answers.plan import Plan, name_of
from fastapi_asyncdb.data.answers.reader import (
    by_objects,
    has_unfit,
    items_of,
    plan_for,
    text_of,
    validated,
)
from fastapi_asyncdb.data.answers.statements import loading
from fastapi_asyncdb.data.pages.cursor import CursorPage, cursor_page_of
from fastapi_asyncdb.data.pages.offset import Page, Total, page_of
from fastapi_asyncdb.data.pages.queries import CursorQuery, PageQuery
from fastapi_asyncdb.data.pages.selects import check_select
from fastapi_asyncdb.data.pages.statements import Source
from fastapi_asyncdb.dialects import backend_of
from fastapi_asyncdb.errors import ConfigurationError, NotFoundError
from fastapi_asyncdb.signatures import Secret

Kind = Literal["one", "optional", "list", "page", "cursor page"]
_EMPTY = '{"items":[]'


@dataclass(frozen=True, slots=True)
class Form:
    """What a schema says of the rows, and the schema of each of them."""

    kind: Kind
    item: Any


def form_of(schema: Any) -> Form:
    """Return the form of a schema: ``PostOut``, ``PostOut | None``, ``list[PostOut]``, a page of it.

    Raises:
        ConfigurationError: it is a list or a page of nothing.
    """
    if schema in (list, Page, CursorPage):
        name = schema.__name__
        raise ConfigurationError(f"{name} is no schema alone. Write what it has: {name}[PostOut].")
    origin, arguments = get_origin(schema), get_args(schema)
    if origin is list:
        return Form("list", arguments[0])
    if origin in (Union, types.UnionType) and type(None) in arguments:
        item: Any = Union[tuple(each for each in arguments if each is not type(None))]  # noqa: UP007
        return Form("optional", item)
    generic = getattr(schema, "__pydantic_generic_metadata__", None) or {}
    if generic.get("origin") is Page:
        return Form("page", generic["args"][0])
    if generic.get("origin") is CursorPage:
        return Form("cursor page", generic["args"][0])
    return Form("one", schema)


async def document(session: AsyncSession, statement: Any, schema: Any) -> str:
    """Return the JSON of a schema that is no page.

    Raises:
        ConfigurationError: the schema is a page.
        NotFoundError: the schema is one row, and there is none.
        sqlalchemy.exc.MultipleResultsFound: the schema is one row, and there are several.
        pydantic.ValidationError: a row does not fit the schema.
    """
    form = form_of(schema)
    if form.kind in ("page", "cursor page"):
        query = "PageQuery" if form.kind == "page" else "CursorQuery"
        raise ConfigurationError(
            f"{name_of(schema)} is a page, and page= does not say which one. Declare "
            f"'query: Annotated[{query}, Depends()]' in the route, and pass 'page=query'."
        )
    plan = await plan_for(session, statement, form.item)
    items = await items_of(session, statement, plan, joins=form.kind == "list")
    if form.kind == "list":
        return f"[{items.text}]"
    if items.rows > 1:
        raise MultipleResultsFound(
            f"The statement has found {items.rows} rows, and {name_of(form.item)} is the schema of one. "
            f"Add a condition on a unique column, or answer list[{name_of(form.item)}]."
        )
    if items.rows or form.kind == "one":
        return items.text or _missing(plan)
    return "null"


def _missing(plan: Plan) -> NoReturn:
    name = "row" if plan.model is None else plan.model.__name__
    message = f"There is no such {name}. It was deleted or never stored."
    raise NotFoundError(message, model=name)


async def page_document(
    session: AsyncSession,
    statement: Select[Any],
    schema: Any,
    query: PageQuery | CursorQuery,
    *,
    total: Total | None = "exact",
    secret: Secret | None = None,
) -> str:
    """Return the JSON of a page.

    Raises:
        ConfigurationError: the schema is no page, or one of another query; the statement has a LIMIT.
        pydantic.ValidationError: a row does not fit the schema.
    """
    form = form_of(schema)
    if form.kind != ("page" if isinstance(query, PageQuery) else "cursor page"):
        raise ConfigurationError(
            f"page= is a {type(query).__name__}, and the schema is {name_of(schema)}. A PageQuery reads "
            "Page[...], a CursorQuery reads CursorPage[...], and all other schemas have no page=."
        )
    check_select(statement)
    plan = await plan_for(session, statement, form.item)

    async def read(source: Source) -> Page[Any] | CursorPage[Any]:
        if isinstance(query, PageQuery):
            return await page_of(session, source, query, total)
        return await cursor_page_of(session, source, query, secret)

    backend = backend_of(session.get_bind(clause=statement).dialect)
    computes_first = plan.row is not None and plan.row.format.computes_first
    source = Source(statement, backend, reads=_reads(plan), finds_first=computes_first)
    if source.repeats and plan.way != "objects":
        plan = by_objects(plan, statement)  # unique() tells objects apart, and not what they say
    if plan.way == "objects":
        source = Source(loading(statement, plan), backend)
    page = await read(source)
    if plan.way == "database" and has_unfit(page.items):
        plan = by_objects(plan, statement)
        page = await read(Source(loading(statement, plan), backend))
    if plan.way == "database":
        return _enveloped(page, ",".join(page.items))
    # Rows of one column are values there.
    rows = [(each,) for each in page.items] if len(plan.columns) == 1 else page.items
    return _enveloped(page, text_of(await validated(session, statement, plan, rows), plan))


def _reads(plan: Plan) -> tuple[Any, ...]:
    return plan.columns if plan.row is None else (plan.row,)


def _enveloped(page: Page[Any] | CursorPage[Any], items: str) -> str:
    around = page.model_copy(update={"items": []}).model_dump_json()
    return f'{{"items":[{items}]{around.removeprefix(_EMPTY)}'
