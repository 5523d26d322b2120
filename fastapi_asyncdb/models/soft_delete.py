"""``SoftDeleteMixin``: rows that are marked as deleted, and that SELECTs leave out."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import ColumnElement, Select, event, true
from sqlalchemy.orm import (
    Mapped,
    ORMExecuteState,
    Session,
    mapped_column,
    with_loader_criteria,
)
from sqlalchemy.orm.attributes import set_attribute
from sqlalchemy.orm.util import AliasedClass

from fastapi_asyncdb.models.datetimes import UTCDateTime, now


class SoftDeleteMixin:
    """``deleted_at``, and SELECTs that leave out the rows where it is set.

    Every session leaves them out: of entities, columns, joins, subqueries and relationships. A statement
    with ``execution_options(include_deleted=True)`` includes them. ``session.get()`` returns an object
    that the session has loaded already, deleted or not.

    ``session.delete()``, UPDATE and DELETE statements, and statements on a ``Table`` are not changed.
    """

    # Without annotations at run time, which dataclasses and SQLModel would take for their fields.
    if TYPE_CHECKING:
        deleted_at: Mapped[datetime | None]
    else:
        deleted_at = mapped_column(UTCDateTime(), nullable=True, sort_order=902)

    def __init_subclass__(cls, **options: Any) -> None:
        """Begin to leave out deleted rows; an application without such a class pays nothing."""
        super().__init_subclass__(**options)
        if not event.contains(Session, "do_orm_execute", leave_out_deleted):
            event.listen(Session, "do_orm_execute", leave_out_deleted)

    @property
    def is_deleted(self) -> bool:
        """Whether the row is marked as deleted."""
        return self.deleted_at is not None

    def mark_deleted(self) -> None:
        """Set ``deleted_at``, unless it is set already. The next flush stores it."""
        if not self.is_deleted:
            self._set_deleted_at(now())

    def restore(self) -> None:
        """Set ``deleted_at`` to ``None``. The next flush stores it."""
        self._set_deleted_at(None)

    def _set_deleted_at(self, value: datetime | None) -> None:
        # Assignment is refused by SQLModel, which knows the fields of Pydantic only.
        set_attribute(self, "deleted_at", value)


def _is_kept(entity: Any) -> ColumnElement[bool]:
    return cast("ColumnElement[bool]", entity.deleted_at.is_(None))


def _is_kept_if_joined(entity: Any) -> ColumnElement[bool]:
    return _is_kept(entity) if isinstance(entity, AliasedClass) else true()


# Made once each, so that all statements find their SQL in SQLAlchemy's cache.
_LEAVE_OUT, _LEAVE_OUT_JOINED = (
    with_loader_criteria(
        SoftDeleteMixin, is_kept, include_aliases=True, track_closure_variables=False
    )
    for is_kept in (_is_kept, _is_kept_if_joined)
)


def leave_out_deleted(state: ORMExecuteState) -> None:
    """Leave out deleted rows of a statement that a session executes."""
    if not state.is_select or state.execution_options.get("include_deleted"):
        return
    # The refresh of an object finds its row, deleted or not. Joined to it are aliases.
    criteria = _LEAVE_OUT_JOINED if state.is_column_load else _LEAVE_OUT
    state.statement = _with(cast(Any, state.statement), criteria)


def without_deleted(statement: Select[Any]) -> Select[Any]:
    """Return a select without the rows that are marked as deleted."""
    return cast("Select[Any]", _with(statement, _LEAVE_OUT))


def _with(statement: Any, criteria: Any) -> Any:
    if criteria in statement._with_options:  # of the object whose relationship is loaded
        return statement
    return statement.options(criteria)
