"""The ordering of a page: the keys of ORDER BY, and what makes them unique."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Column, ColumnElement, Label, Select, Table, UnaryExpression
from sqlalchemy.sql import operators
from sqlalchemy.sql.selectable import FromClause
from sqlalchemy.sql.visitors import iterate

from fastapi_asyncdb.data.pages.selects import (
    groups,
    is_distinct,
    is_of,
    is_table,
    key_columns,
    primary_key,
    tables,
)
from fastapi_asyncdb.errors import ConfigurationError

_NULLS = {operators.nulls_first_op: True, operators.nulls_last_op: False}
_DIRECTIONS = {operators.desc_op: True, operators.asc_op: False}


@dataclass(frozen=True, slots=True)
class OrderKey:
    """One expression of ORDER BY."""

    expression: ColumnElement[Any]
    descending: bool = False
    nulls_first: bool | None = None
    """As the statement says; ``None`` is the database's default."""
    nullable: bool = True

    def reverse(self) -> OrderKey:
        """Return the key of the opposite order."""
        nulls_first = None if self.nulls_first is None else not self.nulls_first
        return replace(self, descending=not self.descending, nulls_first=nulls_first)

    def order(
        self, column: ColumnElement[Any], *, has_nulls: bool = True
    ) -> list[ColumnElement[Any]]:
        """Return what orders by the key.

        Args:
            column: What the statement has it as.
            has_nulls: Whether the database has NULLS FIRST; if not, NULL is the smallest value.
        """
        ordered: ColumnElement[Any] = column.desc() if self.descending else column
        if self.nulls_first is None or (not has_nulls and self.nulls_first != self.descending):
            return [ordered]
        if not has_nulls:
            null = column.is_(None)
            return [null.desc() if self.nulls_first else null, ordered]
        return [ordered.nulls_first() if self.nulls_first else ordered.nulls_last()]


def order_keys(
    statement: Select[Any], entity: Any, clauses: Sequence[FromClause], *, outer: bool
) -> list[OrderKey]:
    """Return the keys of ORDER BY, followed by those that make the order unique.

    Args:
        statement: The statement.
        entity: The only entity that it selects, or ``None``.
        clauses: Its FROM clause.
        outer: Whether an outer join may make any column NULL.

    Raises:
        ConfigurationError: a key is a text, or a name that the statement does not select; it has
            DISTINCT, and a key is made of what it does not select.
    """
    # By hash, which SQLAlchemy keeps for the same column; comparing with == would make SQL.
    keys: dict[int, OrderKey] = {}
    for clause in statement._order_by_clauses:
        key = _parse(clause, statement)
        keys.setdefault(hash(key.expression), key)
    if not any(_is_unique_alone(key.expression, clauses) for key in keys.values()):
        for expression in _tie_breakers(statement, entity, clauses):
            keys.setdefault(hash(expression), OrderKey(expression))
    if is_distinct(statement):
        _check_selected(keys.values(), statement)
    return [
        OrderKey(
            key.expression, key.descending, key.nulls_first, outer or _is_nullable(key.expression)
        )
        for key in keys.values()
    ]


def places_nulls(statement: Select[Any]) -> bool:
    """Return whether ORDER BY has NULLS FIRST or NULLS LAST."""
    return any(
        isinstance(part, UnaryExpression) and part.modifier in _NULLS
        for clause in statement._order_by_clauses
        for part in iterate(clause)
    )


def tie_breakers(
    statement: Select[Any], entity: Any, clauses: Sequence[FromClause]
) -> list[ColumnElement[Any]]:
    """Return what a page by offset orders by in addition."""
    ordered = list(map(_without_modifiers, statement._order_by_clauses))
    if any(_is_unique_alone(expression, clauses) for expression in ordered):
        return []
    known = set(map(hash, ordered))
    return [each for each in _tie_breakers(statement, entity, clauses) if hash(each) not in known]


def _tie_breakers(
    statement: Select[Any], entity: Any, clauses: Sequence[FromClause]
) -> Iterator[ColumnElement[Any]]:
    """Yield what differs in any two rows: a primary key, the groups, or all that is selected."""
    if groups(statement):
        yield from map(_without_label, groups(statement))
    elif entity is not None:
        yield from primary_key(entity)
    elif is_distinct(statement):
        yield from map(_without_label, key_columns(statement))
    else:
        for table in tables(clauses):
            key = list(table.primary_key) if is_table(table) else ()
            yield from key or (each for each in statement.selected_columns if is_of(each, table))


def _is_unique_alone(expression: ColumnElement[Any], clauses: Sequence[FromClause]) -> bool:
    """Return whether no two rows have the same value: a unique column of the only table."""
    match clauses:
        case [Table() as table] if isinstance(expression, Column):
            is_key = expression.primary_key and len(table.primary_key) == 1
            is_unique = is_key or (expression.unique and not expression.nullable)
            return bool(is_unique) and is_of(expression, table)
        case _:
            return False


def _is_nullable(expression: ColumnElement[Any]) -> bool:
    if not isinstance(expression, Column) or expression.nullable:
        return True
    return expression.table is None or not is_table(expression.table)


def _without_modifiers(clause: Any) -> Any:
    while isinstance(clause, UnaryExpression):
        clause = clause.element
    return clause


def _parse(clause: Any, statement: Select[Any]) -> OrderKey:
    """Take ``nulls_last(desc(label))`` apart."""
    descending, nulls_first = False, None
    while not isinstance(clause, Column):
        if clause.__visit_name__ == "textual_label_reference":
            clause = _selected(str(clause.element), statement)
            continue
        if isinstance(clause, UnaryExpression) and clause.modifier in _NULLS:
            nulls_first = _NULLS[clause.modifier]
        elif isinstance(clause, UnaryExpression) and clause.modifier in _DIRECTIONS:
            descending = _DIRECTIONS[clause.modifier]
        elif not isinstance(clause, Label) and clause.__visit_name__ != "label_reference":
            break
        clause = clause.element
    if not isinstance(clause, ColumnElement):
        raise ConfigurationError(
            f"A page cannot be ordered by a {type(clause).__name__}. Order by columns or "
            "expressions, such as 'User.name.desc()'."
        )
    return OrderKey(clause, descending, nulls_first)


def _selected(name: str, statement: Select[Any]) -> Any:
    try:
        return statement.selected_columns[name]
    except KeyError:
        raise ConfigurationError(
            f"The statement is ordered by {name!r}, and selects nothing of that name. Order by the "
            "column itself: 'User.name.desc()'."
        ) from None


def _check_selected(keys: Iterable[OrderKey], statement: Select[Any]) -> None:
    selected = set(map(_without_label, statement.selected_columns))
    for key in keys:
        parts = iterate(key.expression)
        if any(isinstance(part, Column) and part not in selected for part in parts):
            raise ConfigurationError(
                f"The statement has DISTINCT, and is ordered by {key.expression}, which it does not "
                "select: rows with the same values have no order. Select it as well."
            )


def _without_label(expression: ColumnElement[Any]) -> ColumnElement[Any]:
    while isinstance(expression, Label):
        expression = expression.element
    return expression
