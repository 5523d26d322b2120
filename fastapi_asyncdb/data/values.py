"""The values of one row, as callers give them: a Pydantic model or a mapping, by attribute name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

Values = Mapping[str, Any] | BaseModel
"""Values by the names of the model's attributes."""


def values_of(data: Values) -> dict[str, Any]:
    """Return all values, those that a Pydantic model has by default included."""
    return data.model_dump() if isinstance(data, BaseModel) else dict(data)


def changes_of(data: Values) -> dict[str, Any]:
    """Return the values that the client has sent: ``None`` if it has sent null, else nothing."""
    return data.model_dump(exclude_unset=True) if isinstance(data, BaseModel) else dict(data)
