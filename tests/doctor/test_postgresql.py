"""The checks of one PostgreSQL database: each defect is made, and found."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import date
from typing import Any

import asyncpg
import pytest

from fastapi_asyncdb.dialects.postgresql.doctor import server
from fastapi_asyncdb.doctor import Thresholds
from tests.doctor.examined import found, report_of, until_blocked
from tests.support.databases import execute, with_driver
from tests.support.leaks import PASSWORD

_PARENT = "CREATE TABLE parent (id bigint PRIMARY KEY, other bigint, UNIQUE (other, id));"


@asynccontextmanager
async def connected(url: str, name: str = "") -> AsyncIterator[Any]:
    """Connect by the driver alone, under a name of the application."""
    connection = await asyncpg.connect(url, server_settings={"application_name": name})
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


# --- The server -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("major", "day", "status"),
    [
        (9, date(2024, 1, 1), "fail"),
        (14, date(2026, 11, 12), "ok"),
        (14, date(2026, 11, 13), "warn"),
        (18, date(2026, 1, 1), "ok"),
        (40, date(2048, 1, 1), "ok"),
    ],
)
def test_version(major: int, day: date, status: str):
    """By the calendar of the project; a version that is newer than the table is supported."""
    assert server.support(major, f"{major}.1", day).status == status


async def test_clock_of_this_machine(driver_url: str, monkeypatch: pytest.MonkeyPatch):
    """A clock that is set back by a minute."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 60)
    finding = await found(driver_url, "clock")
    assert finding.status == "warn"
    assert "60.0 s ahead" in finding.fact


async def test_old_extension(postgres_url: str, driver_url: str):
    """An older version is installed than the server has."""
    await execute(postgres_url, "CREATE TABLE kept AS SELECT extversion FROM pg_extension")
    change = "UPDATE pg_extension SET extversion = {} WHERE extname = 'plpgsql'"
    await execute(postgres_url, change.format("'0.1'"))
    try:
        finding = await found(driver_url, "extensions")
    finally:
        await execute(postgres_url, change.format("(SELECT max(extversion) FROM kept)"))
    assert finding.status == "warn"
    assert "plpgsql 0.1 (there is 1.0)" in finding.fact
    assert 'ALTER EXTENSION "plpgsql" UPDATE' in finding.cure


# --- Connections ----------------------------------------------------------------------------------


async def test_too_many_connections(driver_url: str):
    """More than the server has, by one process and by many."""
    for options in ({"workers": 100}, {"instances": 100}):
        finding = await found(driver_url, "connections", **options)
        assert finding.status == "fail"
        assert "may open 1500 connections" in finding.fact


async def test_connections_of_others_count(postgres_url: str, driver_url: str):
    """What the application may open would fit an idle server."""
    report = await report_of(driver_url)
    (fact,) = [each.fact for each in report.findings if each.check == "connections"]
    limit = int(fact.partition("the server has ")[2].split()[0])
    async with connected(postgres_url, "another"):
        finding = await found(f"{driver_url}?application_name=mine", "connections", workers=1)
        assert finding.status == "ok"
        report = await report_of(driver_url, {"pool_size": limit, "max_overflow": 0}, workers=1)
    (finding,) = [each for each in report.findings if each.check == "connections"]
    assert finding.status == "warn"


async def test_limit_of_a_role(postgres_url: str, driver: str):
    """The role has fewer connections than the server."""
    name = f"limited_{driver}"
    async with role(postgres_url, name, "CONNECTION LIMIT 7") as url:
        finding = await found(with_driver(url, driver), "connections")
    assert finding.status == "fail"
    assert "has 7 for them" in finding.fact


async def test_pooler(pooled_url: str, driver: str):
    """It is seen, and no check fails behind it."""
    report = await report_of(with_driver(pooled_url, driver))
    statuses = {each.check: each for each in report.findings}
    assert "pooler in transaction mode" in statuses["pooler"].fact
    assert "max_client_conn" in statuses["connections"].cure
    assert not any("failed" in each.fact for each in report.findings)


# --- Indexes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "serves"),
    [
        ("", False),
        ("CREATE INDEX i ON child (a)", False),
        ("CREATE INDEX i ON child (a, b)", True),
        ("CREATE INDEX i ON child (b, a, id)", True),
        ("CREATE INDEX i ON child (id, a, b)", False),
        ("CREATE INDEX i ON child (a, b) WHERE id > 0", False),
        ("CREATE INDEX i ON child (a, b) WHERE a IS NOT NULL", True),
        ("CREATE INDEX i ON child USING brin (a, b)", False),
        ("CREATE UNIQUE INDEX i ON child (a, b)", True),
    ],
)
async def test_foreign_key_without_index(index: str, serves: bool, postgres_url: str):
    """An index serves if it begins with all columns of the key."""
    child = (
        "CREATE TABLE child (id bigint PRIMARY KEY, a bigint, b bigint, "
        "FOREIGN KEY (a, b) REFERENCES parent (other, id));"
    )
    await execute(postgres_url, _PARENT + child + index)
    finding = await found(with_driver(postgres_url, "asyncpg"), "foreign keys")
    assert finding.status == ("ok" if serves else "warn")
    if not serves:
        assert "child (a, b)" in finding.fact
        assert "CREATE INDEX CONCURRENTLY ON child (a, b)" in finding.cure


async def test_foreign_keys_of_other_schemas(postgres_url: str, driver_url: str):
    """Names are quoted, so that the cure can be pasted; partitions are their parent's."""
    await execute(
        postgres_url,
        _PARENT + 'DROP SCHEMA IF EXISTS "Own" CASCADE; CREATE SCHEMA "Own"; '
        'CREATE TABLE "Own"."Order" (id int, "Parent" bigint REFERENCES parent) '
        "PARTITION BY RANGE (id); "
        'CREATE TABLE "Own".first PARTITION OF "Own"."Order" FOR VALUES FROM (0) TO (9)',
    )
    finding = await found(driver_url, "foreign keys")
    assert finding.fact == 'No index for the foreign key of "Own"."Order" ("Parent").'
    assert 'CONCURRENTLY ON "Own"."Order" ("Parent")' in finding.cure


_UNUSED = (
    "CREATE TABLE child (id bigint PRIMARY KEY, a bigint, parent bigint REFERENCES parent); "
    "CREATE INDEX unused ON child (a); CREATE INDEX serves ON child (parent); "
    "INSERT INTO child SELECT i, i FROM generate_series(1, 1000) i"
)
_NEVER = Thresholds(statistics_age=0, unused_index_bytes=1)


async def test_unused_index(postgres_url: str, driver_url: str):
    """That of a column; not those of a primary key or a foreign key."""
    await execute(postgres_url, _PARENT + _UNUSED)
    finding = await found(driver_url, "unused indexes", thresholds=_NEVER)
    assert finding.status == "warn"
    assert "No query has used unused (" in finding.fact
    assert "DROP INDEX CONCURRENTLY unused" in finding.cure


async def test_used_index(postgres_url: str, driver_url: str):
    """A query has used it."""
    await execute(
        postgres_url,
        _PARENT + _UNUSED + "; SET enable_seqscan = off; SELECT id FROM child WHERE a = 1",
    )
    finding = await found(driver_url, "unused indexes", thresholds=_NEVER)
    assert finding.status == "ok"


async def test_young_statistics(postgres_url: str, driver_url: str):
    """They tell nothing of an index that is used once a day."""
    await execute(postgres_url, _PARENT + _UNUSED + "; SELECT pg_stat_reset()")
    finding = await found(driver_url, "unused indexes")
    assert finding.status == "skipped"
    assert "7 days" in finding.cure


@pytest.mark.parametrize(
    ("definitions", "redundant"),
    [
        ("CREATE INDEX one ON child (a); CREATE INDEX two ON child (a)", "two and one"),
        ("CREATE INDEX one ON child (id)", "one and child_pkey"),
        ("CREATE INDEX one ON child (a); CREATE UNIQUE INDEX two ON child (a)", "one and two"),
        (
            "CREATE INDEX one ON child (lower(t)); CREATE INDEX two ON child (lower(t))",
            "two and one",
        ),
        ("CREATE INDEX one ON child (a); CREATE INDEX two ON child (a DESC)", None),
        ("CREATE INDEX one ON child (a); CREATE INDEX two ON child (a) WHERE a > 0", None),
        ("CREATE INDEX one ON child (a); CREATE INDEX two ON child (a, id)", None),
        ("CREATE INDEX one ON child (t); CREATE INDEX two ON child (t text_pattern_ops)", None),
        ("CREATE INDEX one ON child (a); CREATE INDEX two ON child USING hash (a)", None),
    ],
)
async def test_duplicate_index(definitions: str, redundant: str | None, postgres_url: str):
    """The weaker one of two goes: not that of a constraint, nor a unique one."""
    table = "CREATE TABLE child (id bigint PRIMARY KEY, a bigint, t text);"
    await execute(postgres_url, table + definitions)
    finding = await found(with_driver(postgres_url, "asyncpg"), "duplicate indexes")
    assert finding.status == ("ok" if redundant is None else "warn")
    assert redundant is None or f"same: {redundant}." in finding.fact


async def test_invalid_index(postgres_url: str, driver_url: str):
    """A unique one, created concurrently, on values that are not."""
    await execute(postgres_url, "CREATE TABLE child (a int); INSERT INTO child VALUES (1), (1)")
    with pytest.raises(asyncpg.UniqueViolationError):
        await execute(postgres_url, "CREATE UNIQUE INDEX CONCURRENTLY broken ON child (a)")
    finding = await found(driver_url, "invalid indexes")
    assert finding.status == "warn"
    assert "DROP INDEX CONCURRENTLY broken" in finding.cure


async def test_table_that_is_locked(postgres_url: str, driver_url: str):
    """By a migration: the checks that look at it give up, and the others run."""
    await execute(postgres_url, _PARENT + _UNUSED)
    async with connected(postgres_url) as migration, migration.transaction():
        await migration.execute("LOCK TABLE child IN ACCESS EXCLUSIVE MODE")
        await migration.execute("DROP INDEX unused")
        report = await report_of(driver_url, thresholds=_NEVER)
    statuses = {each.check: each.status for each in report.findings}
    facts = {each.check: each.fact for each in report.findings if each.status == "skipped"}
    assert "is locked" in facts["unused indexes"]
    assert statuses["sequences"] == statuses["extensions"] == "ok"


# --- Storage and numbers --------------------------------------------------------------------------


async def test_dead_rows(postgres_url: str, driver_url: str):
    """Rows that were deleted, and that no vacuum has removed."""
    await execute(
        postgres_url,
        "CREATE TABLE filled (id int) WITH (autovacuum_enabled = false); "
        "INSERT INTO filled SELECT generate_series(1, 12000);",
    )
    await execute(postgres_url, "DELETE FROM filled WHERE id <= 11000")
    finding = await found(driver_url, "bloat")
    assert finding.status == "warn"
    assert "filled (11000, 92%, last vacuum never)" in finding.fact
    await execute(postgres_url, "VACUUM filled")
    assert (await found(driver_url, "bloat")).status == "ok"


async def test_cache(driver_url: str):
    """Compared with more than a server can reach, and with less than any has."""
    strict = Thresholds(cache_hit_rate=1.01, cache_blocks=1)
    finding = await found(driver_url, "cache", thresholds=strict)
    assert finding.status == "warn"
    assert "shared_buffers" in finding.cure
    usual = Thresholds(cache_hit_rate=0.1, cache_blocks=1)
    assert (await found(driver_url, "cache", thresholds=usual)).status == "ok"


@pytest.mark.parametrize(
    ("sequence", "status"),
    [
        ("CREATE TABLE t (id serial); SELECT setval('t_id_seq', 2147483000)", "fail"),
        ("CREATE TABLE t (id serial); SELECT setval('t_id_seq', 1600000000)", "warn"),
        ("CREATE TABLE t (id bigserial); SELECT setval('t_id_seq', 2147483000)", "ok"),
        ("CREATE TABLE t (id smallint GENERATED ALWAYS AS IDENTITY); "
         "SELECT setval('t_id_seq', 32000)", "fail"),
        ("CREATE TABLE t (id int); CREATE SEQUENCE s OWNED BY t.id; "
         "SELECT setval('s', 2147483000)", "fail"),
        ("CREATE SEQUENCE s INCREMENT -1 MINVALUE -100 START -1; SELECT setval('s', -95)", "fail"),
        ("CREATE SEQUENCE s MAXVALUE 100 CYCLE; SELECT setval('s', 95)", "ok"),
    ],
)  # fmt: skip
async def test_sequence_near_its_end(sequence: str, status: str, postgres_url: str):
    """By the type of its column, which may be smaller than its own."""
    await execute(postgres_url, sequence)
    finding = await found(with_driver(postgres_url, "psycopg"), "sequences")
    assert finding.status == status
    assert status == "ok" or "bigint" in finding.cure


@pytest.mark.parametrize(("end", "status"), [(2_000_000_000, "warn"), (1, "fail")])
async def test_old_transaction_ids(end: int, status: str, driver_url: str):
    """Older than the thresholds, which no test can be with those of servers."""
    limits = Thresholds(transaction_age=1, transaction_age_end=end)
    finding = await found(driver_url, "transaction IDs", thresholds=limits)
    assert finding.status == status
    assert "VACUUM (FREEZE)" in finding.cure


# --- Activity -------------------------------------------------------------------------------------


async def test_long_transaction(postgres_url: str, driver_url: str):
    """Open, with its process and its application; the literals of its query stay secret."""
    at_once = Thresholds(long_transaction=0)
    async with connected(postgres_url, "forgetful") as connection, connection.transaction():
        await connection.execute(f"SELECT 'from {PASSWORD}' /* {PASSWORD} */")
        process = connection.get_server_pid()
        finding = await found(driver_url, "long transactions", thresholds=at_once)
        assert (await found(driver_url, "long transactions")).status == "ok"
    assert finding.status == "warn"
    assert f"process {process} of 'forgetful'" in finding.fact
    assert "(idle in transaction, SELECT)" in finding.fact
    assert f"pg_terminate_backend({process})" in finding.cure
    assert PASSWORD not in str(finding)
    assert (await found(driver_url, "long transactions", thresholds=at_once)).status == "ok"


async def test_blocked_query(postgres_url: str, driver_url: str):
    """Which waits for which, by a lock on a row."""
    await execute(postgres_url, "CREATE TABLE jobs (id int); INSERT INTO jobs VALUES (1)")
    async with (
        connected(postgres_url, "first") as first,
        connected(postgres_url, "second") as second,
        connected(postgres_url, "witness") as witness,
        first.transaction(),
    ):
        await first.execute(f"UPDATE jobs SET id = 1 WHERE '{PASSWORD}' <> ''")
        update = f"\n  update only public.jobs set id = 2 where '{PASSWORD}' <> ''"
        waiting = asyncio.create_task(second.execute(update))
        await until_blocked(witness, "transactionid")
        finding = await found(driver_url, "blocked queries", thresholds=Thresholds(blocked=0))
        processes = first.get_server_pid(), second.get_server_pid()
        await first.execute("ROLLBACK; BEGIN")
        await waiting
    assert finding.status == "warn"
    assert f"process {processes[1]} of 'second' (UPDATE public.jobs) waits for " in finding.fact
    assert (
        f" on process {processes[0]} of 'first' (idle in transaction, UPDATE jobs)" in finding.fact
    )
    assert f"pg_terminate_backend({processes[0]})" in finding.cure
    assert PASSWORD not in str(finding)


# --- Rights ---------------------------------------------------------------------------------------


@asynccontextmanager
async def role(url: str, name: str, options: str = "") -> AsyncIterator[str]:
    """Create a role of that name, of this worker's; yield the URL with it."""
    database = url.rpartition("/")[2].partition("?")[0]
    name = f"{name}_{database[-12:]}"
    await execute(url, f"CREATE ROLE {name} LOGIN {options}")
    try:
        yield url.replace(url.partition("://")[2].partition("@")[0] + "@", f"{name}@", 1)
    finally:
        await execute(url, f"DROP OWNED BY {name}; DROP ROLE {name}")


async def test_role_without_rights(postgres_url: str, driver: str):
    """It gets what it may see, and what it may not is skipped with the grant that it needs."""
    await execute(postgres_url, "CREATE TABLE t (id serial); SELECT nextval('t_id_seq')")
    async with (
        role(postgres_url, f"nobody_{driver}") as url,
        connected(postgres_url, "owner") as other,
        other.transaction(),
    ):
        await other.execute("SELECT 1")
        report = await report_of(
            with_driver(url, driver), thresholds=Thresholds(long_transaction=0)
        )
    statuses = {each.check: each for each in report.findings}
    assert statuses["long transactions"].status == "skipped"
    assert "GRANT pg_monitor TO nobody" in statuses["long transactions"].cure
    assert statuses["sequences"].status == "skipped"
    assert "t_id_seq" in statuses["sequences"].fact
    assert not any("failed" in each.fact for each in report.findings)
    assert report.exit_code == 0
