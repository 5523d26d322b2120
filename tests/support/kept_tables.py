"""A PostgreSQL database of one worker, whose tables are kept between tests that want the same ones.

To drop and create a few tables costs more than most tests.
"""

from __future__ import annotations

import psycopg
from psycopg import sql
from psycopg.rows import scalar_row
from sqlalchemy import MetaData, create_engine

# What tests may have changed of the schema: each change of an object makes a new version of a row.
_VERSIONS = """
SELECT md5(string_agg(version, ' ' ORDER BY version)) FROM (
    SELECT 'class', oid, xmin FROM pg_class WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT 'type', oid, xmin FROM pg_type WHERE typnamespace = 'public'::regnamespace
    UNION ALL SELECT 'function', oid, xmin FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT 'constraint', oid, xmin FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT 'column', attrelid, pg_attribute.xmin FROM pg_attribute
        JOIN pg_class ON attrelid = pg_class.oid WHERE relnamespace = 'public'::regnamespace
    UNION ALL SELECT 'default', oid, xmin FROM pg_attrdef
    UNION ALL SELECT 'trigger', oid, xmin FROM pg_trigger
    UNION ALL SELECT 'policy', oid, xmin FROM pg_policy
    UNION ALL SELECT 'schema', oid, xmin FROM pg_namespace WHERE nspname NOT LIKE 'pg_%'
) AS object (kind, oid, xmin), LATERAL concat(kind, oid, '.', xmin) AS version
"""


def merged(*parts: MetaData) -> MetaData:
    """Return all tables of several collections in one."""
    tables = MetaData()
    for table in (table for part in parts for table in part.sorted_tables):
        table.to_metadata(tables)
    return tables


class KeptTables:
    """Empties a database, and creates tables in it that the next test may use too.

    Args:
        url: Of the database.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = psycopg.connect(url, autocommit=True, row_factory=scalar_row)
        self._tables: MetaData | None = None
        self._versions: str | None = None

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def reset(self, tables: MetaData | None) -> None:
        """Leave nothing in the database but these tables, which are empty."""
        try:
            self._reset(tables)
        except psycopg.OperationalError:  # a test has ended all connections
            self._connection.close()
            self._connection = psycopg.connect(self.url, autocommit=True, row_factory=scalar_row)
            self._reset(tables)

    def _reset(self, tables: MetaData | None) -> None:
        if (
            tables is not None
            and tables is self._tables
            and self._versions == self._read_versions()
        ):
            self._delete_rows(tables)
            return
        self._tables = None
        self._connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        if tables is not None:
            self._create(tables)

    def _create(self, tables: MetaData) -> None:
        engine = create_engine(f"postgresql+psycopg:{self.url.partition(':')[2]}")
        tables.create_all(engine, checkfirst=False)
        engine.dispose()
        self._tables, self._versions = tables, self._read_versions()

    def _read_versions(self) -> str | None:
        row = self._connection.execute(_VERSIONS).fetchone()
        return None if row is None else str(row)

    def _delete_rows(self, tables: MetaData) -> None:
        names = [sql.Identifier(table.name) for table in reversed(tables.sorted_tables)]
        # As with DROP, a transaction that still writes is waited for.
        lock = sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(sql.SQL(", ").join(names))
        deletes = [sql.SQL("DELETE FROM {}").format(name) for name in names]
        restart = sql.SQL(
            "SELECT setval(oid::regclass, 1, false) FROM pg_class "
            "WHERE relkind = 'S' AND relnamespace = 'public'::regnamespace"
        )
        with self._connection.transaction():
            self._connection.execute(sql.SQL("; ").join([lock, *deletes, restart]))
