"""``DocumentQueries``: the simple queries for the documents of one model, over one session."""

# No __future__ annotations: FastAPI reads those of __init__.
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, Generic

from pydantic import BaseModel

from fastapi_asyncdb.data.injectable import Injectable
from fastapi_asyncdb.errors import ConfigurationError, NotFoundError, TooManyRows
from fastapi_asyncdb.extras.mongo.default import Mongo
from fastapi_asyncdb.extras.mongo.documents import KEY, Layout, M, layout_of, read
from fastapi_asyncdb.extras.mongo.filters import (
    Filter,
    OrderBy,
    check_limit,
    joined,
    of_values,
    sort_keys,
)
from fastapi_asyncdb.extras.mongo.session import Collection, MongoSession
from fastapi_asyncdb.extras.mongo.values import equals

Found = list[dict[str, Any]]
"""Documents as they are stored."""


class DocumentQueries(Injectable, Generic[M]):
    """What ``MongoReadRepository`` finds documents with."""

    model: ClassVar[type[Any]]
    """The model."""
    max_rows: ClassVar[int] = 1000
    """The most documents that ``list()``, ``search()`` and ``aggregate()`` return."""

    def __init__(self, session: Mongo) -> None:
        if not hasattr(type(self), "model"):
            name = type(self).__name__
            raise ConfigurationError(
                f"{name} has no model. Write one in brackets: {name}[Note], or class "
                f"Notes({name}[Note])."
            )
        self.session: MongoSession = session

    def __class_getitem__(cls, model: Any) -> Any:
        """Return the class for a model; for a type variable what ``Generic`` returns."""
        if isinstance(model, type) and issubclass(model, BaseModel):
            generic: Any = cls
            return _of_model(generic, model)
        return super().__class_getitem__(model)  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.model.__name__}>"

    @property
    def collection(self) -> Collection:
        """PyMongo's collection."""
        return self.session.database[self.layout.collection]

    def conditions(self) -> Filter:
        """Return a raw filter of all queries, changes and deletions; for your class to override."""
        return {}

    async def get(self, key: Any) -> M | None:
        """Return the document with the key, or ``None``.

        Args:
            key: A ``DocumentId`` or its text, or what the model has as its key.
        """
        key = self.layout.key_of(key)
        return None if key is None else await self._first(self._where(equals(KEY, key)))

    async def get_or_raise(self, key: Any) -> M:
        """Return the document with the key.

        Raises:
            NotFoundError: there is none. FastAPI answers 404.
        """
        found = await self.get(key)
        if found is None:
            raise self._not_found(key)
        return found

    async def find_one(self, *, raw_filter: Filter | None = None, **equals: Any) -> M | None:
        """Return the first document for which the filter holds, or ``None``.

        Args:
            raw_filter: A filter of MongoDB's, with operators: never what a client has sent.
            **equals: Values by attribute.

        Raises:
            TypeError: the model has no such attribute.
            InvalidValue: a value could be read as an operator. 422 with the error handlers.
        """
        return await self._first(self._filter(raw_filter, equals))

    async def list(
        self,
        *,
        raw_filter: Filter | None = None,
        order_by: OrderBy = (),
        limit: int | None = None,
        offset: int = 0,
        **equals: Any,
    ) -> Sequence[M]:
        """Return the documents for which the filter holds, at most ``max_rows``.

        Args:
            raw_filter: As for ``find_one()``, like ``equals``.
            order_by: Attributes; with ``-`` in front in descending order.
            limit: How many at most. Without it more than ``max_rows`` are an error.
            offset: How many to leave out first.
            **equals: Values by attribute.

        Raises:
            TooManyRows: there are more, and no ``limit`` was given.
            ConfigurationError: the ``limit`` is negative, or above ``max_rows``.
        """
        check_limit(limit, self.max_rows, f"{type(self).__name__}.list()")
        if limit == 0:
            return []
        most = self.max_rows + 1 if limit is None else limit
        keys = sort_keys(self.layout, order_by)
        found = await self.find(self._filter(raw_filter, equals), keys, limit=most, skip=offset)
        return read(self.model, self._bounded(found))

    async def count(self, *, raw_filter: Filter | None = None, **equals: Any) -> int:
        """Return the number of documents for which the filter holds."""
        return await self.count_where(self._filter(raw_filter, equals))

    async def count_where(self, where: Filter) -> int:
        """Return the number of documents of a whole filter."""
        run = self.session.run
        options = {} if run.max_time_ms is None else {"maxTimeMS": run.max_time_ms}
        async with self.session.operation() as session:
            return await self.collection.count_documents(where, session=session, **options)

    async def exists(self, *, raw_filter: Filter | None = None, **equals: Any) -> bool:
        """Return whether there is a document for which the filter holds."""
        return bool(await self.find(self._filter(raw_filter, equals), [], limit=1, fields=[KEY]))

    async def stream(
        self,
        *,
        raw_filter: Filter | None = None,
        order_by: OrderBy = (),
        batch_size: int = 500,
        **equals: Any,
    ) -> AsyncGenerator[M, None]:
        """Yield the documents for which the filter holds, with a cursor of the server.

        Leave the loop early inside of ``contextlib.aclosing(notes.stream())``, which closes the cursor.

        Args:
            raw_filter: As for ``find_one()``, like ``equals``.
            order_by: As for ``list()``.
            batch_size: How many documents are in memory at a time.
            **equals: Values by attribute.
        """
        where, keys = self._filter(raw_filter, equals), sort_keys(self.layout, order_by)
        async with (
            self.session.operation() as session,
            self.collection.find(
                where, sort=keys or None, batch_size=batch_size, session=session
            ) as cursor,
        ):
            async for document in cursor:
                yield self.model.model_validate(document)

    @property
    def layout(self) -> Layout:
        """How the model is stored."""
        return layout_of(self.model)

    def _where(self, *filters: Filter | None) -> dict[str, Any]:
        return joined(self.conditions(), *filters)

    def _filter(self, raw_filter: Filter | None, equals: Mapping[str, Any]) -> dict[str, Any]:
        return self._where(raw_filter, of_values(self.layout, equals))

    def _bounded(self, found: Found) -> Found:
        if len(found) > self.max_rows:
            raise TooManyRows(
                f"There are more than the {self.max_rows} documents that {type(self).__name__} may "
                "return at once. Pass a limit, read page by page, use stream(), or set max_rows "
                "in your repository class."
            )
        return found

    def _not_found(self, key: Any) -> NotFoundError:
        name = self.model.__name__
        message = f"There is no {name} with the key {key!r}. It was deleted or never stored."
        return NotFoundError(message, model=name)

    async def _first(self, where: Filter) -> M | None:
        found = await self.find(where, [], limit=1)
        return self._read(found[0]) if found else None

    def _read(self, document: Mapping[str, Any]) -> M:
        model: type[M] = self.model
        return model.model_validate(document)

    async def find(
        self,
        where: Filter,
        keys: Sequence[Any],
        *,
        limit: int,
        skip: int = 0,
        fields: Sequence[str] | None = None,
    ) -> Found:
        """Return documents as they are stored, of a whole filter."""
        async with self.session.operation() as session:
            cursor = self.collection.find(
                where,
                fields,
                sort=list(keys) or None,
                limit=limit,
                skip=skip,
                max_time_ms=self.session.run.max_time_ms,
                session=session,
            )
            return await cursor.to_list()


@cache
def _of_model(repository: type[Any], model: type[Any]) -> type[Any]:
    """Make the class of a repository for a model, once."""
    name = f"{repository.__name__}[{model.__name__}]"
    return type(name, (repository,), {"model": model, "__module__": model.__module__})
