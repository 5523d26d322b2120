"""PostgreSQL's way in for many rows: COPY into the table, or into a temporary one and on from there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from sqlalchemy import (
    Boolean,
    Connection,
    Executable,
    Integer,
    and_,
    column,
    func,
    literal_column,
    select,
    table,
)
from sqlalchemy.sql.dml import Insert
from sqlalchemy.sql.expression import TableClause

from fastapi_asyncdb.dialects.autocommit import is_in_autocommit
from fastapi_asyncdb.dialects.bulk import Rows, Upsert, UpsertOutcome
from fastapi_asyncdb.dialects.postgresql.copyable import (
    Records,
    may_stage,
    records_of,
    takes_copies,
)
from fastapi_asyncdb.dialects.postgresql.copying import DRIVERS, copy_into

_ORDINAL = "asyncdb_ordinal"
# Fewer rows are inserted in less time: each COPY costs two or three round trips more, a temporary table
# as many again.
COPIES_FROM = 200
STAGES_FROM = 500


class CopyLoader:
    """Copies what COPY stores exactly as INSERT would. Leaves all other rows to INSERT."""

    def insert(self, connection: Connection, rows: Rows) -> bool:
        """Copy the rows into the table, if they are many."""
        if len(rows.values) < COPIES_FROM or connection.dialect.driver not in DRIVERS:
            return False
        records = records_of(rows, connection.dialect, inserted=False)
        if records is None or not takes_copies(connection, rows.table, records.columns):
            return False
        copy_into(connection, rows.table, records.names, records.values)
        return True

    def upsert(
        self, connection: Connection, rows: Rows, statement: Insert, upsert: Upsert, *, report: bool
    ) -> Sequence[UpsertOutcome] | None:
        """Copy the rows into a temporary table, if they are many or their outcomes are needed."""
        many = len(rows.values) >= STAGES_FROM
        if not (report or many) or not _has_transaction(connection):
            return None
        records = records_of(rows, connection.dialect, inserted=True)
        if records is None or not may_stage(connection, rows.table, report=report):
            return None
        staging = _stage(connection, records)
        source = select(*(staging.c[name] for name in records.names)).order_by(staging.c[_ORDINAL])
        keys = [each.key for each in records.columns]
        into = statement.from_select(keys, source)
        outcomes: Sequence[UpsertOutcome] = ()
        if report:
            outcomes = _run_reporting(connection, into, upsert, staging, len(records.values))
        else:
            _run(connection, into)
        connection.exec_driver_sql(f"DROP TABLE {staging.name}")
        return outcomes


def _has_transaction(connection: Connection) -> bool:
    # In autocommit the table would be dropped as soon as it is made.
    return connection.dialect.driver in DRIVERS and not is_in_autocommit(connection)


def _stage(connection: Connection, records: Records) -> TableClause:
    """Create a temporary table with the records, numbered."""
    name = f"asyncdb_{uuid4().hex}"
    dialect = connection.dialect
    quote = dialect.identifier_preparer.quote
    columns = [f"{quote(c.name)} {c.type.compile(dialect)}" for c in records.columns]
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE {name} ({_ORDINAL} INTEGER, {', '.join(columns)}) ON COMMIT DROP"
    )
    numbered = [[number, *values] for number, values in enumerate(records.values)]
    staging = table(
        name, column(_ORDINAL, Integer), *(column(c.name, c.type) for c in records.columns)
    )
    copy_into(connection, staging, [_ORDINAL, *records.names], numbered)
    return staging


def _run(connection: Connection, statement: Executable) -> Any:
    # The name of the temporary table is new each time: nothing of the statement is worth keeping.
    return connection.execute(statement, execution_options={"compiled_cache": None})


def _run_reporting(
    connection: Connection, into: Insert, upsert: Upsert, staging: TableClause, count: int
) -> list[UpsertOutcome]:
    """Run the upsert; return what happened to each row.

    A row that the statement has inserted has no ``xmax``, one that it has updated was locked by it.
    """
    if any(each.name not in staging.c for each in upsert.conflict):
        _run(connection, into)  # the server makes the keys
        return ["created"] * count
    created = literal_column("(xmax = 0)", Boolean).label("created")
    done = into.returning(*upsert.conflict, created).cte("done")
    same_key = and_(*(staging.c[c.name] == done.c[c.key] for c in upsert.conflict))
    has_null = func.num_nulls(*(staging.c[c.name] for c in upsert.conflict)) > 0
    query = (
        select(done.c.created, has_null)
        .select_from(staging.outerjoin(done, same_key))
        .order_by(staging.c[_ORDINAL])
    )
    return ["created" if null else _OUTCOMES[created] for created, null in _run(connection, query)]


_OUTCOMES: dict[bool | None, UpsertOutcome] = {True: "created", False: "updated", None: "skipped"}
