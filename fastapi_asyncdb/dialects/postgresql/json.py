"""JSON that PostgreSQL builds.

https://www.postgresql.org/docs/current/functions-json.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, cast, func, select
from sqlalchemy import types as sql
from sqlalchemy.dialects.postgresql import TIMESTAMP

from fastapi_asyncdb.dialects.json import JsonFormat, Stored, dumped, number, quoted

_SECONDS = 'YYYY-MM-DD"T"HH24:MI:SS'
_SHORT = 6
"""Digits after the point up to which Python writes all decimal numbers without an exponent."""
_MAY_BE_INFINITE = "[0-9]{210}|[eE][+]?[0-9]{3}"
"""Numbers in JSON that Python may read as infinite."""


class PostgreSQLJson(JsonFormat):
    """JSON as text, which costs half of ``json_build_object()``, and has no spaces as Pydantic's."""

    names = ("postgresql",)
    joining = "string_agg"

    def object(self, values: Sequence[tuple[str, ColumnElement[Any]]]) -> ColumnElement[Any]:
        """Return ``concat(...)``."""
        if not values:
            return quoted("{}")
        parts: list[ColumnElement[str]] = []
        for key, value in values:
            name = quoted(f"{',' if parts else '{'}{dumped(key)}:")
            parts += [name, func.coalesce(value, quoted("null"))]
        return func.concat(*parts, type_=sql.Text()) + quoted("}")

    def array(self, items: Select[Any]) -> ColumnElement[Any]:
        """Return ``string_agg()`` of a subquery, in its order."""
        rows = items.subquery()
        joined = func.string_agg(rows.c.item, quoted(","))
        found = func.concat(quoted("["), joined, quoted("]"), type_=sql.Text())
        return select(found).select_from(rows).scalar_subquery()

    def nested(self, item: Select[Any]) -> ColumnElement[Any]:
        """Return a scalar subquery."""
        return item.scalar_subquery()

    def text(self, expression: ColumnElement[Any]) -> ColumnElement[str]:
        """Return the same, which is a text."""
        return expression

    def constant(self, text: str) -> ColumnElement[Any]:
        """Return a text."""
        return quoted(text)

    def _as_it_is(self, stored: Stored) -> ColumnElement[Any]:
        return cast(stored.column, sql.Text())

    def _str(self, stored: Stored) -> ColumnElement[Any]:
        return _json_of(stored.column)

    def _name(self, stored: Stored) -> ColumnElement[Any] | None:
        kind: Any = stored.type
        if kind.enum_class is not None:
            return None
        text = cast(stored.column, sql.Text())
        return self.guarded(_json_of(text), stored.column, text.in_(map(quoted, kind.enums)))

    def _uuid(self, stored: Stored) -> ColumnElement[Any] | None:
        kind: Any = stored.type
        if not (kind.as_uuid and kind.native_uuid):
            return None
        return _in_quotes(cast(stored.column, sql.Text()))

    def _date(self, stored: Stored) -> ColumnElement[Any]:
        column = stored.column
        first, last = (cast(quoted(day), sql.Date()) for day in ("0001-01-01", "9999-12-31"))
        return self.guarded(_json_of(column), column, column.between(first, last))

    def _datetime(self, stored: Stored) -> ColumnElement[Any] | None:
        """Return ISO 8601 as Pydantic has it: with no or with six digits of a fraction."""
        kind: Any = stored.type
        # psycopg returns the session's zone:
        # https://magicstack.github.io/asyncpg/current/usage.html#type-conversion
        if kind.timezone and not (stored.utc or self.driver == "asyncpg"):
            return None
        time, zone = stored.column, ""
        if kind.timezone:
            # By an interval, which need not be looked up as a name.
            time, zone = func.timezone(cast(quoted("0"), sql.Interval()), time), '"Z"'
        first, end = (cast(quoted(day), TIMESTAMP()) for day in ("0001-01-01", "10000-01-01"))
        form = case(
            (func.date_trunc(quoted("second"), time) == time, quoted(_SECONDS + zone)),
            else_=quoted(f"{_SECONDS}.US{zone}"),
        )
        text = func.to_char(time, form, type_=sql.Text())
        return self.guarded(_in_quotes(text), stored.column, and_(time >= first, time < end))

    def _float(self, stored: Stored) -> ColumnElement[Any] | None:
        """Return the digits that the driver reads: of ``real``, psycopg reads fewer, as a text."""
        kind: Any = stored.type
        column = stored.column
        if kind.asdecimal:
            return None
        exact: ColumnElement[Any] = cast(column, sql.Double())
        written = column if self.driver == "psycopg" else exact
        beyond: list[Any] = [
            cast(quoted(each), sql.Double()) for each in ("NaN", "Infinity", "-Infinity")
        ]
        return self.guarded(_json_of(written), column, exact.not_in(beyond))

    def _decimal(self, stored: Stored) -> ColumnElement[Any] | None:
        kind: Any = stored.type
        column = stored.column
        # Of whole numbers, asyncpg returns 10000 as 1E+4.
        if not kind.asdecimal or kind.scale is None or not 0 < kind.scale <= _SHORT:
            return None
        text = cast(column, sql.Text())
        return self.guarded(_in_quotes(text), column, column != cast(quoted("NaN"), sql.Numeric()))

    def _json(self, stored: Stored) -> ColumnElement[Any]:
        column = stored.column
        text = cast(column, sql.Text())
        # A string may contain what stands for an unfit value; a dollar may be escaped.
        escaped = func.concat(func.chr(number(92)), quoted("u0024"))
        plain = func.replace(text, quoted("$"), escaped)
        found = func.strpos(text, quoted("$unfit")) > number(0)
        infinite = text.op("~", is_comparison=True)(quoted(_MAY_BE_INFINITE))
        return self.guarded(case((found, plain), else_=text), column, ~infinite)

    writers = (
        (sql.Boolean, "bool", _as_it_is),
        (sql.Integer, "int", _as_it_is),
        (sql.Enum, "str", _name),
        (sql.String, "str", _str),
        (sql.Uuid, "uuid", _uuid),
        (sql.Date, "date", _date),
        (sql.DateTime, "datetime", _datetime),
        (sql.Float, "float", _float),
        (sql.Numeric, "decimal", _decimal),
        (sql.JSON, "any", _json),
    )


def _json_of(value: ColumnElement[Any]) -> ColumnElement[str]:
    return cast(func.to_json(value), sql.Text())


def _in_quotes(text: ColumnElement[str]) -> ColumnElement[str]:
    return quoted('"') + text + quoted('"')
