"""``examine()``: isolated checks on one connection that reads, whatever state the database is in."""

import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, text

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.dialects import registry
from fastapi_asyncdb.doctor import Finding, Report, Thresholds, examination, examine
from fastapi_asyncdb.errors import ConfigurationError
from tests.doctor.examined import found, report_of
from tests.support.databases import EVERY_KIND, MARIADB
from tests.support.leaks import PASSWORD

# What depends on the server's age and on earlier tests of this worker.
_CANNOT_TELL = {"cache", "unused indexes", "server version", "file rights", "WAL size"}
# A server for tests is root's, and flushes no commit to the disk.
_OF_TESTS = {"rights", "durability"}


def endless(connection: Connection) -> Finding:
    """Run a statement that does not end by itself."""
    if connection.dialect.name == "sqlite":
        steps = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i FROM n) SELECT count(*) FROM n"
        connection.execute(text(steps)).all()
    if connection.dialect.name == "mysql":
        connection.execute(text("SELECT SLEEP(3600)"))
    connection.execute(text("SELECT pg_sleep(3600)"))
    return Finding("endless", "ok", "It has ended.")


def fine(connection: Connection) -> Finding:
    """Find nothing."""
    return Finding("fine", "ok", f"{connection.execute(text('SELECT 1')).scalar_one()}")


@pytest.mark.databases(*EVERY_KIND, MARIADB[0])
async def test_healthy_database(database_url: str):
    """Each check says that nothing is wrong, the general ones first."""
    async with Database(DatabaseSettings(url=database_url)) as database:
        async with database.engine.begin() as connection:
            await connection.execute(text("CREATE TABLE heroes (id INTEGER PRIMARY KEY)"))
        report = await report_of(database_url)
    statuses = {finding.check: finding.status for finding in report.findings}
    assert list(statuses)[:2] == ["connection", "round trip"]
    assert {each for each in statuses if statuses[each] != "ok"} <= _CANNOT_TELL | (
        _OF_TESTS if database_url.startswith("mysql") else set()
    )
    assert len(statuses) == len(report.findings) >= 12
    assert report.exit_code == 0


async def test_further_checks_run_last(database_url: str):
    """They return one finding or several, and one that breaks hides no other."""

    def several(connection: Connection) -> list[Finding]:
        return [Finding("a", "warn", "A.", "Do A."), Finding("b", "fail", "B.", "Do B.")]

    def broken(connection: Connection) -> Finding:
        connection.execute(text("SELECT * FROM nowhere"))
        raise AssertionError

    await _created(database_url)
    checks: dict[str, Any] = {"broken": broken, "several": several, "fine": fine}
    report = await report_of(database_url, checks=checks)
    *_, skipped, first, second, last = report.findings
    assert (skipped.check, skipped.status) == ("broken", "skipped")
    assert "nowhere" in skipped.fact
    assert [each.check for each in (first, second, last)] == ["a", "b", "fine"]
    assert (report.worst, report.exit_code) == ("fail", 1)


async def test_nothing_can_be_written(database_url: str):
    """The server refuses, not only this library: the check writes past it, on the driver's cursor."""
    await _created(database_url)

    def write(connection: Connection) -> Finding:
        connection.connection.cursor().execute("CREATE TABLE written (id INTEGER)")
        return Finding("write", "ok", "It was written.")

    report = await report_of(database_url, checks={"write": write})
    assert report.findings[-1].status == "skipped"
    assert "read" in report.findings[-1].fact.lower()
    async with (
        Database(DatabaseSettings(url=database_url)) as database,
        database.engine.connect() as connection,
    ):
        names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    assert names == ["examined"]


@pytest.mark.parametrize("mode", ["delete", "wal"])
async def test_sqlite_file_stays_as_it_is(mode: str, sqlite_url: str, tmp_path: Path):
    """Byte for byte, and in the journal mode that it has."""
    path = tmp_path / "test.db"
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")
        connection.execute("CREATE TABLE examined (id INTEGER)")
    connection.close()
    before = path.read_bytes()
    await report_of(sqlite_url)
    assert path.read_bytes() == before


async def test_dead_server(driver: str, unused_port: int):
    """One finding, the library's own diagnosis, without the password."""
    url = f"postgresql+{driver}://app:{PASSWORD}@127.0.0.1:{unused_port}/app"
    report = await report_of(url)
    (finding,) = report.findings
    assert (finding.check, finding.status, report.exit_code) == ("connection", "fail", 1)
    assert str(unused_port) in finding.fact
    assert finding.cure
    assert PASSWORD not in json.dumps(report.as_json())


async def test_silent_server(driver: str, silent_port: int):
    """The end of ``connect_timeout`` is the finding."""
    url = f"postgresql+{driver}://app@127.0.0.1:{silent_port}/app"
    (finding,) = (await report_of(url, {"connect_timeout": 0.3})).findings
    assert finding.status == "fail"
    assert "no answer within" in finding.fact


@pytest.mark.parametrize(
    ("url", "options", "word"),
    [
        ("mysql+pymysql://app@127.0.0.1/app", {}, "pymysql"),
        ("postgresql+psycopg2://app@127.0.0.1/app", {}, "psycopg2"),
        ("postgresql://app@db.example.com/app", {"environment": "production"}, "sslmode"),
        ("sqlite:///./missing.db", {}, "missing.db"),
    ],
)
async def test_settings_that_cannot_be_used(
    url: str, options: dict[str, Any], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The message of the error is the only finding, and no file is made."""
    monkeypatch.chdir(tmp_path)
    (finding,) = (await report_of(url, options)).findings
    assert (finding.check, finding.status) == ("connection", "fail")
    assert any(each in finding.fact for each in word.split("|"))
    assert "docs/errors.md" in finding.cure
    assert list(tmp_path.iterdir()) == []


async def test_database_without_checks_of_its_own(
    database_url: str, monkeypatch: pytest.MonkeyPatch
):
    """The general ones run, and those of the caller."""
    await _created(database_url)
    name = database_url.partition(":")[0].partition("+")[0]
    monkeypatch.setitem(registry._BY_SCHEME, name, replace(registry._BY_SCHEME[name], doctor=None))
    report = await report_of(database_url, checks={"fine": fine})
    assert [each.check for each in report.findings] == ["connection", "round trip", "fine"]


async def test_check_that_takes_long(database_url: str, monkeypatch: pytest.MonkeyPatch):
    """It is ended here, and on the server; the next one has a connection."""
    await _created(database_url)
    monkeypatch.setattr(examination, "LIMIT", 0.5)
    report = await report_of(database_url, checks={"endless": endless, "fine": fine})
    skipped, last = report.findings[-2:]
    assert (skipped.check, skipped.status) == ("endless", "skipped")
    assert "longer than" in skipped.fact
    assert last.status == "ok"


async def test_statement_that_takes_long_on_the_server(driver_url: str):
    """The server's own limit is the reason."""

    def long(connection: Connection) -> Finding:
        assert connection.execute(text("SHOW statement_timeout")).scalar_one() == "5s"
        connection.execute(text("SELECT set_config('statement_timeout', '10ms', true)"))
        return endless(connection)

    report = await report_of(driver_url, checks={"long": long})
    assert "longer than 5 s" in report.findings[-1].fact


async def test_connection_that_the_server_ends(driver_url: str):
    """The check has no result, and the next one has a new connection."""

    def die(connection: Connection) -> Finding:
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        raise AssertionError

    report = await report_of(driver_url, checks={"die": die, "fine": fine})
    assert [each.status for each in report.findings[-2:]] == ["skipped", "ok"]


async def test_one_connection_that_is_closed(postgres_url: str, driver_url: str):
    """The examination costs one connection, and leaves none."""
    mine = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'examined'"
    url = f"{driver_url}?application_name=examined"
    counts: list[int] = []

    def count(connection: Connection) -> Finding:
        counts.append(connection.execute(text(mine)).scalar_one())
        return Finding("count", "ok", "Counted.")

    await report_of(url, {"pool_size": 7}, checks={"count": count})
    assert counts == [1]
    async with (
        Database(DatabaseSettings(url=postgres_url)) as witness,
        witness.read_session() as db,
    ):
        assert await db.scalar(text(mine)) == 0


async def test_password_from_a_function(driver_url: str):
    """As for a ``Database``."""
    report = await report_of(driver_url, password=lambda: PASSWORD)
    assert report.findings[0].status == "ok"


@pytest.mark.parametrize("name", ["workers", "instances"])
async def test_processes_are_at_least_one(name: str, sqlite_url: str):
    """0 would need no connections."""
    with pytest.raises(ConfigurationError, match=name):
        await examine(DatabaseSettings(url=sqlite_url), **{name: 0})  # type: ignore[arg-type]


async def test_slow_network(database_url: str):
    """A round trip over the threshold."""
    await _created(database_url)
    finding = await found(database_url, "round trip", thresholds=Thresholds(round_trip=0))
    assert finding.status == "warn"
    assert " ms " in finding.fact


def test_report_as_json():
    """Strings, in the order of the checks."""
    report = Report((Finding("a", "ok", "A."), Finding("b", "warn", "B.", "Do B.")))
    assert json.loads(json.dumps(report.as_json())) == {
        "worst": "warn",
        "findings": [
            {"check": "a", "status": "ok", "fact": "A.", "cure": ""},
            {"check": "b", "status": "warn", "fact": "B.", "cure": "Do B."},
        ],
    }


def test_worst_status():
    """What cannot tell is worse than what is well, and no reason to fail."""
    skipped = Report((Finding("a", "skipped", "A."), Finding("b", "ok", "B.")))
    assert (skipped.worst, skipped.exit_code) == ("skipped", 0)
    assert Report(()).worst == "ok"


def test_application_does_not_load_the_checks():
    """An application that never examines its database imports none of them."""
    script = (
        "import sys, fastapi_asyncdb; "
        "print([name for name in sys.modules if 'doctor' in name and 'asyncdb' in name])"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


async def _created(url: str) -> None:
    """Make the database one with a table: a reader creates no file."""
    async with Database(DatabaseSettings(url=url)) as database, database.session() as session:
        await session.execute(text("CREATE TABLE examined (id INTEGER PRIMARY KEY)"))
