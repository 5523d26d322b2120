"""``upsert``, ``upsert_many``: insert rows, or update the stored ones that have the same key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NotRequired, TypedDict, TypeVar, Unpack

from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.data.bulk.batches import Progress, tell, write_batches
from fastapi_asyncdb.data.bulk.columns import Attribute, ModelTable
from fastapi_asyncdb.data.bulk.upserter import Upserter
from fastapi_asyncdb.data.values import ManyRows, Values
from fastapi_asyncdb.dialects.bulk import UpsertOutcome

M = TypeVar("M")

Report = Callable[[Any, UpsertOutcome], Awaitable[object] | object]
"""Called with each row and ``"created"``, ``"updated"`` or ``"skipped"``; may be a coroutine."""


class OnConflict(TypedDict):
    """The unique index of an upsert, and the attributes that it updates, as keyword arguments."""

    conflict: Sequence[Attribute]
    """The attributes of a unique index or constraint: ``[User.email]`` or ``["email"]``. MySQL uses
    every unique key of the table."""
    update: NotRequired[Sequence[Attribute] | None]
    """The attributes that are updated: by default all that the row gives, except for ``conflict`` and
    the primary key. With ``()`` the stored row stays as it is. An update also sets the columns with an
    ``onupdate``, and increments the version."""
    conflict_where: NotRequired[ColumnElement[bool] | None]
    """The condition of the unique index, if it is a partial one."""


async def upsert(
    session: AsyncSession,
    model: type[M],
    values: Values | M,
    *,
    only: Sequence[Any] = (),
    **on_conflict: Unpack[OnConflict],
) -> M:
    """Insert a row, or update the stored one with the same key, in one statement.

    Args:
        session: Any session. Its pending objects are flushed before.
        model: The mapped class.
        values: By attribute; of a Pydantic model the default values are inserted, but not updated.
        only: Conditions of the stored rows that may be updated.
        **on_conflict: See ``OnConflict``.

    Returns:
        The object with the values that are stored.

    Raises:
        TypeError: an attribute is no column of the model, or the row lacks one of ``conflict``.
        NotFoundError: the stored row is none of ``only``.
        ConfigurationError: the database has no upserts, or none with ``only``.
        sqlalchemy.exc.DBAPIError: there is no unique index on ``conflict``; on PostgreSQL it has the
            SQLSTATE 42P10.
    """
    upserter = Upserter(ModelTable(model), only=only, **on_conflict)
    found: M = await session.run_sync(upserter.one, values)
    return found


async def upsert_many(
    session: AsyncSession,
    model: type[M],
    rows: ManyRows[M],
    *,
    batch_size: int | None = None,
    progress: Progress | None = None,
    report: Report | None = None,
    only: Sequence[Any] = (),
    **on_conflict: Unpack[OnConflict],
) -> int:
    """Insert rows, or update the stored ones with the same keys, in the session's transaction.

    The outcome is that of one ``upsert`` after the other: of two rows with the same key, the later one
    updates the earlier one. Objects that the session has loaded keep their values.

    Args:
        session: Any session. Its pending objects are flushed before each batch.
        model: The mapped class.
        rows: Values by attribute, or instances, which stay outside of the session.
        batch_size: Rows in memory at a time; 5,000 by default.
        progress: Called after each batch with the number of rows so far.
        report: Called after each batch for each row, in order, with the row and ``"created"``,
            ``"updated"`` or ``"skipped"``. Costs a temporary table (PostgreSQL) or a query (others).
        only: Conditions of the stored rows that may be updated; others are skipped.
        **on_conflict: See ``OnConflict``.

    Returns:
        The number of rows.

    Raises:
        TypeError: as in ``upsert``, like the other errors.
    """
    upserter = Upserter(ModelTable(model), only=only, **on_conflict)

    async def write(batch: list[Values | M]) -> None:
        outcomes = await session.run_sync(upserter.many, batch, report=report is not None)
        if report is not None:
            for row, outcome in zip(batch, outcomes, strict=True):
                await tell(report, row, outcome)

    return await write_batches(rows, write, batch_size=batch_size, progress=progress)
