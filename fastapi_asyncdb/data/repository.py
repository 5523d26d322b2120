"""``Repository``: reads and writes the rows of one model. It flushes and never commits."""

# No __future__ annotations: FastAPI reads those of __init__.
from collections.abc import Sequence
from typing import Any, Unpack, cast

from sqlalchemy import CursorResult, Delete, Update, delete, update

from fastapi_asyncdb.data.bulk.batches import Progress
from fastapi_asyncdb.data.bulk.create import create_many
from fastapi_asyncdb.data.bulk.upsert import OnConflict, Report, upsert, upsert_many
from fastapi_asyncdb.data.loading import Condition, Loading
from fastapi_asyncdb.data.read_repository import M, ReadRepository
from fastapi_asyncdb.data.values import (
    ManyRows,
    Values,
    change,
    changes_of,
    flushed,
    held,
    made,
    next_version,
    set_values,
    values_of,
)
from fastapi_asyncdb.default import DB
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.models import SoftDeleteMixin
from fastapi_asyncdb.models.datetimes import now
from fastapi_asyncdb.session.managed import execute


class Repository(ReadRepository[M]):
    """The rows of one model: ``Users = Annotated[Repository[User], Depends()]``.

    Each verb flushes its change at once and does not commit. In FastAPI the commit comes at the end of
    the handler. Name your own with ``class UserRepository(Repository[User])`` and add methods.

    Args:
        session: Any ``AsyncSession``; in FastAPI the session of ``DB``. For another dependency give your
            class an ``__init__(self, session: MyDB)`` that calls this one.
    """

    def __init__(self, session: DB) -> None:
        super().__init__(session)

    async def create(self, data: Values | M | None = None, /, **values: Any) -> M:
        """Insert one row.

        Args:
            data: A Pydantic model, a mapping by attribute name, or an object of the model.
            **values: Further values, such as ``author_id=user.id``.

        Returns:
            The object, with its key and what else the database has filled in.

        Raises:
            TypeError: the model has no such attribute.
            sqlalchemy.exc.IntegrityError: a constraint of the database refuses the row.
        """
        if isinstance(data, self.model):
            instance = cast(M, data)
            set_values(self._mapper(), instance, values)
        else:
            instance = made(self._mapper(), {**values_of(cast(Values, data or {})), **values})
        self.session.add(instance)
        return await flushed(self.session, instance)

    async def update(self, target: Any, data: Values | None = None, /, **values: Any) -> M:
        """Change one row.

        Args:
            target: An object of the model, or a key.
            data: A Pydantic model, of which only the values that were set are taken: ``None`` is stored,
                what the client has not sent stays. Or a mapping by attribute name. If the version of
                ``VersionMixin`` is among the values, it must be the current one.
            **values: Further values.

        Returns:
            The object, with what the database has filled in.

        Raises:
            NotFoundError: there is no row with the key. FastAPI answers 404.
            TypeError: the model has no such attribute.
            sqlalchemy.orm.exc.StaleDataError: another transaction has changed the row since it was read,
                or since the version that was given. FastAPI answers 409.
            sqlalchemy.exc.IntegrityError: a constraint of the database refuses the values.
        """
        instance = await self._of(target)
        changes = {**(changes_of(data) if data is not None else {}), **values}
        change(self._mapper(), instance, changes)
        return await flushed(self.session, instance)

    async def update_where(self, *where: Condition, **values: Any) -> int:
        """Change all rows for which the conditions hold, with one statement.

        Args:
            *where: Conditions, at least one: ``sqlalchemy.true()`` for all rows.
            **values: Values or SQL expressions: ``views=Post.views + 1``.

        Returns:
            The number of rows.

        Raises:
            ConfigurationError: there are no conditions.
            sqlalchemy.exc.CompileError: the model has no such attribute.
        """
        changes = next_version(self._mapper()) | values
        return await self._execute(update(self.model).values(**changes), where)

    async def delete(self, target: Any) -> None:
        """Delete one row; with ``SoftDeleteMixin``, mark it as deleted.

        Args:
            target: An object of the model, or a key.

        Raises:
            NotFoundError: there is no row with the key. FastAPI answers 404.
            sqlalchemy.orm.exc.StaleDataError: the model has a version, and another transaction has
                changed the row since it was read. FastAPI answers 409.
        """
        instance = await self._of(target)
        if isinstance(instance, SoftDeleteMixin):
            instance.mark_deleted()
        else:
            await self.session.delete(instance)
        await self.session.flush()

    async def delete_where(self, *where: Condition) -> int:
        """Delete all rows for which the conditions hold; with ``SoftDeleteMixin``, mark them.

        Args:
            *where: Conditions, at least one: ``sqlalchemy.true()`` for all rows.

        Returns:
            The number of rows.

        Raises:
            ConfigurationError: there are no conditions.
        """
        if issubclass(self.model, SoftDeleteMixin):
            return await self.update_where(*where, deleted_at=now())
        return await self._execute(delete(self.model), where)

    async def restore(self, target: Any) -> M:
        """Undo the soft deletion of a row; one that is not deleted stays as it is.

        Args:
            target: An object of the model, or a key.

        Returns:
            The object.

        Raises:
            NotFoundError: there is no row with the key. FastAPI answers 404.
            TypeError: the model has no ``SoftDeleteMixin``.
        """
        instance = await self._of(target, execution_options={"include_deleted": True})
        if not isinstance(instance, SoftDeleteMixin):
            raise TypeError(f"{self.model.__name__} has no SoftDeleteMixin: it cannot be restored.")
        instance.restore()
        return await flushed(self.session, cast(M, instance))

    async def create_many(
        self, rows: ManyRows[M], *, batch_size: int | None = None, progress: Progress | None = None
    ) -> int:
        """Insert many rows, in batches: see ``docs/bulk.md``.

        Args:
            rows: Pydantic models, mappings by attribute name, or objects of the model; an iterable or an
                asynchronous one.
            batch_size: Rows in memory at a time; 5,000 by default.
            progress: A function or a coroutine function, called after each batch with the number of rows
                inserted so far.

        Returns:
            The number of rows.

        Raises:
            TypeError: a row has an attribute that is no column of the model.
            sqlalchemy.exc.IntegrityError: a row violates a constraint.
        """
        return await create_many(
            self.session, self.model, rows, batch_size=batch_size, progress=progress
        )

    async def upsert(self, data: Values, **on_conflict: Unpack[OnConflict]) -> M:
        """Insert one row, or update the stored one with the same key.

        Args:
            data: A Pydantic model, or a mapping by attribute name.
            **on_conflict: Which constraint decides, and what changes: see ``OnConflict``.

        Returns:
            The object with the values that are stored.

        Raises:
            TypeError: an attribute is no column of the model, or the row lacks one of ``conflict``.
            NotFoundError: the stored row does not fulfil ``conditions()``.
        """
        return await upsert(self.session, self.model, data, only=self.conditions(), **on_conflict)

    async def upsert_many(
        self,
        rows: ManyRows[M],
        *,
        report: Report | None = None,
        batch_size: int | None = None,
        progress: Progress | None = None,
        **on_conflict: Unpack[OnConflict],
    ) -> int:
        """Insert many rows or update the stored ones that fulfil ``conditions()``, in batches.

        Args:
            rows: As for ``create_many()``.
            report: Called, or awaited, for each row in order with its outcome: see ``Report``.
            batch_size: As for ``create_many()``.
            progress: As for ``create_many()``.
            **on_conflict: Which constraint decides, and what changes: see ``OnConflict``.

        Returns:
            The number of rows given.
        """
        return await upsert_many(
            self.session,
            self.model,
            rows,
            report=report,
            batch_size=batch_size,
            progress=progress,
            only=self.conditions(),
            **on_conflict,
        )

    async def _of(self, target: Any, **loading: Unpack[Loading]) -> M:
        """Return the object: the one that was passed, or the one with the key that was."""
        is_key = not isinstance(target, self.model)
        return await self.get_or_raise(target, **loading) if is_key else held(self.session, target)

    async def _execute(self, statement: Update | Delete, where: Sequence[Condition]) -> int:
        """Change or delete the rows that queries would find, and return their number."""
        if not where:
            raise ConfigurationError(
                "A statement without a condition would change every row. Pass a condition, or "
                "sqlalchemy.true() if every row is meant."
            )
        statement = statement.where(*self._where(where))
        if issubclass(self.model, SoftDeleteMixin):
            statement = statement.where(self.model.deleted_at.is_(None))
        result = await execute(self.session, statement)
        return cast(CursorResult[Any], result).rowcount
