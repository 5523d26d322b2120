"""What pages need to know of a SELECT: its entity, its FROM, whether a join multiplies its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Alias,
    BinaryExpression,
    Column,
    ColumnElement,
    Over,
    Select,
    Table,
    UnaryExpression,
    inspect,
)
from sqlalchemy.orm import Mapper
from sqlalchemy.orm.interfaces import LoaderOption
from sqlalchemy.sql import operators
from sqlalchemy.sql.selectable import FromClause, Join
from sqlalchemy.sql.visitors import iterate

from fastapi_asyncdb.errors import ConfigurationError


def check_select(statement: object) -> None:
    """Refuse what cannot be paged.

    Raises:
        TypeError: the statement is no ``Select``: a union, a text.
        ConfigurationError: the statement has a LIMIT or OFFSET of its own.
    """
    if not isinstance(statement, Select):
        raise TypeError(
            f"A page is made of a select(), and this is a {type(statement).__name__}. Wrap a union as "
            "'rows = union.subquery()', and pass 'select(rows)', or 'select(aliased(User, rows))'."
        )
    if statement._has_row_limiting_clause:
        raise ConfigurationError(
            "The statement has a LIMIT or OFFSET of its own, where the page sets them. Leave it out, or "
            "wrap the statement: 'rows = stmt.subquery()', then 'select(aliased(User, rows))'."
        )


def check_walk(statement: Select[Any]) -> None:
    """Refuse a statement whose rows change when it is asked for those after a position.

    Raises:
        ConfigurationError: it has DISTINCT ON, or a window function.
    """
    expressions = (*statement._raw_columns, *statement._order_by_clauses)
    # An extension from SQLAlchemy 2.1 on: select(User).ext(distinct_on(User.name)).
    extended = getattr(statement, "_pre_columns_clause", None) is not None
    if statement._distinct_on or extended or any(map(_has_window, expressions)):
        raise ConfigurationError(
            "The statement has DISTINCT ON or a window function, which a condition on its rows would "
            "change. Wrap it: 'rows = stmt.subquery()', then 'select(rows)' or "
            "'select(aliased(User, rows))'."
        )


def _has_window(expression: Any) -> bool:
    while isinstance(expression, UnaryExpression):
        expression = expression.element
    if isinstance(expression, FromClause | Column):
        return False
    return any(isinstance(part, Over) for part in iterate(expression))


def bare(statement: Select[Any]) -> Select[Any]:
    """Return a copy without ORDER BY, FOR UPDATE and loader options; criteria stay."""
    copy = statement.order_by(None)
    copy._for_update_arg = None
    copy._with_options = _criteria(statement)
    return copy


def reading(statement: Select[Any], *columns: Any) -> Select[Any]:
    """Return a copy that selects columns of the same rows, without loader options; criteria stay."""
    copy = statement.with_only_columns(*columns, maintain_column_froms=True)
    copy._with_options = _criteria(statement)
    return copy  # pyright: ignore[reportReturnType]


def _criteria(statement: Select[Any]) -> tuple[Any, ...]:
    options = statement._with_options
    return tuple(option for option in options if not isinstance(option, LoaderOption))


def groups(statement: Select[Any]) -> Sequence[ColumnElement[Any]]:
    """Return the expressions of GROUP BY."""
    return statement._group_by_clauses


def is_distinct(statement: Select[Any]) -> bool:
    """Return whether the statement has DISTINCT."""
    return statement._distinct


def entity_of(statement: Select[Any]) -> Any:
    """Return the mapped class, or its alias, if a statement selects one entity and nothing else."""
    columns = statement._raw_columns
    return entity_in(columns[0]) if len(columns) == 1 else None


def entity_in(column: Any) -> Any:
    """Return the mapped class, or its alias, that a selected column is; ``None`` if it is another."""
    # What Select.column_descriptions says too, in a tenth of a page's time.
    if isinstance(column, FromClause) and "parententity" in column._annotations:
        return column._annotations["parententity"].entity
    return None


def key_columns(statement: Select[Any]) -> Iterator[Any]:
    """Yield what a statement selects, of each entity the primary key."""
    for column in statement._raw_columns:
        entity = entity_in(column)
        yield from (column,) if entity is None else primary_key(entity)


def primary_key(entity: Any) -> list[ColumnElement[Any]]:
    """Return the primary key of a mapped class, or of an alias of one."""
    return [getattr(entity, name).expression for name in _key_names(inspect(entity).mapper)]


@lru_cache(maxsize=1024)
def _key_names(mapper: Mapper[Any]) -> tuple[str, ...]:
    return tuple(mapper.get_property_by_column(column).key for column in mapper.primary_key)


def froms(statement: Select[Any], entity: Any) -> Sequence[FromClause]:
    """Return the FROM clause: tables, aliases, joins.

    SQLAlchemy resolves joins only while it compiles, which a statement without any is spared.

    Args:
        statement: The statement.
        entity: The only entity that it selects, or ``None``.
    """
    if has_joins(statement):
        return _final_froms(statement)
    selected: Sequence[FromClause] = (
        statement.columns_clause_froms if entity is None else [inspect(entity).selectable]
    )
    where = statement.whereclause
    if where is not None and set(where._from_objects) - set(selected):
        return _final_froms(statement)
    return selected


def has_joins(statement: Select[Any]) -> bool:
    """Return whether the statement has ``join()`` or ``select_from()``."""
    return bool(statement._setup_joins or statement._from_obj)


def _final_froms(statement: Select[Any]) -> Sequence[FromClause]:
    # Without entities, joined loading joins nothing to them.
    return bare(statement).with_only_columns(*key_columns(statement)).get_final_froms()


def tables(clauses: Sequence[FromClause]) -> Iterator[FromClause]:
    """Yield the tables and aliases of a FROM clause, those inside of joins included."""
    for clause in clauses:
        if isinstance(clause, Join):
            yield from tables((clause.left, clause.right))
        else:
            yield clause


def is_table(clause: FromClause) -> bool:
    """Return whether it is a table or an alias of one: a subquery's rows may repeat a primary key."""
    return isinstance(clause.element if isinstance(clause, Alias) else clause, Table)


def has_outer_join(clauses: Sequence[FromClause]) -> bool:
    """Return whether a column may be NULL although its table says NOT NULL."""
    return any(
        isinstance(clause, Join)
        and (clause.isouter or clause.full or has_outer_join((clause.left, clause.right)))
        for clause in clauses
    )


def may_be_none(statement: Select[Any], entity: type[Any]) -> bool:
    """Return whether an outer join may make rows without the entity that a statement selects."""
    given, own = statement._from_obj, _leftmost(inspect(entity).selectable)
    joins = [flags for *_, flags in statement._setup_joins]
    if any(flags["full"] for flags in joins) or any(getattr(each, "full", False) for each in given):
        return True
    if not given or own in map(_leftmost, given):
        return False
    return any(flags["isouter"] for flags in joins) or has_outer_join(given)


def multiplies(clauses: Sequence[FromClause], entity: Any) -> bool:
    """Return whether one row of an entity may become several: a join along a collection.

    What is joined to one, such as the user in ``select(User).select_from(Post).join(Post.user)``, is
    repeated itself.
    """
    first, *others = clauses
    starts = _leftmost(first) == _leftmost(inspect(entity).selectable)
    return bool(others) or not starts or _has_collection(first)


def _leftmost(clause: FromClause) -> FromClause:
    while isinstance(clause, Join):
        clause = clause.left
    return clause


def _has_collection(clause: FromClause) -> bool:
    return isinstance(clause, Join) and (_has_collection(clause.left) or not _is_to_one(clause))


def _is_to_one(join: Join) -> bool:
    """Return whether ON fixes a unique key of the right side, so that it has one row at most."""
    if join.full or not is_table(join.right) or join.onclause is None:
        return False
    fixed = set(_fixed_columns(join.onclause, join.right))
    key = set(join.right.primary_key)
    return (bool(key) and key <= fixed) or any(_is_unique(column) for column in fixed)


def _fixed_columns(on: ColumnElement[Any], right: FromClause) -> Iterator[Any]:
    """Yield the columns of the right side that ON equates with something of the left side."""
    if getattr(on, "operator", None) is operators.and_:
        for clause in getattr(on, "clauses", ()):
            yield from _fixed_columns(clause, right)
    elif isinstance(on, BinaryExpression) and on.operator is operators.eq:
        for column, other in ((on.left, on.right), (on.right, on.left)):
            if is_of(column, right) and not any(is_of(part, right) for part in iterate(other)):
                yield column


def is_of(column: Any, table: FromClause) -> bool:
    """Return whether it is a column of the table."""
    owner = getattr(column, "table", None)
    # The second makes a set of all columns each time.
    return owner is not None and (owner is table or table.c.contains_column(column))


def _is_unique(column: Any) -> bool:
    return any(getattr(base, "unique", None) for base in column.base_columns)
