"""``Loading``: how rows are loaded and locked, passed through to SQLAlchemy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict, TypeVar

from sqlalchemy import Select, SQLColumnExpression
from sqlalchemy.sql.base import ExecutableOption

from fastapi_asyncdb.models import SoftDeleteMixin

M = TypeVar("M")

Condition = SQLColumnExpression[bool] | bool
"""What ``Select.where()`` takes: ``User.name == "Ada"``. Type checkers see a ``bool`` in SQLModel's."""
OrderBy = SQLColumnExpression[Any] | Sequence[SQLColumnExpression[Any]]
"""What ``Select.order_by()`` takes: ``User.name``, or ``(User.name.desc(), User.id)``."""


class Loading(TypedDict, total=False):
    """How rows are loaded and locked, as keyword arguments."""

    options: Sequence[ExecutableOption]
    """Loader options, such as ``selectinload(User.posts)``."""
    execution_options: Mapping[str, Any]
    """Execution options, such as ``{"populate_existing": True}`` or ``{"include_deleted": True}``."""
    for_update: bool
    """Lock the rows until the transaction ends: ``SELECT ... FOR UPDATE``. SQLite has no row locks: its
    writing sessions exclude each other."""
    skip_locked: bool
    """Lock, and leave out the rows that other transactions have locked."""
    nowait: bool
    """Lock, and fail at once if another transaction has locked a row."""


def _lock(model: type[Any], loading: Loading) -> dict[str, Any] | None:
    waiting = {key: True for key in ("skip_locked", "nowait") if loading.get(key)}
    # PostgreSQL refuses to lock the rows of an outer join, as joinedload() makes them.
    return {"of": model, **waiting} if waiting or loading.get("for_update") else None


def loaded(statement: Select[M], model: type[Any], loading: Loading) -> Select[M]:
    """Return the statement with the options, and with the lock."""
    if not loading:
        return statement
    if options := loading.get("options"):
        statement = statement.options(*options)
    if execution_options := loading.get("execution_options"):
        statement = statement.execution_options(**execution_options)
    if lock := _lock(model, loading):
        statement = statement.with_for_update(**lock)
    return statement


def arguments_of_get(model: type[Any], loading: Loading) -> dict[str, Any]:
    """Return the same as the arguments of ``Session.get()``."""
    names = ("options", "execution_options")
    arguments: dict[str, Any] = {key: value for key, value in loading.items() if key in names}
    if lock := _lock(model, loading):
        arguments["with_for_update"] = lock
    return arguments


def hides(loading: Loading, found: object) -> bool:
    """Return whether an object is deleted that was not read now, but was in the session already."""
    if not isinstance(found, SoftDeleteMixin) or found.deleted_at is None:
        return False
    return not loading.get("execution_options", {}).get("include_deleted", False)
