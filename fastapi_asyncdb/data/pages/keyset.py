"""The WHERE of a page: the rows that come after a position in an ordering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, and_, false, or_, tuple_

from fastapi_asyncdb.data.pages.ordering import OrderKey

Pair = tuple[OrderKey, ColumnElement[Any] | None]
"""A key with its value; ``None`` is NULL."""
Criterion = ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class Keyset:
    """What comes after a position, as one database orders and compares.

    Args:
        nulls_are_largest: Where the database has NULL by default.
        seeks_by_rows: Whether it uses an index for ``(a, b) > (x, y)``.
    """

    nulls_are_largest: bool
    seeks_by_rows: bool

    def ranges_after(self, pairs: Sequence[Pair]) -> list[Criterion]:
        """Return one or two conditions, the rows of the first before those of the second.

        No database finds the start of ``a > x OR a IS NULL`` in an index; it finds that of each part.
        """
        (key, value), *rest = pairs
        if not key.nullable:
            return [self._after(pairs)]
        if value is None:
            ranges = [and_(_is_null(key), self._after(rest))] if rest else []
        else:
            ranges = [self._after([(replace(key, nullable=False), value), *rest])]
        if (value is None) == self._nulls_first(key):
            ranges.append(key.expression.is_not(None) if value is None else _is_null(key))
        return ranges

    def _after(self, pairs: Sequence[Pair]) -> Criterion:
        (key, value), *rest = pairs
        if not rest:
            return self._after_value(key, value)
        if self.seeks_by_rows and _is_one_row(pairs):
            columns, values = tuple_(*(key.expression for key, _ in pairs)), tuple_(*_values(pairs))
            return columns < values if key.descending else columns > values
        ties = and_(_equals(key, value), self._after(rest))
        condition = or_(self._after_value(key, value), ties)
        if value is None or key.nullable:
            return condition
        # Where an index range can start, which no database derives from the OR.
        column = key.expression
        return and_(column <= value if key.descending else column >= value, condition)

    def _after_value(self, key: OrderKey, value: ColumnElement[Any] | None) -> Criterion:
        column = key.expression
        if value is None:
            return column.is_not(None) if self._nulls_first(key) else false()
        after = column < value if key.descending else column > value
        if key.nullable and not self._nulls_first(key):
            return or_(after, column.is_(None))
        return after

    def _nulls_first(self, key: OrderKey) -> bool:
        if key.nulls_first is not None:
            return key.nulls_first
        return key.descending == self.nulls_are_largest


def _values(pairs: Sequence[Pair]) -> list[ColumnElement[Any]]:
    return [value for _, value in pairs if value is not None]


def _is_one_row(pairs: Sequence[Pair]) -> bool:
    directions = {key.descending for key, _ in pairs}
    return len(directions) == 1 and not any(key.nullable or value is None for key, value in pairs)


def _equals(key: OrderKey, value: ColumnElement[Any] | None) -> Criterion:
    return _is_null(key) if value is None else key.expression == value


def _is_null(key: OrderKey) -> Criterion:
    return key.expression.is_(None)
