"""The rows of a relationship, as a subquery of each row of the parent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BinaryExpression, Column, ColumnElement, Select, and_, inspect, select
from sqlalchemy.orm import RelationshipProperty, aliased
from sqlalchemy.orm.exc import UnmappedColumnError
from sqlalchemy.sql import operators
from sqlalchemy.sql.util import ClauseAdapter
from sqlalchemy.sql.visitors import iterate

from fastapi_asyncdb.data.answers.related import Related
from fastapi_asyncdb.data.pages.selects import primary_key

Pairs = Sequence[tuple[Any, Any]]


def related_rows(
    parent: Any, relationship: RelationshipProperty[Any], target: Any, item: ColumnElement[Any]
) -> Select[Any]:
    """Return a select of the rows that are related to the current row of the parent.

    Args:
        parent: A mapped class, or an alias of one, in the enclosing statement.
        relationship: One of the parent.
        target: An alias of the related class.
        item: What is selected of each row; it is named ``item``.
    """
    rows = select(item.label("item")).select_from(target)
    try:
        return _by_columns(rows, parent, relationship, target)
    except (_Unusual, UnmappedColumnError):
        return _by_relationship(rows, parent, relationship, target)


def restricted(rows: Select[Any], related: Related | None, target: Any) -> Select[Any]:
    """Return the rows with the conditions, the order and the limit that the schema has for them."""
    if related is None:
        return rows
    if order := related.order(target):
        rows = rows.order_by(None).order_by(*order)
    return rows.where(*related.conditions(target)).limit(related.limit)


class _Unusual(Exception):
    """A relationship is more than columns that are equal to others."""


def _by_columns(
    rows: Select[Any], parent: Any, relationship: RelationshipProperty[Any], target: Any
) -> Select[Any]:
    between = None if relationship.secondary is None else relationship.secondary.alias()
    if between is None:
        _check(relationship.primaryjoin, relationship.local_remote_pairs)
        pairs: Pairs = relationship.local_remote_pairs or ()
        rows = rows.where(*(_of(parent, ours) == _of(target, its) for ours, its in pairs))
    else:
        ours, its = relationship.synchronize_pairs, relationship.secondary_synchronize_pairs or ()
        _check(relationship.primaryjoin, ours)
        _check(relationship.secondaryjoin, its)
        joined = (_of(target, each) == between.c[str(other.key)] for each, other in its)
        rows = rows.join(between, and_(*joined))
        rows = rows.where(*(_of(parent, each) == between.c[str(other.key)] for each, other in ours))
    rows = rows.correlate(parent)
    if not relationship.order_by:
        return rows
    adapters = [ClauseAdapter(inspect(target).selectable)]
    adapters += [] if between is None else [ClauseAdapter(between)]
    order: list[Any] = list(relationship.order_by)
    for adapter in adapters:
        order = [adapter.traverse(each) for each in order]
    return rows.order_by(*order)


def _by_relationship(
    rows: Select[Any], parent: Any, relationship: RelationshipProperty[Any], target: Any
) -> Select[Any]:
    """Join the parent once more, and leave the conditions to SQLAlchemy."""
    again = aliased(inspect(parent).mapper.class_)
    joined = rows.select_from(again).join(getattr(again, relationship.key).of_type(target))
    same = map(operators.eq, primary_key(again), primary_key(parent))
    rows = joined.where(*same).correlate(parent)
    if relationship.order_by:
        adapter = ClauseAdapter(inspect(target).selectable)
        rows = rows.order_by(*(adapter.traverse(each) for each in relationship.order_by))
    return rows


def _check(condition: ColumnElement[bool] | None, pairs: Any) -> None:
    """Check that a condition compares those columns, and nothing else."""
    binary = [each for each in iterate(condition) if isinstance(each, BinaryExpression)]
    plain = all(
        each.operator is operators.eq
        and isinstance(each.left, Column)
        and isinstance(each.right, Column)
        for each in binary
    )
    others = {type(each).__visit_name__ for each in iterate(condition)}
    if not plain or len(binary) != len(pairs or ()) or others - {"binary", "column", "clauselist"}:
        raise _Unusual


def _of(entity: Any, column: Any) -> Any:
    """Return the attribute of a class, or an alias, that a column is mapped to."""
    return getattr(entity, inspect(entity).mapper.get_property_by_column(column).key)
