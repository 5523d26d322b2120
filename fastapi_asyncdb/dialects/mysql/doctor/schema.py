"""Checks of the tables of MySQL and MariaDB: engines, keys, indexes, character sets, numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import Connection, text

from fastapi_asyncdb.dialects.doctor import Deployment, Result, fail, listed, ok, warn

# https://dev.mysql.com/doc/refman/8.4/en/information-schema-engines-table.html
_ENGINES = text("""
SELECT t.table_name AS name, t.engine AS engine FROM information_schema.tables t
JOIN information_schema.engines e ON e.engine = t.engine
WHERE t.table_schema = DATABASE() AND t.table_type = 'BASE TABLE'
  AND COALESCE(e.transactions, 'NO') <> 'YES'
ORDER BY t.table_name
""")
_WITHOUT_KEY = text("""
SELECT t.table_name AS name FROM information_schema.tables t
LEFT JOIN information_schema.table_constraints c ON c.table_schema = t.table_schema
  AND c.table_name = t.table_name AND c.constraint_type = 'PRIMARY KEY'
WHERE t.table_schema = DATABASE() AND t.table_type = 'BASE TABLE' AND c.table_name IS NULL
ORDER BY t.table_name
""")
# What is ascii, or bytes, has no other characters.
_CHARACTER_SETS = text("""
SELECT 'the database' AS name, default_character_set_name AS charset
FROM information_schema.schemata
WHERE schema_name = DATABASE() AND default_character_set_name <> 'utf8mb4'
UNION ALL
SELECT CONCAT(table_name, '.', column_name), character_set_name FROM information_schema.columns
WHERE table_schema = DATABASE() AND character_set_name NOT IN ('utf8mb4', 'ascii', 'binary')
""")
_INDEXES = text("""
SELECT table_name AS of_table, index_name AS name, non_unique, index_type AS kind,
  column_name AS of_column, sub_part AS length, collation AS direction
FROM information_schema.statistics WHERE table_schema = DATABASE()
ORDER BY table_name, index_name, seq_in_index
""")
_COUNTERS = text("""
SELECT t.table_name AS of_table, c.column_name AS of_column, c.data_type AS kind,
  c.column_type AS full_kind, t.auto_increment AS following
FROM information_schema.tables t
JOIN information_schema.columns c ON c.table_schema = t.table_schema AND c.table_name = t.table_name
  AND c.extra LIKE '%auto_increment%'
WHERE t.table_schema = DATABASE() AND t.auto_increment IS NOT NULL
""")
# https://dev.mysql.com/doc/refman/8.4/en/integer-types.html
_BYTES = {"tinyint": 1, "smallint": 2, "mediumint": 3, "int": 4, "bigint": 8}


def engines(connection: Connection, deployment: Deployment) -> Result:
    """Return the tables whose engine has no transactions."""
    found = connection.execute(_ENGINES).all()
    if not found:
        return ok("Each table has an engine with transactions.")
    return fail(
        f"Without transactions: {listed([f'{row.name} ({row.engine})' for row in found])}. What is "
        "written there stays after a rollback.",
        f"ALTER TABLE `{found[0].name}` ENGINE = InnoDB, for each of them.",
    )


def primary_keys(connection: Connection, deployment: Deployment) -> Result:
    """Return the tables that have no primary key."""
    found = connection.execute(_WITHOUT_KEY).scalars().all()
    if not found:
        return ok("Each table has a primary key.")
    return warn(
        f"Without a primary key: {listed(found)}.",
        "Add one: a replica looks through the whole table for each row that is changed, a Galera "
        "cluster refuses deletes, and backfill() needs one.",
    )


def character_set(connection: Connection, deployment: Deployment) -> Result:
    """Return what cannot store every character."""
    found = connection.execute(_CHARACTER_SETS).all()
    if not found:
        return ok("The database and its columns have utf8mb4.")
    return warn(
        f"Not every character fits: {listed([f'{row.name} ({row.charset})' for row in found])}.",
        "An emoji there is an error. ALTER DATABASE ... CHARACTER SET utf8mb4 for new tables; "
        "ALTER TABLE ... CONVERT TO CHARACTER SET utf8mb4 copies a table that exists.",
    )


class Index(NamedTuple):
    """An index of a table."""

    table: str
    name: str
    unique: bool
    kind: str
    parts: tuple[tuple[Any, ...], ...]
    """The columns, each with its length and direction."""


def duplicate_indexes(connection: Connection, deployment: Deployment) -> Result:
    """Return the indexes whose work another one does."""
    found = list(redundant(_indexes(connection.execute(_INDEXES).all())))
    if not found:
        return ok("No index is redundant.")
    names = listed([f"{each.table}.{each.name} (as {other.name})" for each, other in found])
    first, _ = found[0]
    return warn(
        f"Redundant indexes: {names}.",
        f"Each write updates them. DROP INDEX `{first.name}` ON `{first.table}`, and the line in the "
        "models.",
    )


def _indexes(rows: Iterable[Any]) -> Iterator[Index]:
    for (table, name), group in groupby(rows, key=lambda row: (row.of_table, row.name)):
        columns = list(group)
        parts = tuple((row.of_column, row.length, row.direction) for row in columns)
        yield Index(table, name, not columns[0].non_unique, columns[0].kind, parts)


def redundant(indexes: Iterable[Index]) -> Iterator[tuple[Index, Index]]:
    """Yield indexes with the one that does their work: that begins with the same columns."""
    for _, group in groupby(indexes, key=lambda index: index.table):
        # Expressions have no column.
        known = [index for index in group if all(part[0] for part in index.parts)]
        for index in known:
            other = next((each for each in known if _serves(each, index)), None)
            if other is not None:
                yield index, other


def _serves(other: Index, index: Index) -> bool:
    if other.name == index.name or other.kind != index.kind or index.name == "PRIMARY":
        return False
    if other.parts == index.parts:
        # Of two equal ones the primary key stays, then the unique one, then the first by name.
        return _rank(other) < _rank(index)
    begins = other.parts[: len(index.parts)] == index.parts
    return begins and index.kind == "BTREE" and not index.unique


def _rank(index: Index) -> tuple[bool, bool, str]:
    return index.name != "PRIMARY", not index.unique, index.name


def auto_increments(connection: Connection, deployment: Deployment) -> Result:
    """Return the counters that have used up most of the numbers of their columns."""
    limits = deployment.thresholds
    used = {
        f"{row.of_table}.{row.of_column}": (int(row.following) - 1)
        / _largest(row.kind, row.full_kind)
        for row in connection.execute(_COUNTERS).all()
        if row.kind in _BYTES
    }
    found = sorted(
        ((share, name) for name, share in used.items() if share >= limits.sequence), reverse=True
    )
    if not found:
        return ok(f"No counter has used {limits.sequence:.0%} of its numbers.")
    result = fail if found[0][0] >= limits.sequence_end else warn
    return result(
        f"Numbers that run out: {listed([f'{name} ({share:.0%})' for share, name in found])}.",
        "At the end each INSERT fails. Make the column BIGINT, with the foreign keys that refer to it; "
        "on a large table by gh-ost or pt-online-schema-change, since ALTER TABLE blocks writes.",
    )


def _largest(kind: str, full_kind: str) -> int:
    bits = 8 * _BYTES[kind] - ("unsigned" not in full_kind.lower())
    return (1 << bits) - 1
