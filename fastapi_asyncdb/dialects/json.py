"""``JsonFormat``: how a database writes JSON that equals Pydantic's."""

from __future__ import annotations

import enum
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

from sqlalchemy import ColumnElement, Select, case, literal_column, null
from sqlalchemy import types as sql
from sqlalchemy.engine.interfaces import Dialect

UNFIT = '{"$unfit":1}'
"""Stands for a value that is not written as Pydantic writes it; no string contains it unescaped."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A column, and how its driver returns the values."""

    column: ColumnElement[Any]
    type: sql.TypeEngine[Any]
    """Its type, without a decorator whose conversion the format knows."""
    utc: bool = False
    """Whether that decorator returns points in time in UTC."""


Writer = tuple[type[Any], str, Callable[[Any, Stored], "ColumnElement[Any] | None"]]
"""A type of SQLAlchemy, the type of Pydantic's core that fits, and a method that returns the JSON."""


@dataclass(frozen=True)
class JsonFormat(ABC):
    """Expressions for JSON, as one database has them: what a ``Backend`` with ``json`` implements.

    The expression for a value is NULL where the value is NULL, and ``UNFIT`` where the database would
    write other JSON than Pydantic. What has no writer is left to Pydantic.
    """

    driver: str = ""
    """SQLAlchemy's name of the driver."""
    reads_json: bool = True
    """Whether SQLAlchemy reads JSON by Python's ``json``, and not by a function of the engine's."""

    names: ClassVar[Sequence[str]]
    """SQLAlchemy's, of the dialects whose variants of a type count."""
    depends_on_server = False
    """Whether only a server that has been connected to says which format there is."""
    computes_first = False
    """Whether it computes what is selected before it sorts rows of several tables and applies LIMIT."""
    max_fields = 50
    """How many fields an object has at most: functions take 100 arguments, two for each field."""
    joining: ClassVar[str | None] = None
    """The function that joins the texts of rows, of any length, in the order of a subquery; or none."""
    writers: ClassVar[Sequence[Writer]]
    """Of those for the type of a column the first counts, so that a subclass comes before its base."""

    def for_dialect(self, dialect: Dialect) -> JsonFormat | None:
        """Return the format for the server and the driver of an engine; ``None`` if there is none."""
        reads_json = getattr(dialect, "_json_deserializer", None) is None
        return _format(type(self), dialect.driver, reads_json)

    def type_of(self, kind: sql.TypeEngine[Any]) -> sql.TypeEngine[Any]:
        """Return the type that a type is on this database; ``NullType`` if that is not clear."""
        variants = [kind._variant_mapping.get(name, kind) for name in self.names]
        return variants[0] if all(each is variants[0] for each in variants) else sql.NullType()

    @abstractmethod
    def object(self, values: Sequence[tuple[str, ColumnElement[Any]]]) -> ColumnElement[Any]:
        """Return a JSON object.

        Raises:
            ValueError: a name is no plain text.
        """

    @abstractmethod
    def array(self, items: Select[Any]) -> ColumnElement[Any]:
        """Return a JSON array of the only column of a select, which is named ``item``."""

    @abstractmethod
    def nested(self, item: Select[Any]) -> ColumnElement[Any]:
        """Return the only value of a select, which is a JSON object."""

    @abstractmethod
    def text(self, expression: ColumnElement[Any]) -> ColumnElement[str]:
        """Return JSON as a text."""

    @abstractmethod
    def constant(self, text: str) -> ColumnElement[Any]:
        """Return JSON by its text.

        Raises:
            ValueError: it has a backslash, or a character that is not printable.
        """

    def leaf(self, kind: str, stored: Stored) -> ColumnElement[Any] | None:
        """Return the JSON of a column, or ``None`` if it cannot be made equal.

        Args:
            kind: The type of Pydantic's core.
            stored: The column.
        """
        if type(stored.type).__module__.partition(".")[0] != "sqlalchemy":
            return None  # it may convert values
        if isinstance(stored.type, sql.JSON) and not self.reads_json:
            return None
        for type_, fitting, write in self.writers:
            if isinstance(stored.type, type_):
                return write(self, stored) if kind == fitting else None
        return None

    def member(self, enumeration: type[enum.Enum], stored: Stored) -> ColumnElement[Any] | None:
        """Return the value of a member, which SQLAlchemy stores by its name, or ``None``."""
        kind, column = stored.type, stored.column
        if not isinstance(kind, sql.Enum) or kind.enum_class is not enumeration:
            return None
        members = _members(kind, enumeration)
        if not members or not all(
            isinstance(each, enum.Enum) and type(each.value) in (str, int) for each in members
        ):
            return None
        pairs = zip(kind.enums, members, strict=True)
        values = {quoted(name): self.constant(dumped(each.value)) for name, each in pairs}
        known: ColumnElement[Any] = case(values, value=self.comparable(column), else_=self.unfit)
        return case((column.is_(None), null()), else_=known)

    def comparable(self, column: ColumnElement[Any]) -> ColumnElement[str]:
        """Return a column as a text that is compared by its characters."""
        return column.cast(sql.Text())

    def guarded(
        self, value: ColumnElement[Any], column: ColumnElement[Any], fits: ColumnElement[bool]
    ) -> ColumnElement[Any]:
        """Return the value where it fits."""
        return case((column.is_(None), null()), (fits, value), else_=self.unfit)

    def optional(self, value: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return a value that may be NULL, for a field that may be None."""
        return value

    def required(self, value: ColumnElement[Any], column: ColumnElement[Any]) -> ColumnElement[Any]:
        """Return the value of a column that may be NULL, for a field that requires one."""
        return case((column.is_(None), self.unfit), else_=value)

    @property
    def unfit(self) -> ColumnElement[Any]:
        """``UNFIT``."""
        return self.constant(UNFIT)


@cache
def _format(cls: type[JsonFormat], driver: str, reads_json: bool) -> JsonFormat:  # noqa: FBT001
    return cls(driver, reads_json)


def number(value: int) -> ColumnElement[int]:
    """Return a constant number, which needs no parameter."""
    return literal_column(str(value), sql.Integer())


def _members(kind: sql.Enum, enumeration: type[enum.Enum]) -> list[enum.Enum]:
    """Return the members in the order of the names by which SQLAlchemy stores them."""
    members = list(enumeration.__members__.values())
    return members if kind.enums == list(enumeration.__members__) else list(enumeration)


def dumped(text: str) -> str:
    """Return a string in JSON."""
    return json.dumps(text, ensure_ascii=False)


def quoted(text: str) -> ColumnElement[str]:
    """Return a constant text.

    Raises:
        ValueError: it has a backslash, or a character that is not printable.
    """
    if "\\" in text or not text.isprintable():
        raise ValueError(f"{text!r} is no plain text")
    escaped = text.replace("'", "''")
    return literal_column(f"'{escaped}'", sql.Text())
