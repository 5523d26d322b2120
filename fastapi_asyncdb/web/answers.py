"""``answer``: the rows of a statement as a response. Where the database builds it, no object is made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, Generic, Literal, TypeVar, cast, overload

from fastapi import Request
from fastapi.exceptions import ResponseValidationError
from pydantic import GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema
from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response, StreamingResponse

from fastapi_asyncdb.data.answers.forms import document, form_of, page_document
from fastapi_asyncdb.data.answers.plan import name_of, plan_of
from fastapi_asyncdb.data.answers.reader import UnfitRow, plan_for
from fastapi_asyncdb.data.answers.streams import stream_of
from fastapi_asyncdb.data.pages.offset import Total
from fastapi_asyncdb.data.pages.queries import CursorQuery, PageQuery
from fastapi_asyncdb.database import Database
from fastapi_asyncdb.default import default_database
from fastapi_asyncdb.dialects import json_of
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.signatures import Secret
from fastapi_asyncdb.web.etags import etag_of, is_known

S = TypeVar("S")


class Answer(Response, Generic[S]):
    """A response whose body is the JSON of a schema.

    With the return annotation ``-> Answer[list[PostOut]]`` the route has the OpenAPI of
    ``response_model=list[PostOut]``. ``answer`` makes them; an application need not.
    """

    media_type = "application/json"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema of what the response contains, for OpenAPI."""
        return handler.generate_schema(source.__args__[0])


class _Answers:
    """Makes responses of statements and schemas: see ``__call__``, ``stream`` and ``explain``."""

    @overload
    async def __call__(
        self,
        session: AsyncSession,
        statement: Any,
        schema: type[S],
        *,
        page: PageQuery | CursorQuery | None = None,
        total: Total | None = "exact",
        secret: Secret | None = None,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        request: Request | None = None,
    ) -> Answer[S]: ...
    @overload
    async def __call__(
        self,
        session: AsyncSession,
        statement: Any,
        schema: Any,
        *,
        page: PageQuery | CursorQuery | None = None,
        total: Total | None = "exact",
        secret: Secret | None = None,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        request: Request | None = None,
    ) -> Answer[Any]: ...
    async def __call__(
        self,
        session: AsyncSession,
        statement: Any,
        schema: Any,
        *,
        page: PageQuery | CursorQuery | None = None,
        total: Total | None = "exact",
        secret: Secret | None = None,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        request: Request | None = None,
    ) -> Answer[Any]:
        """Return the rows of a statement as FastAPI would send them for the schema.

        The statement reads only the columns that the schema has, relationships included. PostgreSQL,
        MariaDB and SQLite build the JSON where it is proved to be the same; elsewhere Pydantic does,
        from rows without objects, or from objects whose relationships are loaded with one statement
        each. ``explain()`` says which.

        The options of the route that change an answer, such as ``response_model_exclude_none`` and
        ``status_code``, do not apply to a response that the handler returns.

        Args:
            session: Any ``AsyncSession``; one that writes for a statement that writes.
            statement: A select of a mapped class or of columns; or ``insert()``, ``update()`` or
                ``delete()`` of a mapped class without ``returning()``, which is added.
            schema: What ``response_model`` is: ``PostOut``, ``PostOut | None``, ``list[PostOut]``,
                ``Page[PostOut]`` or ``CursorPage[PostOut]``.
            page: Which page, for ``Page`` and ``CursorPage`` only; the statement has no LIMIT then.
            total: Of a ``Page``: ``"exact"`` by default, ``"estimated"``, or ``None``. See ``paginate``.
            secret: Signs the cursors of a ``CursorPage``; by default they are not signed. See
                ``paginate_cursor``.
            status_code: Of the response; 200 by default.
            headers: Of the response; those of JSON by default.
            request: That of the route: gives the response a weak ``ETag``. A GET or HEAD of a client
                that has the body already gets 304 without one. By default there is no ``ETag``.

        Raises:
            NotFoundError: ``PostOut`` is one row, and there is none. FastAPI answers 404.
            sqlalchemy.exc.MultipleResultsFound: ``PostOut`` is one row, and there are several.
            InvalidCursor: the cursor of ``page`` was not made for this statement. FastAPI answers 422.
            fastapi.exceptions.ResponseValidationError: a row does not fit the schema, a 500.
            ConfigurationError: the mapped class has no attribute for a field that is required; the
                schema and ``page`` do not belong together; the statement has a ``returning()``, or
                writes to a table instead of a mapped class; two fields read the same relationship, one
                has a ``Related``, and Pydantic validates objects.
        """
        try:
            if page is None:
                body = await document(session, statement, schema)
            else:
                body = await page_document(
                    session, statement, schema, page, total=total, secret=secret
                )
        except ValidationError as error:
            raise ResponseValidationError(error.errors(include_url=False), body=None) from error
        except UnfitRow as error:
            raise ResponseValidationError([{"type": "unfit", "msg": str(error)}]) from error
        return _response(body.encode(), status_code, headers, request)

    async def stream(
        self,
        session: AsyncSession,
        statement: Select[Any],
        schema: Any,
        *,
        format: Literal["ndjson", "json"] = "ndjson",  # noqa: A002 - the word for it
        batch_size: int = 500,
        headers: Mapping[str, str] | None = None,
    ) -> StreamingResponse:
        """Return a response that sends the rows while they are read, in constant memory.

        With ``ReadDB`` the statement is sent before this returns, so that its errors are answered as
        errors; with ``DB`` after the handler's commit, in the transaction of the response. A row that
        does not fit the schema, or one that the database cannot write as Pydantic would, breaks off the
        response, since its status is sent already.

        Args:
            session: That of ``ReadDB``, or any other; its connection is held until the last row is sent.
            statement: A select of a mapped class or of columns.
            schema: That of one row, or ``list`` of it.
            format: ``ndjson``, the default, is a row on each line (``application/x-ndjson``);
                ``json`` is one array (``application/json``).
            batch_size: How many rows are read, and are in memory, at a time; 500 by default.
            headers: Of the response.

        Raises:
            ConfigurationError: the mapped class has no attribute for a field that is required; the
                schema is a page or optional; there is no such format; ``batch_size`` is not positive;
                the statement writes; two fields read the same relationship, one has a ``Related``, and
                Pydantic validates objects.
        """
        form = form_of(schema)
        if form.kind not in ("one", "list"):
            raise ConfigurationError(
                f"A stream sends rows, and {name_of(schema)} is not the schema of one: it is "
                f"{_KINDS[form.kind]}. Pass the schema of a row, such as PostOut."
            )
        if batch_size < 1:
            raise ConfigurationError(
                f"batch_size={batch_size} is not positive: it is a number of rows."
            )
        if format not in _FORMATS:
            known = " or ".join(f"'{each}'" for each in _FORMATS)
            raise ConfigurationError(f"A stream has no format={format!r}. Write {known}.")
        lines, media_type = _FORMATS[format]
        plan = await plan_for(session, statement, form.item)
        batches = await stream_of(session, statement, plan, batch_size)
        return StreamingResponse(lines(batches), media_type=media_type, headers=headers)

    def explain(
        self, schema: Any, model: type[Any], *, database: Database[Any] = default_database
    ) -> str:
        """Return what makes the JSON of a schema from a mapped class, and why nothing faster does.

        The logger ``fastapi_asyncdb.data.answers.plan`` has the same text at DEBUG, once for each schema
        and model. A statement with DISTINCT, GROUP BY or an alias is read as objects in any case.

        Args:
            schema: As for an answer.
            model: The mapped class.
            database: Where its rows are, by default ``default_database``; it need not be started.

        Returns:
            One sentence, such as "PostOut from Post: the database builds the JSON."

        Raises:
            ConfigurationError: the mapped class has no attribute for a field that is required; two
                fields read the same relationship, one has a ``Related``, and Pydantic validates objects.
        """
        json = json_of(database.engine.sync_engine.dialect)
        return str(plan_of(form_of(schema).item, cast(Any, model), json))


answer: _Answers = _Answers()


def _response(
    body: bytes, status_code: int, headers: Mapping[str, str] | None, request: Request | None
) -> Answer[Any]:
    response: Answer[Any] = Answer(body, status_code, headers)
    if request is None:
        return response
    etag = response.headers.setdefault("etag", etag_of(body))
    reads = request.method in ("GET", "HEAD")
    if not reads or not is_known(request.headers.get("if-none-match", ""), etag):
        return response
    return Answer(status_code=304, headers={**(headers or {}), "etag": etag})


async def _lines(batches: AsyncIterator[list[str]]) -> AsyncIterator[str]:
    async for batch in batches:
        # Of a column of the type json, the text has the line breaks that were written.
        yield "".join(f"{text}\n" for text in (each.replace("\n", " ") for each in batch))


async def _array(batches: AsyncIterator[list[str]]) -> AsyncIterator[str]:
    before = "["
    async for batch in batches:
        yield before + ",".join(batch)
        before = ","
    yield "[]" if before == "[" else "]"


_KINDS = {"optional": "optional", "page": "a page", "cursor page": "a page"}
_FORMATS = {"ndjson": (_lines, "application/x-ndjson"), "json": (_array, "application/json")}
