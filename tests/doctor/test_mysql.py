"""The checks of MySQL and MariaDB, each with a database in which there is something to find."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import date
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.dialects.mysql.doctor.replication import lag
from fastapi_asyncdb.dialects.mysql.doctor.schema import Index, redundant
from fastapi_asyncdb.dialects.mysql.doctor.server import support
from fastapi_asyncdb.doctor import Report, Thresholds
from fastapi_asyncdb.testing import MariaDBServer, mariadb_server
from fastapi_asyncdb.testing.servers.mariadb import has_mariadb
from tests.doctor.examined import found, report_of
from tests.support.databases import MYSQL_DRIVERS, with_driver
from tests.support.kept_mysql_tables import connect

needs_mariadb = pytest.mark.skipif(
    not has_mariadb(), reason="MariaDB is not installed: apt-get install mariadb-server"
)
both_drivers = pytest.mark.parametrize("driver", MYSQL_DRIVERS)


@contextmanager
def session(url: str) -> Iterator[Any]:
    """Connect, and yield a cursor."""
    with closing(connect(url)) as connection, connection.cursor() as cursor:
        yield cursor


def execute(url: str, sql: str) -> None:
    """Run statements on a connection of their own."""
    with session(url) as cursor:
        cursor.execute(sql)
        while cursor.nextset():
            pass


def by_check(report: Report, *statuses: str) -> dict[str, str]:
    """Return the facts of the findings with these statuses."""
    return {each.check: each.fact for each in report.findings if each.status in statuses}


# --- The server -----------------------------------------------------------------------------------

_NEGLECTED = {
    "max_connections": "10",
    "wait_timeout": "60",
    "sql_mode": "",
    "default_time_zone": "+02:00",
    "log_bin": "log",
    "skip_log_bin": "0",
    "server_id": "7",
    "binlog_format": "STATEMENT",
    "sync_binlog": "0",
    "innodb_flush_log_at_trx_commit": "0",
}


@pytest.fixture(scope="module")
def neglected() -> Iterator[MariaDBServer]:
    """A server whose settings are as they should not be, in another time zone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        with mariadb_server(options=_NEGLECTED) as server:
            yield server


@needs_mariadb
@both_drivers
async def test_settings_of_a_server(neglected: MariaDBServer, driver: str):
    """What loses commits, breaks writes or surprises is found, without a right to change it."""
    execute(
        neglected.url(),
        "CREATE OR REPLACE USER app IDENTIFIED BY 's3cret'; GRANT SELECT ON test.* TO app",
    )
    url = with_driver(neglected.url().replace("root@", "app:s3cret@"), driver)
    report = await report_of(url)
    assert set(by_check(report, "fail")) == {"connections", "binary log"}
    warned = by_check(report, "warn")
    assert set(warned) == {"durability", "idle timeout", "time zone", "SQL mode"}
    assert "15 connections; the server has 10" in by_check(report, "fail")["connections"]
    assert "error 1665" in by_check(report, "fail")["binary log"]
    assert "innodb_flush_log_at_trx_commit = 0 and sync_binlog = 0" in warned["durability"]
    assert "+02:00 (2:00:00 from UTC)" in warned["time zone"]
    assert set(by_check(report, "skipped")) == {
        "long transactions",
        "blocked queries",
        "replica lag",
    }
    cures = {each.check: each.cure for each in report.findings}
    assert cures["long transactions"] == "Run, as root: GRANT PROCESS ON *.* TO the user."
    assert "SLAVE MONITOR" in cures["replica lag"]
    assert "s3cret" not in repr(report)


@needs_mariadb
async def test_write_that_the_binary_log_refuses(neglected: MariaDBServer):
    """The finding is true."""
    execute(neglected.url(), "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY)")
    async with Database(DatabaseSettings(url=neglected.url())) as database:
        with pytest.raises(DBAPIError, match="1665"):
            async with database.session() as session:
                await session.execute(text("INSERT INTO t VALUES (1)"))


@needs_mariadb
async def test_replica_that_stands_still(neglected: MariaDBServer):
    """It cannot reach its source."""
    execute(
        neglected.url(),
        "CHANGE MASTER TO master_host = '127.0.0.1', master_port = 1, master_user = 'nobody'",
    )
    try:
        finding = await found(neglected.url(), "replica lag")
    finally:
        execute(neglected.url(), "RESET SLAVE ALL")
    assert (finding.status, "IO No, SQL No" in finding.fact) == ("fail", True)


@pytest.mark.parametrize(("seconds", "status"), [(0, "ok"), (9, "ok"), (11, "warn"), (None, "ok")])
def test_lag_of_a_replica(seconds: int | None, status: str):
    """By the columns of both servers."""
    mariadb = {
        "Slave_IO_Running": "Yes",
        "Slave_SQL_Running": "Yes",
        "Seconds_Behind_Master": seconds,
    }
    mysql = {
        "Replica_IO_Running": "Yes",
        "Replica_SQL_Running": "Yes",
        "Seconds_Behind_Source": seconds,
    }
    assert [lag(row, 10.0).status for row in (mariadb, mysql)] == [status, status]


@pytest.mark.parametrize(
    ("full", "status"),
    [
        ("10.11.14-MariaDB-0+deb12u2", "ok"),
        ("10.6.20-MariaDB", "warn"),
        ("10.4.1-MariaDB", "fail"),
        ("11.2.2-MariaDB", "warn"),
        ("12.3.1-MariaDB", "ok"),
        ("8.4.3", "ok"),
        ("8.0.40-0ubuntu0.24.04.1", "warn"),
        ("5.7.44", "fail"),
        ("8.2.0", "warn"),
        ("9.5.0", "ok"),
    ],
)
def test_versions(full: str, status: str):
    """Those without fixes, by the day of the server; a newer one is not known to be old."""
    assert support(full, date(2026, 12, 1)).status == status


# --- The tables -----------------------------------------------------------------------------------

_FLAWED = """
CREATE TABLE log (line VARCHAR(20)) ENGINE = MyISAM;
CREATE TABLE old (id INTEGER PRIMARY KEY, name VARCHAR(20), code CHAR(3) CHARACTER SET ascii)
  CHARACTER SET latin1;
CREATE TABLE small (id TINYINT AUTO_INCREMENT PRIMARY KEY, a INTEGER, b INTEGER, c INTEGER UNIQUE,
  KEY ab (a, b), KEY just_a (a), KEY c_too (c), KEY b_desc (b)) AUTO_INCREMENT = 96;
CREATE TABLE parts (id INTEGER PRIMARY KEY, small_id TINYINT,
  FOREIGN KEY (small_id) REFERENCES small (id));
"""


@both_drivers
async def test_flaws_of_tables(mysql_url: str, driver: str):
    """Tables, columns and indexes are named."""
    execute(mysql_url, _FLAWED)
    report = await report_of(with_driver(mysql_url, driver))
    failed, warned = by_check(report, "fail"), by_check(report, "warn")
    assert failed["storage engines"].startswith("Without transactions: log (MyISAM).")
    assert warned["primary keys"] == "Without a primary key: log."
    assert warned["character set"] == "Not every character fits: old.name (latin1)."
    assert warned["auto-increments"] == "Numbers that run out: small.id (75%)."
    assert warned["duplicate indexes"] == (
        "Redundant indexes: small.c_too (as c), small.just_a (as ab)."
    )
    end = Thresholds(sequence_end=0.7)
    assert (await found(mysql_url, "auto-increments", thresholds=end)).status == "fail"
    execute(mysql_url, "DROP TABLE log; DROP TABLE parts; DROP TABLE small; DROP TABLE old")
    assert not by_check(await report_of(with_driver(mysql_url, driver)), "fail")


def _index(name: str, *columns: str | None, unique: bool = False, kind: str = "BTREE") -> Index:
    return Index("t", name, unique, kind, tuple((each, None, "A") for each in columns))


@pytest.mark.parametrize(
    ("indexes", "names"),
    [
        ([_index("a", "x"), _index("b", "x", "y")], ["a"]),
        ([_index("a", "y"), _index("b", "x", "y")], []),
        ([_index("a", "x"), _index("b", "x")], ["b"]),
        ([_index("a", "x"), _index("b", "x", unique=True)], ["a"]),
        ([_index("a", "x", unique=True), _index("b", "x", "y")], []),
        ([_index("PRIMARY", "x", unique=True), _index("b", "x", unique=True)], ["b"]),
        ([_index("PRIMARY", "x", unique=True), _index("b", "x", "y")], []),
        ([_index("a", "x", kind="FULLTEXT"), _index("b", "x", "y", kind="FULLTEXT")], []),
        ([_index("a", None), _index("b", None)], []),
    ],
)
def test_redundant_indexes(indexes: list[Index], names: list[str]):
    """One that another begins with, unless it is unique; of equal ones the plainer."""
    assert [index.name for index, _ in redundant(indexes)] == names


# --- Sessions -------------------------------------------------------------------------------------


@needs_mariadb
@both_drivers
async def test_transactions_and_who_waits_for_them(neglected: MariaDBServer, driver: str):
    """Both are named with what they do, without the values; times are those of the server's system."""
    url = with_driver(neglected.url(), driver)
    execute(
        neglected.url(),
        "CREATE OR REPLACE TABLE jobs (id INTEGER PRIMARY KEY, name VARCHAR(9)); "
        "SET binlog_format = ROW; INSERT INTO jobs VALUES (1, 'a')",
    )
    with ExitStack() as stack:
        first, second, third = (stack.enter_context(session(neglected.url())) for _ in range(3))
        number = first.connection.thread_id()
        first.execute("SET binlog_format = ROW; BEGIN; UPDATE jobs SET name = 's3cret'")
        threads = [
            threading.Thread(target=cursor.execute, args=(sql,))
            for cursor, sql in (
                (second, "SET binlog_format = ROW; UPDATE jobs SET name = 's3cret'"),
                (third, "ALTER TABLE jobs ADD COLUMN extra INTEGER"),
            )
        ]
        for each in threads:
            each.start()
            stack.callback(each.join)
        stack.callback(first.execute, "ROLLBACK")
        at_once = Thresholds(long_transaction=0, blocked=0)
        report = await report_of(url, thresholds=at_once)
        while "for a table" not in repr(report) or " waits" not in repr(report):
            report = await report_of(url, thresholds=at_once)
        usual = await report_of(url)
    waiting = by_check(report, "warn")["blocked queries"]
    long = by_check(report, "warn")["long transactions"]
    assert f"session {number} of 'root' from 127.0.0.1" in long
    assert " s (idle)" in long
    assert "(UPDATE jobs) waits" in waiting
    assert f"on session {number} of 'root' (idle)" in waiting
    assert "(ALTER jobs) waits" in waiting
    assert f"KILL {number}" in repr(report)
    assert "s3cret" not in repr(report)
    assert by_check(usual, "ok")["long transactions"].startswith("No transaction")


# --- The user -------------------------------------------------------------------------------------


async def test_user_who_may_do_everything(mysql_url: str):
    """The hash of the password in its grants is not shown."""
    name = f"mighty_{uuid4().hex[:12]}"
    execute(
        mysql_url,
        f"CREATE USER {name} IDENTIFIED BY 'pw'; GRANT SUPER, FILE, SELECT ON *.* TO {name}",
    )
    try:
        url = mysql_url.replace("root@", f"{name}:pw@")
        finding = await found(url, "rights")
    finally:
        execute(mysql_url, f"DROP USER {name}")
    assert (finding.status, finding.fact) == (
        "warn",
        "The user has SUPER, FILE on the whole server: so has an injected statement.",
    )


async def test_limit_of_a_user(mysql_url: str):
    """It is lower than that of the server."""
    name = f"limited_{uuid4().hex[:12]}"
    execute(
        mysql_url,
        f"CREATE USER {name} IDENTIFIED BY 'pw' WITH MAX_USER_CONNECTIONS 7; "
        f"GRANT SELECT ON *.* TO {name}",
    )
    try:
        finding = await found(mysql_url.replace("root@", f"{name}:pw@"), "connections")
    finally:
        execute(mysql_url, f"DROP USER {name}")
    assert (finding.status, "the server has 7 for them" in finding.fact) == ("fail", True)
