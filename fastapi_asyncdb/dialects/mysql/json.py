"""JSON that MariaDB builds, as text. MySQL, which no test runs, builds none.

The server's own functions for JSON cost more, quote what they no longer know to be JSON, and have to
parse it to find out whether it was cut off.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    case,
    collate,
    func,
    literal_column,
    null,
    or_,
    type_coerce,
)
from sqlalchemy import types as sql
from sqlalchemy.dialects.mysql import DATETIME, SET
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql import operators
from sqlalchemy.sql.expression import BinaryExpression, ClauseList, UnaryExpression
from sqlalchemy.sql.functions import Function

from fastapi_asyncdb.dialects.json import JsonFormat, Stored, dumped, number, quoted

_OLDEST = (10, 11)
"""The oldest version that the tests have run on."""
_LONG = sql.CHAR(65535)
"""What the server does not keep as VARCHAR, whose length it takes too small for the digits of floats."""
_ITEMS = "answer_items"
_FIRST_DAY = 366
"""What ``TO_DAYS()`` returns for the first day of the year 1."""
_ZERO = 8
"""The length of 0.000000, the longest zero that Python writes without an exponent."""
_SMALLEST = "0.000001"
"""The smallest other number that it writes so."""
_GOOD_TEXT = r'"(?:[^"\\]++|\\["\\/bfnrtu])*+"'
_DOUBTFUL = rf'{_GOOD_TEXT}(*SKIP)(*FAIL)|"|[0-9]\.(?![0-9])|[eE]\+?[0-9]{{3}}|[0-9]{{210}}'
"""Numbers that Python may read as infinite; and what it does not read, although the server does: ``1.``
and ``"\\q"``."""


class MariaDBJson(JsonFormat):
    """JSON as text. A value that is NULL, instead of ``null``, makes its object unfit."""

    names = ("mysql", "mariadb")
    depends_on_server = True
    computes_first = True
    max_fields = 500

    def for_dialect(self, dialect: Dialect) -> JsonFormat | None:
        """Return the format if the server is MariaDB, as the URL says or, later, the server itself."""
        if dialect.name != "mariadb" and not getattr(dialect, "is_mariadb", False):
            return None
        version = dialect.server_version_info
        return None if version and version < _OLDEST else super().for_dialect(dialect)

    def object(self, values: Sequence[tuple[str, ColumnElement[Any]]]) -> ColumnElement[Any]:
        """Return ``CONCAT('{"id":', ..., '}')``."""
        if not values:
            return quoted("{}")
        parts: list[ColumnElement[Any]] = []
        for key, value in values:
            parts += (_literal(f"{',' if parts else '{'}{dumped(key)}:"), value)
        return func.coalesce(func.concat(*parts, quoted("}")), self.unfit.cast(_LONG))

    def array(self, items: Select[Any]) -> ColumnElement[Any]:
        """Return ``GROUP_CONCAT()`` with the order and the limit of the select.

        A subquery in FROM would not see the row of the statement around it.
        """
        joined = func.group_concat(_in_order(items))
        array = func.concat(quoted("["), func.coalesce(joined, quoted("")), quoted("]"))
        rows = items.with_only_columns(array.label(_ITEMS), maintain_column_froms=True)
        whole = func.length(literal_column(_ITEMS)) < literal_column("@@group_concat_max_len - 4")
        found = rows.order_by(None).limit(None).having(whole).scalar_subquery()
        return func.coalesce(found, self.unfit)

    def nested(self, item: Select[Any]) -> ColumnElement[Any]:
        """Return a scalar subquery."""
        return item.scalar_subquery()

    def text(self, expression: ColumnElement[Any]) -> ColumnElement[str]:
        """Return the same, which is a text; but where ``sql_mode`` lets ``CONCAT()`` ignore NULL, unfit.

        https://mariadb.com/docs/server/reference/sql-functions/string-functions/concat
        """
        return case((func.concat(null(), quoted("")).is_(None), expression), else_=self.unfit)

    def constant(self, text: str) -> ColumnElement[Any]:
        """Return a literal."""
        return _literal(text)

    def optional(self, value: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return ``null`` for NULL."""
        return func.coalesce(value, quoted("null"))

    def required(self, value: ColumnElement[Any], column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return the same: NULL makes its object unfit."""
        return value

    def guarded(
        self, value: ColumnElement[Any], column: ColumnElement[Any], fits: ColumnElement[bool]
    ) -> ColumnElement[Any]:
        """Return the value where it fits, which is looked at first."""
        return case((fits, value), (column.is_not(None), self.unfit))

    def comparable(self, column: ColumnElement[Any]) -> ColumnElement[str]:
        """Return a text that differs from another in case, and in spaces at its end."""
        utf8 = func.convert(column.op("USING")(literal_column("utf8mb4")), type_=sql.Text())
        return collate(utf8, "utf8mb4_nopad_bin")

    def _bool(self, stored: Stored) -> ColumnElement[Any]:
        value = type_coerce(stored.column, sql.Integer())
        true = value != number(0)
        return case((true, quoted("true")), (value == number(0), quoted("false")))

    def _number(self, stored: Stored) -> ColumnElement[Any] | None:
        return None if _has_zeros(stored) else stored.column

    def _str(self, stored: Stored) -> ColumnElement[Any]:
        return func.json_quote(stored.column)

    def _name(self, stored: Stored) -> ColumnElement[Any] | None:
        kind: Any = stored.type
        if kind.enum_class is not None:
            return None
        column = stored.column
        known = self.comparable(column).in_([quoted(name) for name in kind.enums])
        return self.guarded(func.json_quote(column), column, known)

    def _uuid(self, stored: Stored) -> ColumnElement[Any] | None:
        """Return the same for the type UUID and for CHAR(32)."""
        kind: Any = stored.type
        if not kind.as_uuid:
            return None
        as_uuid = type_coerce(stored.column, sql.Text()).op("AS")(literal_column("UUID"))
        unfit = case((stored.column.is_not(None), self.unfit))
        return func.coalesce(_in_quotes(Function("CAST", as_uuid)), unfit)

    def _date(self, stored: Stored) -> ColumnElement[Any]:
        return self._day(stored, _in_quotes(stored.column))

    def _datetime(self, stored: Stored) -> ColumnElement[Any]:
        """Return ISO 8601 as Pydantic has it: with no or with six digits of a fraction."""
        time = stored.column.cast(DATETIME(fsp=6))
        short = func.replace(time, quoted(".000000"), quoted(""))
        written = func.insert(short, number(11), number(1), quoted("T"))
        return self._day(stored, _in_quotes(written, quoted('Z"' if stored.utc else '"')))

    def _day(self, stored: Stored, value: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return the value of a day that Python has: in a month, and in the years 1 to 9999."""
        column = stored.column
        return self.guarded(value, column, func.to_days(column) >= number(_FIRST_DAY))

    def _float(self, stored: Stored) -> ColumnElement[Any] | None:
        """Return the digits that the server sends to drivers too, of FLOAT six; never an integer."""
        kind: Any = stored.type
        column = stored.column
        if kind.asdecimal or _has_zeros(stored):
            return None
        is_float = or_(*(func.instr(column, quoted(sign)) > number(0) for sign in ".e"))
        return case((is_float, column), else_=func.concat(column, quoted(".0")))

    def _decimal(self, stored: Stored) -> ColumnElement[Any] | None:
        kind: Any = stored.type
        column = stored.column
        if not kind.asdecimal or _has_zeros(stored):
            return None
        text = _in_quotes(column)
        if kind.scale is not None and kind.scale <= len(_SMALLEST) - 2:
            return text
        large = func.abs(column) >= literal_column(_SMALLEST)
        return self.guarded(text, column, or_(large, func.length(column) <= number(_ZERO)))

    def _json(self, stored: Stored) -> ColumnElement[Any]:
        text = type_coerce(stored.column, sql.Text())
        doubtful = text.op("REGEXP", is_comparison=True)(_literal(_DOUBTFUL))
        fits = and_(func.json_valid(text) == number(1), ~doubtful)
        # A string may contain what stands for an unfit value; a dollar may be escaped.
        plain = func.replace(text, quoted("$"), _literal("\\u0024"))
        found = func.instr(text, quoted("$unfit")) > number(0)
        return self.guarded(case((found, plain), else_=text), text, fits)

    writers = (
        (SET, "", _name),
        (sql.Boolean, "bool", _bool),
        (sql.Integer, "int", _number),
        (sql.Enum, "str", _name),
        (sql.String, "str", _str),
        (sql.Uuid, "uuid", _uuid),
        (sql.Date, "date", _date),
        (sql.DateTime, "datetime", _datetime),
        (sql.Float, "float", _float),
        (sql.Numeric, "decimal", _decimal),
        (sql.JSON, "any", _json),
    )


def _in_order(items: Select[Any]) -> ColumnElement[Any]:
    """Return the only column of a select, with its ORDER BY and its LIMIT, as an argument."""
    label: Any = items._raw_columns[0]
    argument: ColumnElement[Any] = label.element
    if items._order_by_clauses:
        keys = [key for each in items._order_by_clauses for key in (*_nulls(each), each)]
        order: Any = ClauseList(*keys, group=False)
        argument = BinaryExpression(argument, order, operators.custom_op("ORDER BY", precedence=2))
    limit = items._limit_clause
    if limit is not None:
        argument = BinaryExpression(argument, limit, operators.custom_op("LIMIT", precedence=1))
    return argument


def _nulls(key: Any) -> Iterator[ColumnElement[Any]]:
    """Yield what orders NULL, if a key may be it: before all values, or after them with DESC.

    ``GROUP_CONCAT()`` compares NULL as if it were 0 or an empty text.
    """
    expression, descends = key, False
    while isinstance(expression, UnaryExpression) and expression.modifier is not None:
        descends |= expression.modifier is operators.desc_op
        expression = expression.element
    if getattr(expression, "nullable", True):
        yield expression.is_(None) if descends else expression.is_not(None)


def _literal(text: str) -> ColumnElement[str]:
    """Return a constant text; by its bytes if it has backslashes, whose meaning depends on sql_mode."""
    if "\\" in text or not text.isprintable():
        return literal_column(f"_utf8mb4 x'{text.encode().hex()}'", sql.Text())
    return quoted(text)


def _in_quotes(
    value: ColumnElement[Any], end: ColumnElement[str] | None = None
) -> ColumnElement[Any]:
    return func.concat(quoted('"'), value, quoted('"') if end is None else end)


def _has_zeros(stored: Stored) -> bool:
    """Return whether numbers have zeros before them, which JSON does not allow."""
    return bool(getattr(stored.type, "zerofill", False))
