"""What created a database of MySQL or MariaDB, read from the server and run again for another one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

Rows = Callable[[str], Awaitable[list[Any]]]
"""Runs a statement, and returns its rows."""

SESSION = (
    "SET SESSION foreign_key_checks = 0, unique_checks = 0, sql_mode = 'NO_AUTO_VALUE_ON_ZERO', "
    "group_concat_max_len = 1000000"
)
"""Before all others: tables come in any order, rows are as they were, names are in backticks."""
_SEQUENCE = "SEQUENCE"
# Not the generated ones, which cannot be inserted.
_COLUMNS = """\
SELECT GROUP_CONCAT('`', REPLACE(column_name, '`', '``'), '`' ORDER BY ordinal_position)
FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = '{table}'
AND COALESCE(generation_expression, '') = ''"""
_ROUTINES = """\
SELECT routine_type, routine_name FROM information_schema.routines
WHERE routine_schema = DATABASE()"""


@dataclass(frozen=True, slots=True)
class Schema:
    """The statements that made a database, in the order in which they are run again."""

    name: str
    """Of the database."""
    options: str
    """The character set and the collation."""
    before: list[str]
    """Sequences and tables, without foreign keys being checked."""
    rows: list[str]
    """Copies the rows, by their names in the database that they come from."""
    after: list[str]
    """Routines, views and triggers: a trigger would run for the rows."""

    def statements(self, name: str) -> Iterator[str]:
        """Yield the statements that make another database like this."""
        yield SESSION
        yield f"CREATE DATABASE {quoted(name)} {self.options}"
        yield f"USE {quoted(name)}"
        # Some of them name the database itself: views, and columns whose default is of a sequence.
        yield from (each.replace(f"{quoted(self.name)}.", "") for each in self.before)
        yield from self.rows
        yield from (each.replace(f"{quoted(self.name)}.", "") for each in self.after)


async def read_schema(name: str, rows: Rows) -> Schema:
    """Read what created a database. Events are left out: a test has no use for them.

    Args:
        name: Of the database.
        rows: Runs all statements on the same connection.
    """
    await rows(SESSION)
    await rows(f"USE {quoted(name)}")
    kinds = dict(await rows("SHOW FULL TABLES"))
    tables = [table for table, kind in kinds.items() if kind not in ("VIEW", _SEQUENCE)]
    views = [table for table, kind in kinds.items() if kind == "VIEW"]
    sequences = [table for table, kind in kinds.items() if kind == _SEQUENCE]
    return Schema(
        name,
        await read_options(rows),
        [line for each in sequences for line in await _sequence(each, rows)]
        + [(await rows(f"SHOW CREATE TABLE {quoted(each)}"))[0][1] for each in tables],
        [line for each in tables for line in await _rows_of(name, each, rows)],
        [*await _routines(rows), *await _views(views, rows), *await _triggers(rows)],
    )


async def read_options(rows: Rows) -> str:
    """Return the character set and the collation of the connection's database."""
    [(characters, collation)] = await rows("SELECT @@character_set_database, @@collation_database")
    return f"CHARACTER SET {characters} COLLATE {collation}"


async def _sequence(name: str, rows: Rows) -> list[str]:
    """https://mariadb.com/docs/server/reference/sql-structure/sequences/create-sequence."""
    [(_, create)] = await rows(f"SHOW CREATE SEQUENCE {quoted(name)}")
    [(value,)] = await rows(f"SELECT next_not_cached_value FROM {quoted(name)}")  # noqa: S608
    return [create, f"DO SETVAL({quoted(name)}, {value}, 0)"]


async def _rows_of(database: str, table: str, rows: Rows) -> list[str]:
    source = quoted(database, table)
    if not await rows(f"SELECT 1 FROM {source} LIMIT 1"):  # noqa: S608
        return []
    [(columns,)] = await rows(_COLUMNS.format(table=table.replace("'", "''")))
    return [f"INSERT INTO {quoted(table)} ({columns}) SELECT {columns} FROM {source}"]  # noqa: S608


async def _routines(rows: Rows) -> list[str]:
    shown = [
        (await rows(f"SHOW CREATE {kind} {quoted(name)}"))[0]
        for kind, name in await rows(_ROUTINES)
    ]
    return [line for _, mode, create, *_ in shown for line in (_set_mode(mode), create)]


async def _views(names: list[str], rows: Rows) -> list[str]:
    """Return them in the order in which they select from each other."""
    created = {name: (await rows(f"SHOW CREATE VIEW {quoted(name)}"))[0][1] for name in names}
    uses = {
        name: {other for other in names if other != name and quoted(other) in create}
        for name, create in created.items()
    }
    return [created[name] for name in TopologicalSorter(uses).static_order()]


async def _triggers(rows: Rows) -> list[str]:
    names = [name for name, *_ in await rows("SHOW TRIGGERS")]
    shown = [(await rows(f"SHOW CREATE TRIGGER {quoted(name)}"))[0] for name in names]
    return [line for _, mode, create, *_ in shown for line in (_set_mode(mode), create)]


def _set_mode(mode: str) -> str:
    """Return the statement by which code means what it did when it was created."""
    return f"SET SESSION sql_mode = '{mode}'"


def quoted(*names: str) -> str:
    """Return a name, with those that it is in before it."""
    return ".".join(f"`{name.replace('`', '``')}`" for name in names)
