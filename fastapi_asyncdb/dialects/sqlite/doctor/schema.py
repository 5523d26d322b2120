"""Checks of SQLite's indexes: foreign keys without one, and indexes that are equal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from sqlalchemy import Connection, text

from fastapi_asyncdb.dialects.doctor import Deployment, Result, listed, ok, warn

# https://sqlite.org/pragma.html#pragfunc
_FOREIGN_KEYS = text("""
SELECT t.name AS referring, k.id, k."from" AS of_column
FROM sqlite_schema t JOIN pragma_foreign_key_list(t.name) k
WHERE t.type = 'table' ORDER BY t.name, k.id, k.seq
""")
# An index that holds a part of the rows does not serve. The name of an expression is NULL.
_INDEXES = text("""
SELECT t.name AS owner, i.name AS name, i."unique" AS is_unique, i.origin,
  c.name AS of_column, c."desc" AS direction, c.coll AS collation
FROM sqlite_schema t JOIN pragma_index_list(t.name) i JOIN pragma_index_xinfo(i.name) c
WHERE t.type = 'table' AND NOT i.partial AND c.key ORDER BY t.name, i.name, c.seqno
""")
# The rowid of a table is an index of its own, if the primary key is an INTEGER.
_ROWIDS = text("""
SELECT t.name AS owner, max(c.name) AS of_column
FROM sqlite_schema t JOIN pragma_table_info(t.name) c
WHERE t.type = 'table' AND c.pk GROUP BY t.name HAVING count(*) = 1 AND upper(max(c.type)) = 'INTEGER'
""")


def foreign_keys(connection: Connection, deployment: Deployment) -> Result:
    """Return the foreign keys without an index: https://sqlite.org/foreignkeys.html#fk_indexes."""
    indexed = list(_indexed(connection))
    keys: dict[tuple[str, int], list[str]] = defaultdict(list)
    for row in connection.execute(_FOREIGN_KEYS):
        keys[row.referring, row.id].append(row.of_column)
    found = [
        (table, columns)
        for (table, _), columns in keys.items()
        if not any(owner == table and _serves(index, columns) for owner, index in indexed)
    ]
    if not found:
        return ok("Each foreign key has an index.")
    names = [f"{table} ({', '.join(columns)})" for table, columns in found]
    return warn(
        f"No index for the foreign key of {listed(names)}.",
        "A DELETE or UPDATE of a row that is referred to reads the whole table, and so do joins: "
        f"CREATE INDEX ... ON {names[0]}.",
    )


def _serves(index: list[str], columns: list[str]) -> bool:
    return {name.lower() for name in index[: len(columns)]} == {name.lower() for name in columns}


def _indexed(connection: Connection) -> Iterator[tuple[str, list[str]]]:
    """Yield the table and the columns of each index, that of a rowid included."""
    columns: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in connection.execute(_INDEXES):
        columns[row.owner, row.name].append(row.of_column or "")
    yield from ((owner, names) for (owner, _), names in columns.items())
    yield from ((row.owner, [row.of_column]) for row in connection.execute(_ROWIDS))


def duplicate_indexes(connection: Connection, deployment: Deployment) -> Result:
    """Return the indexes whose work another one does."""
    found = list(_duplicates(connection))
    if not found:
        return ok("No two indexes are equal.")
    return warn(
        f"Two indexes do the same: {listed([f'{name} and {other}' for name, other in found])}.",
        f"Each write maintains both: DROP INDEX {found[0][0]}.",
    )


def _duplicates(connection: Connection) -> Iterator[tuple[str, str]]:
    """Yield what may be dropped with the index that stays: of a constraint, or unique, or the first."""
    keys: dict[tuple[str, str, bool, bool], list[tuple[str, int, str]]] = defaultdict(list)
    for row in connection.execute(_INDEXES):
        index = (row.owner, row.name, row.origin == "c", bool(row.is_unique))
        keys[index].append((row.of_column, row.direction, row.collation))
    kept: dict[object, tuple[str, bool]] = {}
    for (owner, name, droppable, unique), columns in sorted(keys.items(), key=_strongest_first):
        if any(column is None for column, _, _ in columns):
            continue  # an expression, of which SQLite tells nothing
        other = kept.setdefault((owner, tuple(columns)), (name, unique))
        if other[0] != name and droppable and (other[1] or not unique):
            yield name, other[0]


def _strongest_first(item: tuple[tuple[str, str, bool, bool], object]) -> tuple[bool, bool, str]:
    (_, name, droppable, unique), _ = item
    return droppable, not unique, name
