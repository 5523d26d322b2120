"""JSON that SQLite builds.

https://sqlite.org/json1.html. A column of SQLite may have values of any type: only those of the type
that is declared fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, case, func, null, or_, select, type_coerce
from sqlalchemy import types as sql

from fastapi_asyncdb.dialects.json import JsonFormat, Stored, number, quoted

_DIGIT = "[0-9]"
_FRACTION = "." + _DIGIT * 6
_BOOLEANS = ((1, "true"), (0, "false"))
_LARGE_EXPONENTS = (f"*[eE]{_DIGIT * 3}*", f"*[eE]+{_DIGIT * 3}*")


_NO_DAYS = quoted("+0 days")
"""Makes another text of a day that does not exist, such as the last one of a short month."""


class SQLiteJson(JsonFormat):
    """JSON as text. A subquery forgets that a text is JSON, so that ``json()`` says it again."""

    names = ("sqlite",)
    joining = "group_concat"

    def object(self, values: Sequence[tuple[str, ColumnElement[Any]]]) -> ColumnElement[Any]:
        """Return ``json_object(...)``."""
        return func.json_object(*(each for key, value in values for each in (quoted(key), value)))

    def array(self, items: Select[Any]) -> ColumnElement[Any]:
        """Return ``json_group_array()`` of a subquery, in its order."""
        rows = items.subquery()
        found = func.json_group_array(func.json(rows.c.item))
        return func.json(select(found).select_from(rows).scalar_subquery())

    def nested(self, item: Select[Any]) -> ColumnElement[Any]:
        """Return a scalar subquery."""
        return func.json(item.scalar_subquery())

    def text(self, expression: ColumnElement[Any]) -> ColumnElement[str]:
        """Return the same, which is a text."""
        return expression

    def constant(self, text: str) -> ColumnElement[Any]:
        """Return ``json(...)``."""
        return func.json(quoted(text))

    def _bool(self, stored: Stored) -> ColumnElement[Any]:
        value = type_coerce(stored.column, sql.Integer())
        values = ((value == number(each), self.constant(text)) for each, text in _BOOLEANS)
        return case((value.is_(None), null()), *values, else_=self.unfit)

    def _int(self, stored: Stored) -> ColumnElement[Any]:
        return self._typed(stored.column, "integer")

    def _str(self, stored: Stored) -> ColumnElement[Any]:
        return self._typed(stored.column, "text")

    def _name(self, stored: Stored) -> ColumnElement[Any] | None:
        kind: Any = stored.type
        if kind.enum_class is not None:
            return None
        text = type_coerce(stored.column, sql.Text())
        return self.guarded(text, stored.column, text.in_(map(quoted, kind.enums)))

    def _typed(self, column: ColumnElement[Any], name: str) -> ColumnElement[Any]:
        return self.guarded(column, column, func.typeof(column) == quoted(name))

    def _uuid(self, stored: Stored) -> ColumnElement[Any] | None:
        kind: Any = stored.type
        if not kind.as_uuid:
            return None
        text = type_coerce(stored.column, sql.Text())
        parts = [_part(text, at, size) for at, size in _UUID]
        joined = reduce(lambda before, part: before + quoted("-") + part, parts)
        hexadecimal = and_(func.length(text) == number(32), ~_like(text, "*[^0-9a-f]*"))
        return self.guarded(joined, stored.column, hexadecimal)

    def _date(self, stored: Stored) -> ColumnElement[Any]:
        text = type_coerce(stored.column, sql.Text())
        valid = and_(func.date(text, _NO_DAYS) == text, _has_year(text))
        return self.guarded(text, stored.column, valid)

    def _datetime(self, stored: Stored) -> ColumnElement[Any]:
        """Return ISO 8601 as Pydantic has it: with no or with six digits of a fraction."""
        text = type_coerce(stored.column, sql.Text())
        fraction = func.substr(text, number(20))
        written = case((fraction == quoted(".000000"), quoted("")), else_=fraction)
        time = _part(text, 1, 10) + quoted("T") + _part(text, 12, 8) + written
        known = or_(fraction == quoted(""), _like(fraction, _FRACTION))
        seconds = _part(text, 1, 19)
        valid = and_(func.datetime(seconds, _NO_DAYS) == seconds, _has_year(text))
        zoned = time + quoted("Z") if stored.utc else time
        return self.guarded(zoned, stored.column, and_(valid, known))

    def _json(self, stored: Stored) -> ColumnElement[Any]:
        """Return the text. A column of the type JSON stores a number as one, which may be rounded."""
        text = type_coerce(stored.column, sql.Text())
        # Python may read them as infinite.
        digits = func.replace(func.hex(func.zeroblob(number(105))), quoted("0"), quoted(_DIGIT))
        long = text.op("GLOB", is_comparison=True)(quoted("*") + digits + quoted("*"))
        infinite = or_(long, *(_like(text, pattern) for pattern in _LARGE_EXPONENTS))
        exact = func.typeof(text).in_([quoted("text"), quoted("integer")])
        valid = and_(exact, func.json_valid(text) == number(1))
        # A string may contain what stands for an unfit value; a dollar may be escaped.
        escaped = func.char(number(92)) + quoted("u0024")
        plain = case(
            (_like(text, "*$unfit*"), func.replace(text, quoted("$"), escaped)), else_=text
        )
        fits = case((valid, ~infinite), else_=number(0))
        return self.guarded(func.json(plain), text, fits)

    # None of floats, which SQLite writes with 15 digits of 17.
    writers = (
        (sql.Boolean, "bool", _bool),
        (sql.Integer, "int", _int),
        (sql.Enum, "str", _name),
        (sql.String, "str", _str),
        (sql.Uuid, "uuid", _uuid),
        (sql.Date, "date", _date),
        (sql.DateTime, "datetime", _datetime),
        (sql.JSON, "any", _json),
    )


_UUID = [(1, 8), (9, 4), (13, 4), (17, 4), (21, 12)]
"""Where the parts of a UUID begin in its 32 digits, and how long they are."""


def _part(text: ColumnElement[Any], at: int, size: int) -> ColumnElement[Any]:
    return func.substr(text, number(at), number(size))


def _has_year(text: ColumnElement[Any]) -> ColumnElement[bool]:
    return _part(text, 1, 4) != quoted("0000")


def _like(text: ColumnElement[Any], pattern: str) -> ColumnElement[bool]:
    return text.op("GLOB", is_comparison=True)(quoted(pattern))
