"""``MongoRepository``: reads and writes the documents of one model."""

# No __future__ annotations: FastAPI reads those of __init__.
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel
from pymongo import ReturnDocument

from fastapi_asyncdb.data.bulk.batches import Progress, write_batches
from fastapi_asyncdb.data.values import Values, changes_of, values_of
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.extras.mongo.documents import KEY, M
from fastapi_asyncdb.extras.mongo.filters import Filter, joined, of_values
from fastapi_asyncdb.extras.mongo.reading import MongoReadRepository
from fastapi_asyncdb.extras.mongo.values import equals


class MongoRepository(MongoReadRepository[M]):
    """The documents of one model: ``Notes = Annotated[MongoRepository[Note], Depends()]``.

    Each verb is one operation, which is stored at once; over a session of ``MongoTransaction`` with its
    commit. Name your own with ``class NoteRepository(MongoRepository[Note])`` and add methods.
    """

    max_batch: ClassVar[int] = 10_000
    """The largest ``batch_size`` of ``create_many()``."""

    async def create(self, data: Values | M | None = None, /, **values: Any) -> M:
        """Insert one document.

        Args:
            data: A Pydantic model, a mapping by attribute name, or an object of the model.
            **values: Further values.

        Returns:
            The object, with its key.

        Raises:
            pydantic.ValidationError: the values do not fit the model.
            DuplicateKey: a unique index has the values already. 409 with the error handlers.
            InvalidValue: a value cannot be stored. 422 with the error handlers.
        """
        instance: M = self._made(data, values)
        document = self.layout.document(instance)
        async with self.session.operation() as session:
            await self.collection.insert_one(document, session=session)
        return instance

    async def create_many(
        self,
        rows: Iterable[Values | M] | AsyncIterable[Values | M],
        *,
        batch_size: int = 1000,
        progress: Progress | None = None,
    ) -> int:
        """Insert many documents, in batches; without a transaction those before an error stay.

        Args:
            rows: As for ``create()``; an iterable or an asynchronous one.
            batch_size: Documents in memory at a time, at most ``max_batch``.
            progress: A function or a coroutine function, called after each batch with the number so far.

        Returns:
            The number of documents.

        Raises:
            ConfigurationError: the ``batch_size`` is above ``max_batch``.
            DuplicateKey, InvalidValue: as for ``create()``.
        """
        if batch_size > self.max_batch:
            raise ConfigurationError(
                f"batch_size={batch_size} is above the {self.max_batch} documents that one batch "
                "may have. Use smaller ones: larger ones are not written faster."
            )
        return await write_batches(rows, self._insert, batch_size=batch_size, progress=progress)

    async def _insert(self, rows: Sequence[Values | M]) -> None:
        documents = [self.layout.document(self._made(row, {})) for row in rows]
        async with self.session.operation() as session:
            await self.collection.insert_many(documents, session=session)

    async def update(self, target: Any, data: Values | None = None, /, **values: Any) -> M:
        """Change one document.

        Args:
            target: An object of the model, or a key.
            data: A Pydantic model, of which only the values that were set are taken, or a mapping by
                attribute.
            **values: Further values.

        Returns:
            The document as it is stored now.

        Raises:
            NotFoundError: there is none with the key. FastAPI answers 404.
            TypeError: the model has no such attribute.
            pydantic.ValidationError, DuplicateKey, InvalidValue: as for ``create()``.
        """
        changes = {**(changes_of(data) if data is not None else {}), **values}
        fields = self.layout.fields(changes)
        if not fields:
            return await self.get_or_raise(self._key(target))
        where = self._where(equals(KEY, self._key(target)))
        async with self.session.operation() as session:
            found = await self.collection.find_one_and_update(
                where, {"$set": fields}, return_document=ReturnDocument.AFTER, session=session
            )
        if found is None:
            raise self._not_found(self._key(target))
        return self._read(found)

    async def upsert(
        self, data: Values | M, *, conflict: Sequence[str], update: Sequence[str] | None = None
    ) -> M:
        """Insert one document, or update the stored one with the same values of ``conflict``.

        Args:
            data: As for ``create()``.
            conflict: The attributes of a unique index: without one, two requests may both insert.
            update: The attributes that are updated: by default those that ``data`` gives, except for
                ``conflict`` and the key. With ``()`` the stored document stays as it is.

        Returns:
            The document as it is stored now.

        Raises:
            TypeError: the model has no such attribute.
            DuplicateKey: another unique index has the values; or ``conditions()`` exclude the stored
                document.
        """
        instance = self._made(data, {})
        document = self.layout.document(instance)
        given = changes_of(data) if not isinstance(data, self.model) else values_of(data)
        names = given.keys() if update is None else update
        same = {name: getattr(instance, name) for name in conflict}
        changed = [name for name in names if name not in (*conflict, self.layout.key)]
        where = self._where(of_values(self.layout, same))
        async with self.session.operation() as session:
            found = await self.collection.find_one_and_update(
                where,
                _set(document, {self.layout.name(name) for name in changed}),
                upsert=True,
                return_document=ReturnDocument.AFTER,
                session=session,
            )
        return self._read(found or document)

    async def delete(self, target: Any) -> None:
        """Delete one document.

        Args:
            target: An object of the model, or a key.

        Raises:
            NotFoundError: there is none with the key. FastAPI answers 404.
        """
        if not await self._delete(equals(KEY, self._key(target))):
            raise self._not_found(self._key(target))

    async def delete_where(self, *, raw_filter: Filter | None = None, **equals: Any) -> int:
        """Delete all documents for which the filter holds.

        Args:
            raw_filter: As for ``find_one()``, like ``equals``.
            **equals: Values by attribute.

        Returns:
            The number of documents.

        Raises:
            ConfigurationError: there is no filter.
        """
        where = joined(raw_filter, of_values(self.layout, equals))
        if not where:
            raise ConfigurationError(
                "A deletion without a filter would delete every document. Pass a filter, or "
                "delete the collection with PyMongo if every document is meant."
            )
        return await self._delete(where, many=True)

    async def update_where(
        self, values: Mapping[str, Any], *, raw_filter: Filter | None = None, **equals: Any
    ) -> int:
        """Change all documents for which the filter holds.

        Args:
            values: By attribute.
            raw_filter: As for ``find_one()``, like ``equals``.
            **equals: Values by attribute.

        Returns:
            The number of documents.

        Raises:
            ConfigurationError: there is no filter.
        """
        where = joined(raw_filter, of_values(self.layout, equals))
        if not where:
            raise ConfigurationError(
                "A change without a filter would change every document. Pass a filter, or use "
                "update_many() of PyMongo if every document is meant."
            )
        async with self.session.operation() as session:
            result = await self.collection.update_many(
                self._where(where), {"$set": self.layout.fields(values)}, session=session
            )
        return int(result.matched_count)

    async def _delete(self, where: Filter, *, many: bool = False) -> int:
        async with self.session.operation() as session:
            delete = self.collection.delete_many if many else self.collection.delete_one
            result = await delete(self._where(where), session=session)
        return int(result.deleted_count)

    def _key(self, target: Any) -> Any:
        """Return the key of a target, as it is stored.

        Raises:
            NotFoundError: no document can have it.
        """
        key = self.layout.key_of(target)
        if key is None:
            raise self._not_found(target)
        return key

    def _made(self, data: Values | M | None, values: Mapping[str, Any]) -> Any:
        """Return an object of the model, validated."""
        if isinstance(data, self.model) and not values:
            return data
        given = values_of(data) if isinstance(data, BaseModel) else dict(data or {})
        named = {**given, **values}
        return self.model.model_validate(
            {self.layout.name(name): value for name, value in named.items()}
        )


def _set(document: Mapping[str, Any], changed: set[str]) -> dict[str, Any]:
    """Return the update that sets these fields, and the others if the document is new."""
    operators = {
        "$set": {name: value for name, value in document.items() if name in changed},
        "$setOnInsert": {name: value for name, value in document.items() if name not in changed},
    }
    return {name: fields for name, fields in operators.items() if fields}
