"""A MariaDB database of one worker, whose tables are kept between tests that want the same ones.

To drop and create a few tables costs more than most tests, on a disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql
from pymysql.constants.CLIENT import MULTI_STATEMENTS
from sqlalchemy import MetaData, create_engine

# A test that left a transaction open is reported here, instead of waited for until the test's timeout.
_SESSION = (
    "SET NAMES utf8mb4, SESSION foreign_key_checks = 0, lock_wait_timeout = 20, "
    "innodb_lock_wait_timeout = 20"
)
_COUNTER = re.compile(r" AUTO_INCREMENT=\d+")
# What SHOW CREATE TABLE does not show.
_OTHERS = """
SELECT 'trigger', trigger_name, created FROM information_schema.triggers
    WHERE trigger_schema = DATABASE()
UNION ALL SELECT 'event', event_name, created FROM information_schema.events
    WHERE event_schema = DATABASE()
UNION ALL SELECT 'routine', name, created FROM mysql.proc WHERE db = DATABASE()
"""


def connect(url: str) -> pymysql.Connection:
    """Connect to the database of a URL, in autocommit."""
    parts = urlsplit(url)
    return pymysql.connect(
        host=parts.hostname or "127.0.0.1",
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=unquote(parts.path[1:]) or None,
        autocommit=True,
        client_flag=MULTI_STATEMENTS,
        init_command=_SESSION,
    )


@contextmanager
def mysql_database(server_url: str, name: str) -> Iterator[str]:
    """Make an empty database, and drop it at the end.

    Yields:
        Its URL.
    """
    with closing(connect(server_url)) as server:
        server.cursor().execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
    try:
        yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
    finally:
        with closing(connect(server_url)) as server:
            server.cursor().execute(f"DROP DATABASE `{name}`")


class KeptMySQLTables:
    """Empties a database, and creates tables in it that the next test may use too.

    Args:
        url: Of the database.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._name = urlsplit(url).path[1:]
        self._connection = connect(url)
        self._tables: MetaData | None = None
        self._schema: list[str] | None = None
        self._names: list[str] = []

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def reset(self, tables: MetaData | None) -> None:
        """Leave nothing in the database but these tables, which are empty."""
        try:
            self._reset(tables)
        except pymysql.OperationalError:  # a test has ended all connections
            self._connection.close()
            self._connection = connect(self.url)
            self._reset(tables)

    def _reset(self, tables: MetaData | None) -> None:
        if tables is not None and tables is self._tables:
            created = self._read_schema()
            if [_COUNTER.sub("", text) for text in created] == self._schema:
                self._delete_rows(created)
                return
        self._tables = None
        name = f"`{self._name}`"
        self._execute(
            f"DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name} CHARACTER SET utf8mb4; USE {name}"
        )
        if tables is not None:
            self._create(tables)

    def _create(self, tables: MetaData) -> None:
        engine = create_engine(f"mysql+pymysql:{self.url.partition(':')[2]}")
        tables.create_all(engine, checkfirst=False)
        engine.dispose()
        [rows] = self._execute("SHOW TABLES")
        self._names = [name for (name,) in rows]
        self._tables, self._schema = tables, self._read_schema()

    def _read_schema(self) -> list[str]:
        """Return what created each table, and the names of everything else."""
        shows = [f"SHOW CREATE TABLE `{name}`" for name in self._names]
        try:
            *tables, others, names = self._execute("; ".join([*shows, _OTHERS, "SHOW TABLES"]))
        except pymysql.ProgrammingError:  # a test has dropped a table
            return []
        return [*(rows[0][1] for rows in tables), repr(others), repr(names)]

    def _delete_rows(self, created: list[str]) -> None:
        # As with DROP, a transaction that still writes is waited for.
        deletes = [f"DELETE FROM `{name}`" for name in self._names]
        restarts = [
            f"ALTER TABLE `{name}` AUTO_INCREMENT = 1"
            for name, text in zip(self._names, created, strict=False)
            if _COUNTER.search(text)
        ]
        self._execute("; ".join([*deletes, *restarts]))

    def _execute(self, sql: str) -> list[Any]:
        """Run statements, and return the rows of each."""
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            results = [cursor.fetchall()]
            while cursor.nextset():
                results.append(cursor.fetchall())
            return results
