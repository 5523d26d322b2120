"""``limited``: the rows of a LIMIT are found first, and what is read of them is computed then."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import ColumnElement, Label, Select, UnaryExpression, select

from fastapi_asyncdb.data.pages.selects import (
    entity_in,
    froms,
    has_joins,
    primary_key,
    reading,
)

_NAME = "answer_{}"


def limited(statement: Select[Any], *columns: Any) -> Select[Any]:
    """Return a copy that selects columns of the same rows, which a subquery finds by their keys.

    MariaDB computes what is selected before it sorts rows of several tables: for all rows, and not only
    for those that LIMIT leaves.

    Args:
        statement: Selects a mapped class, and more columns after it, which the copy selects as well.
        columns: What it selects instead of the class.
    """
    first, *others = statement._raw_columns
    entity, more, order = entity_in(first), cast(list[Any], others), statement._order_by_clauses
    by: list[Any] = [_bare(clause) for clause in order]
    if not _sorts_several(statement, entity) or not all(isinstance(x, ColumnElement) for x in by):
        return reading(statement, *columns, *more)
    key = primary_key(entity)
    parts = [each.label(_NAME.format(n)) for n, each in enumerate([*key, *more, *by])]
    found = [*reading(statement, *parts).subquery("answer_rows").c]
    read = found[len(key) : len(key) + len(more)]
    places = found[len(key) + len(more) :]
    copy: Any = select(*columns, *read).select_from(entity)
    copy = copy.where(*(each == its for each, its in zip(key, found, strict=False)))
    copy._with_options = reading(statement)._with_options
    copy._execution_options = statement._execution_options
    ordered: Select[Any] = copy.order_by(*map(_moved, order, places))
    return ordered


def _sorts_several(statement: Select[Any], entity: Any) -> bool:
    """Return whether rows of several tables are sorted, of which LIMIT leaves some."""
    if not statement._has_row_limiting_clause or statement._for_update_arg is not None:
        return False
    return has_joins(statement) or len(froms(statement, entity)) > 1


def _bare(clause: Any) -> Any:
    """Return what a clause of ORDER BY orders by."""
    while _is_around(clause):
        clause = clause.element
    return clause


def _moved(clause: Any, place: ColumnElement[Any]) -> Any:
    """Return a clause of ORDER BY for another expression with the same values."""
    if not _is_around(clause):
        return place
    inner = _moved(clause.element, place)
    is_direction = isinstance(clause, UnaryExpression)
    return UnaryExpression(inner, modifier=clause.modifier) if is_direction else inner


def _is_around(clause: Any) -> bool:
    if isinstance(clause, UnaryExpression):
        return clause.modifier is not None
    return isinstance(clause, Label) or clause.__visit_name__ == "label_reference"
