"""The values of one row, as callers give them, and how they get into an object."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel
from sqlalchemy import Integer, inspect
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.exc import StaleDataError

M = TypeVar("M")

Values = Mapping[str, Any] | BaseModel
"""Values by the names of the model's attributes."""
ManyRows = Iterable[Values | M] | AsyncIterable[Values | M]
"""Many rows: Pydantic models, mappings by attribute name, or objects of the model."""


def values_of(data: Values) -> dict[str, Any]:
    """Return all values, those that a Pydantic model has by default included."""
    return data.model_dump() if isinstance(data, BaseModel) else dict(data)


def changes_of(data: Values) -> dict[str, Any]:
    """Return the values that the client has sent: ``None`` if it has sent null, else nothing."""
    return data.model_dump(exclude_unset=True) if isinstance(data, BaseModel) else dict(data)


def made(mapper: Mapper[Any], values: Mapping[str, Any]) -> Any:
    """Return a new object.

    Raises:
        TypeError: the model has no such attribute.
    """
    if issubclass(mapper.class_, BaseModel):  # SQLModel's, which ignore unknown names
        _check_names(mapper, values)
    return mapper.class_(**values)


def set_values(mapper: Mapper[Any], instance: Any, values: Mapping[str, Any]) -> None:
    """Set attributes of an object.

    Raises:
        TypeError: its model has no such attribute.
    """
    _check_names(mapper, values)
    for name, value in values.items():
        setattr(instance, name, value)


def _check_names(mapper: Mapper[Any], names: Iterable[str]) -> None:
    model = mapper.class_
    for name in names:
        is_property = isinstance(getattr(model, name, None), property)
        if name not in mapper.all_orm_descriptors and not is_property:
            raise TypeError(f"{name!r} is no attribute of {model.__name__}.")


async def flushed(session: AsyncSession, instance: M) -> M:
    """Flush, and read what the database has set and not returned: no later access could."""
    await session.flush()
    state: Any = inspect(instance)
    expired = [name for name in state.expired_attributes if name in state.mapper.column_attrs]
    if expired:
        await session.refresh(instance, expired)
    return instance


def held(session: AsyncSession, instance: M) -> M:
    """Return an object of the session: of another one, no flush would find the changes.

    Raises:
        InvalidRequestError: the session does not hold it.
    """
    if instance not in session:
        name = type(instance).__name__
        raise InvalidRequestError(
            f"This {name} is not in the session: another session has loaded it, or it was never stored. "
            f"Pass the key of the {name}, or put it into the session with session.add()."
        )
    return instance


def version_attribute(mapper: Mapper[Any]) -> str | None:
    """Return the attribute of ``VersionMixin``, or of the model's own ``version_id_col``."""
    column = mapper.version_id_col
    return None if column is None else mapper.get_property_by_column(column).key


def next_version(mapper: Mapper[Any]) -> dict[str, Any]:
    """Return what a statement that changes a row sets its version to, by attribute.

    Empty without a version, or if the database makes it.
    """
    name, make = version_attribute(mapper), mapper.version_id_generator
    if name is None or not callable(make):
        return {}
    # The attribute, not its column: from this one SQLAlchemy knows the value of objects that are loaded.
    attribute: Any = mapper.all_orm_descriptors[name]
    return {name: attribute + 1 if isinstance(attribute.type, Integer) else make(None)}


def change(mapper: Mapper[Any], instance: Any, values: Mapping[str, Any]) -> None:
    """Set attributes of an object whose version, if it is among the values, is the current one.

    Raises:
        StaleDataError: it is another one. ``None`` is none.
        TypeError: the model has no such attribute.
    """
    changes = dict(values)
    _take_version(mapper, instance, changes)
    set_values(mapper, instance, changes)


def _take_version(mapper: Mapper[Any], instance: Any, changes: dict[str, Any]) -> None:
    version = version_attribute(mapper)
    expected = changes.pop(version, None) if version is not None else None
    if version is None or expected is None:
        return
    current = getattr(instance, version)
    if current != expected:
        raise StaleDataError(
            f"{mapper.class_.__name__} has changed: its version is {current}, not {expected}. Read it "
            "again before you change it."
        )
