"""MySQL's floats, whose values of 32 bits are returned with six digits: too few to find them again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import REAL, ColumnElement, Double, Float, cast, type_coerce

# FLOAT(25) is a DOUBLE: https://dev.mysql.com/doc/refman/8.4/en/floating-point-types.html
_MOST_BITS = 24


def exactly(expression: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a float as a double, which is returned with all its digits, and other expressions as is."""
    kind = expression.type
    if not isinstance(kind, Float) or isinstance(kind, Double):
        return expression
    is_decimal: Any = kind.asdecimal
    double: Double[Any] = Double(asdecimal=is_decimal)
    # REAL is a DOUBLE, except that MariaDB has no cast to it.
    if isinstance(kind, REAL) or (kind.precision or 0) > _MOST_BITS:
        return type_coerce(expression, double)
    return cast(expression, double)
