"""``MongoReadRepository``: pages, text search and aggregation beside the simple queries."""

# No __future__ annotations: FastAPI reads those of __init__.
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from pydantic import TypeAdapter

from fastapi_asyncdb.data.pages.cursor import CursorPage
from fastapi_asyncdb.data.pages.offset import Page, Total
from fastapi_asyncdb.data.pages.queries import CursorQuery, PageQuery
from fastapi_asyncdb.errors import ConfigurationError, InvalidValue
from fastapi_asyncdb.extras.mongo.documents import M, read
from fastapi_asyncdb.extras.mongo.filters import Filter, OrderBy, check_limit, joined
from fastapi_asyncdb.extras.mongo.pages import cursor_page, offset_page
from fastapi_asyncdb.extras.mongo.queries import DocumentQueries
from fastapi_asyncdb.signatures import Secret

S = TypeVar("S")


class MongoReadRepository(DocumentQueries[M]):
    """Queries for the documents of one model.

    In FastAPI ``Notes = Annotated[MongoReadRepository[Note], Depends()]``. Filters are values by
    attribute, as keyword arguments: ``find_one(email=email)``. A value is data, whatever a client has
    sent: a mapping with an operator is refused. Operators go into ``raw_filter``.

    Args:
        session: In FastAPI the session of ``Mongo``. For another dependency give your class an
            ``__init__(self, session: MongoTransaction)`` that calls this one.
    """

    max_search: ClassVar[int] = 200
    """The most characters of a text to search for."""

    async def page(
        self,
        query: PageQuery,
        *,
        raw_filter: Filter | None = None,
        order_by: OrderBy = (),
        total: Total | None = "exact",
        **equals: Any,
    ) -> Page[M]:
        """Return one page by offset; the order is made unique by the key.

        Args:
            query: Which page.
            raw_filter: As for ``find_one()``, like ``equals``.
            order_by: As for ``list()``.
            total: ``exact`` counts. ``estimated`` is MongoDB's number of all documents of the
                collection, and counts if there is a filter. ``None`` leaves it out.
            **equals: Values by attribute.
        """
        return await offset_page(self, query, self._filter(raw_filter, equals), order_by, total)

    async def cursor_page(
        self,
        query: CursorQuery,
        *,
        raw_filter: Filter | None = None,
        order_by: OrderBy = (),
        secret: Secret | None = None,
        **equals: Any,
    ) -> CursorPage[M]:
        """Return one page by cursor; the order is made unique by the key.

        Args:
            query: Which page.
            raw_filter: As for ``find_one()``, like ``equals``.
            order_by: As for ``list()``. The values of an attribute must be of one type, or missing.
            secret: Signs the cursors. Without one they have a checksum. A client can read them either
                way.
            **equals: Values by attribute.

        Raises:
            InvalidCursor: the cursor is damaged or forged, or of another ordering. FastAPI answers 422.
        """
        return await cursor_page(self, query, self._filter(raw_filter, equals), order_by, secret)

    async def search(
        self,
        text: str,
        *,
        raw_filter: Filter | None = None,
        limit: int = 20,
        language: str | None = None,
        **equals: Any,
    ) -> Sequence[M]:
        """Return the documents that match a text best, by the collection's text index.

        Args:
            text: Words, ``"phrases"`` and ``-exclusions``, at most ``max_search`` characters.
            raw_filter: As for ``find_one()``, like ``equals``.
            limit: How many at most.
            language: Of the words; ``None`` is the index's.
            **equals: Values by attribute.

        Raises:
            InvalidValue: the text is too long. 422 with the error handlers.
            ConfigurationError: the ``limit`` is negative, or above ``max_rows``.
        """
        check_limit(limit, self.max_rows, f"{type(self).__name__}.search()")
        if len(text) > self.max_search:
            raise InvalidValue(
                f"A text of {len(text)} characters is longer than the {self.max_search} that "
                f"{type(self).__name__}.search() takes. Limit the parameter of the route."
            )
        if not limit or not text.strip():
            return []
        search: dict[str, Any] = {"$search": text}
        if language is not None:
            search["$language"] = language
        where = self._filter(joined({"$text": search}, raw_filter), equals)
        score = {"score": {"$meta": "textScore"}}
        found = await self.find(where, [*score.items()], limit=limit)
        return read(self.model, found)

    async def aggregate(
        self, pipeline: Sequence[Mapping[str, Any]], schema: type[S], *, limit: int | None = None
    ) -> Sequence[S]:
        """Return what a pipeline makes of the documents, validated.

        The pipeline is code: put no value of a client into it that its route has not validated, and a
        text that may start with ``$`` as ``{"$literal": text}``. ``conditions()`` come first.

        Args:
            pipeline: Stages that read.
            schema: A Pydantic model, or another type that Pydantic validates.
            limit: How many results at most. Without it more than ``max_rows`` are an error.

        Raises:
            ConfigurationError: a stage writes; the ``limit`` is negative, or above ``max_rows``.
            TooManyRows: there are more results, and no ``limit`` was given.
            OperationTimeout: it took longer than ``MONGO_OPERATION_TIMEOUT``. 504 with the error
                handlers.
            pydantic.ValidationError: a result does not fit.
        """
        check_limit(limit, self.max_rows, f"{type(self).__name__}.aggregate()")
        if limit == 0:
            return []
        stages = self._stages(pipeline, self.max_rows + 1 if limit is None else limit)
        max_time_ms = self.session.run.max_time_ms
        options: dict[str, Any] = {} if max_time_ms is None else {"maxTimeMS": max_time_ms}
        async with self.session.operation() as session:
            cursor = await self.collection.aggregate(stages, session=session, **options)
            found = await cursor.to_list()
        adapter: TypeAdapter[list[S]] = TypeAdapter(list[schema])  # type: ignore[valid-type]
        return adapter.validate_python(self._bounded(found))

    def _stages(self, pipeline: Sequence[Mapping[str, Any]], limit: int) -> list[dict[str, Any]]:
        if any(name in stage for stage in pipeline for name in ("$out", "$merge")):
            raise ConfigurationError(
                "aggregate() reads, and $out and $merge write. Use collection.aggregate() of "
                "PyMongo for them."
            )
        first = [{"$match": dict(self.conditions())}] if self.conditions() else []
        return [*first, *(dict(stage) for stage in pipeline), {"$limit": limit}]
