"""The statement of one page: with its ordering, its limit, and the values of its keys in each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from sqlalchemy import Column, ColumnElement, Select, and_, func, inspect
from sqlalchemy.sql.selectable import FromClause, Subquery

from fastapi_asyncdb.data.pages.keyset import Criterion
from fastapi_asyncdb.data.pages.limited import limited
from fastapi_asyncdb.data.pages.ordering import OrderKey, order_keys, places_nulls, tie_breakers
from fastapi_asyncdb.data.pages.selects import (
    bare,
    entity_of,
    froms,
    groups,
    has_joins,
    has_outer_join,
    is_distinct,
    multiplies,
    primary_key,
    reading,
    tables,
)
from fastapi_asyncdb.dialects.backend import Backend


class Source:
    """A statement that is paged, and what follows from its FROM clause.

    A join along a collection repeats the entity in several rows. Then the page is made of primary keys,
    grouped, in a subquery, which the statement is joined to.

    Args:
        statement: The statement.
        backend: The database; ``None`` for an unknown one.
        reads: What is read of each row instead of the entity.
        finds_first: Whether the rows of the page are found before that is computed.

    Attributes:
        entity: The only entity that the statement selects, or ``None``.
        froms: The FROM clause.
        repeats: Whether the rows repeat the entity.
        is_plain: Whether each row is one of the entity, and nothing is joined to it.
    """

    def __init__(
        self,
        statement: Select[Any],
        backend: Backend | None = None,
        *,
        reads: Sequence[ColumnElement[Any]] = (),
        finds_first: bool = False,
    ) -> None:
        self.statement = statement
        self._reads = reads
        self._finds_first = finds_first
        self._exactly = None if backend is None else backend.exactly
        self._has_nulls = backend is None or backend.orders_nulls
        self.entity = entity_of(statement)
        self.froms: Sequence[FromClause] = froms(statement, self.entity)
        combined = bool(groups(statement)) or is_distinct(statement)
        is_entity = self.entity is not None and not combined
        self.repeats = is_entity and multiplies(self.froms, self.entity)
        self.is_plain = is_entity and not self.repeats and not has_joins(statement)

    @cached_property
    def columns(self) -> list[Any]:
        """The entities and columns that the statement selects, as SQLAlchemy describes them."""
        columns: list[Any] = self.statement.column_descriptions
        return columns

    @property
    def names(self) -> list[str]:
        """The names of what the statement selects."""
        if self.entity is not None:
            return [inspect(self.entity).mapper.class_.__name__]
        return [str(column["name"]) for column in self.columns]

    @property
    def width(self) -> int:
        """The number of columns of an item: one if it is an object or a value, instead of a row."""
        if self._reads:
            return len(self._reads)
        return 1 if self.entity is not None else len(self.columns)

    def reading(self, statement: Select[Any]) -> Select[Any]:
        """Return a statement of this source as it is executed, with what is read of each row."""
        if not self._reads:
            return statement
        if self._finds_first:
            return limited(statement, *self._reads)
        return reading(statement, *self._reads, *statement._raw_columns[1:])

    @cached_property
    def keys(self) -> list[OrderKey]:
        """The ordering, which is unique."""
        keys = order_keys(self.statement, self.entity, self.froms, outer=has_outer_join(self.froms))
        if self.repeats:
            keys = [self._of_group(key) for key in keys]
        if self._exactly is None:
            return keys
        return [replace(key, expression=self._exactly(key.expression)) for key in keys]

    def by_offset(self, limit: int, offset: int) -> Select[Any]:
        """Return the statement of the page at an offset."""
        if self.repeats:
            rows = self._grouped(self.keys, None).limit(limit).offset(offset).subquery()
            return self._joined(rows, self.keys)
        if not self._has_nulls and places_nulls(self.statement):
            columns = [key.expression for key in self.keys]
            ordered = self.statement.order_by(None).order_by(*self._ordered(self.keys, columns))
            return ordered.limit(limit).offset(offset)
        more = tie_breakers(self.statement, self.entity, self.froms)
        ordered = self.statement.order_by(*more) if more else self.statement
        return ordered.limit(limit).offset(offset)

    def by_keys(
        self, keys: Sequence[OrderKey], condition: Criterion | None, limit: int
    ) -> Select[Any]:
        """Return the statement of the first rows that fulfil a condition.

        Args:
            keys: The ordering, or its reverse; each row ends with their values.
            condition: A condition about the keys.
            limit: The number of rows.
        """
        if self.repeats:
            rows = self._grouped(keys, condition).limit(limit).subquery()
            return self._joined(rows, keys).add_columns(*_columns(rows, keys))
        columns = _labels(keys)
        statement = self.statement.order_by(None).add_columns(*columns)
        ordered = _where(statement, condition, grouped=bool(groups(statement)))
        return ordered.order_by(*self._ordered(keys, columns)).limit(limit)

    def _of_group(self, key: OrderKey) -> OrderKey:
        """Return the key of all rows of one entity: its own column, or the first of the values."""
        if self._is_own(key):
            return key
        first = func.max if key.descending else func.min
        return replace(key, expression=first(key.expression))

    def _is_own(self, key: OrderKey) -> bool:
        column = key.expression
        return isinstance(column, Column) and inspect(self.entity).selectable.c.contains_column(
            column
        )

    def _grouped(self, keys: Sequence[OrderKey], condition: Criterion | None) -> Select[Any]:
        key = primary_key(self.entity)
        own = [each.expression for each in keys if self._is_own(each)]
        columns = _labels(keys)
        identity = [each.label(f"page_row_{number}") for number, each in enumerate(key)]
        statement = bare(self.statement).with_only_columns(*identity, *columns)
        grouped = statement.group_by(*dict.fromkeys([*key, *own]))
        ordered = grouped.order_by(*self._ordered(keys, columns))
        return _where(ordered, condition, grouped=len(own) < len(keys))

    def _joined(self, rows: Subquery, keys: Sequence[OrderKey]) -> Select[Any]:
        identity = [
            column == rows.c[f"page_row_{number}"]
            for number, column in enumerate(primary_key(self.entity))
        ]
        statement = self._locked().order_by(None).where(and_(*identity))
        return statement.order_by(*self._ordered(keys, _columns(rows, keys)))

    def _ordered(
        self, keys: Sequence[OrderKey], columns: Sequence[ColumnElement[Any]]
    ) -> list[ColumnElement[Any]]:
        pairs = zip(keys, columns, strict=True)
        return [
            clause
            for key, column in pairs
            for clause in key.order(column, has_nulls=self._has_nulls)
        ]

    def _locked(self) -> Select[Any]:
        """Return the statement, which locks rows of its own tables only."""
        lock = self.statement._for_update_arg
        if lock is None or lock.of is not None:
            return self.statement
        # Without OF, PostgreSQL would lock the grouped rows of the subquery too, which it refuses.
        return self.statement.with_for_update(
            of=list(tables(self.froms)),
            nowait=lock.nowait,
            read=lock.read,
            skip_locked=lock.skip_locked,
            key_share=lock.key_share,
        )


def _where(statement: Select[Any], condition: Criterion | None, *, grouped: bool) -> Select[Any]:
    if condition is None:
        return statement
    return statement.having(condition) if grouped else statement.where(condition)


def _labels(keys: Sequence[OrderKey]) -> list[ColumnElement[Any]]:
    return [key.expression.label(f"page_key_{number}") for number, key in enumerate(keys)]


def _columns(rows: Subquery, keys: Sequence[OrderKey]) -> list[ColumnElement[Any]]:
    return [rows.c[f"page_key_{number}"] for number, _ in enumerate(keys)]
