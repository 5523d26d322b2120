"""The checks of a PostgreSQL server: standbys, slots, limits; on a server of the module's own."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import trustme
from sqlalchemy import Connection, text

from fastapi_asyncdb.doctor import Finding, Thresholds
from fastapi_asyncdb.testing import PostgresServer, postgres_server
from tests.doctor.examined import found, report_of, until_blocked
from tests.support.databases import execute, with_driver
from tests.support.tls_proxy import tls_proxy


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server that tests may change."""
    options = {"max_connections": "30", "max_prepared_transactions": "3", "autovacuum": "off"}
    with postgres_server(options=options) as server:
        yield server


@pytest.fixture
def url(server: PostgresServer, driver: str) -> str:
    """Its own database, with each driver."""
    return with_driver(server.url(), driver)


async def test_reserved_connections(url: str):
    """What the server keeps for superusers is not for the application."""
    finding = await found(url, "connections", workers=2)
    assert finding.status == "fail"
    assert "2 workers x (5 + 10) x 1 instances may open 30 connections" in finding.fact
    assert "the server has 27 for them" in finding.fact


async def test_autovacuum_is_off(url: str):
    """Nothing removes dead rows."""
    finding = await found(url, "bloat")
    assert finding.status == "warn"
    assert "autovacuum = on" in finding.cure


async def test_prepared_transaction(server: PostgresServer, url: str):
    """No connection has it open, and it survives restarts."""
    server.psql("BEGIN; SELECT txid_current(); PREPARE TRANSACTION 'forgotten'")
    try:
        finding = await found(url, "long transactions", thresholds=Thresholds(long_transaction=0))
    finally:
        server.psql("ROLLBACK PREPARED 'forgotten'")
    assert finding.status == "warn"
    assert "ROLLBACK PREPARED 'forgotten'" in finding.cure


async def test_query_that_a_prepared_transaction_blocks(server: PostgresServer, url: str):
    """There is no process to end."""
    server.psql("CREATE TABLE held ()")
    server.psql("BEGIN; LOCK TABLE held; PREPARE TRANSACTION 'holder'")
    waiting = asyncio.create_task(execute(server.url(), "SELECT FROM held"))
    witness = await asyncpg.connect(server.url())
    try:
        await until_blocked(witness, "relation")
        finding = await found(url, "blocked queries", thresholds=Thresholds(blocked=0))
    finally:
        await witness.close()
        server.psql("ROLLBACK PREPARED 'holder'")
        await waiting
        server.psql("DROP TABLE held")
    assert finding.status == "warn"
    assert "on a prepared transaction" in finding.fact
    assert "ROLLBACK PREPARED" in finding.cure


async def test_replication_slot_without_consumer(server: PostgresServer, url: str):
    """The server keeps its log for it."""
    server.psql("SELECT pg_create_physical_replication_slot('left', true)")
    try:
        finding = await found(url, "replication slots")
    finally:
        server.psql("SELECT pg_drop_replication_slot('left')")
    assert finding.status == "warn"
    assert "pg_drop_replication_slot('left')" in finding.cure


async def test_replicas(server: PostgresServer):
    """From both sides: one that follows, one whose replay is paused, and without the rights."""
    any_lag = Thresholds(replica_lag_bytes=0)
    urls = [with_driver(server.url(), driver) for driver in ("asyncpg", "psycopg")]
    server.psql("CREATE ROLE nobody LOGIN")
    with server.replica() as replica:
        own = [with_driver(replica.url(), driver) for driver in ("asyncpg", "psycopg")]
        for url in urls:
            finding = await found(url, "replica lag")
            assert (finding.status, "(streaming" in finding.fact) == ("ok", True)
        for url in own:
            finding = await found(url, "replica lag")
            assert (finding.status, "is a standby" in finding.fact) == ("ok", True)
        report = await report_of(own[0])
        assert not any("failed" in each.fact for each in report.findings)
        hidden = await found(urls[0].replace("postgres@", "nobody@"), "replica lag")
        assert (hidden.status, "GRANT pg_monitor TO nobody" in hidden.cure) == ("skipped", True)

        replica.psql("SELECT pg_wal_replay_pause()")
        server.psql("CREATE TABLE later (id int)")
        for url in urls:
            finding = await found(url, "replica lag", thresholds=any_lag)
            assert (finding.status, "behind" in finding.fact) == ("warn", True)
        for url in own:
            finding = await found(url, "replica lag")
            assert (finding.status, "pg_wal_replay_resume()" in finding.cure) == ("warn", True)
    server.psql("DROP ROLE nobody")


async def test_server_that_goes_away(server: PostgresServer, url: str):
    """What was found is reported, and then one failure, instead of one for each check."""

    def go_away(connection: Connection) -> Finding:
        server.stop("immediate")
        return Finding("go away", "ok", "It is gone.")

    def next_check(connection: Connection) -> Finding:
        raise AssertionError

    def ping(connection: Connection) -> Finding:
        connection.execute(text("SELECT 1"))
        raise AssertionError

    checks = {"go away": go_away, "ping": ping, "next": next_check}
    try:
        report = await report_of(url, {"connect_timeout": 2.0}, checks=checks)
    finally:
        server.start()
    after = report.findings[-2:]
    assert after[-1].check == "connection"
    assert after[-1].status == "fail"
    assert [each.check for each in report.findings].count("next") == 0


# Not the loopback address as it is usually written: to the library this is another host.
_ELSEWHERE = "127.1"


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("sslmode=verify-full&sslrootcert=OWN", "ok", "verify-full"),
        ("sslmode=require", "warn", "does not verify"),
        ("sslmode=disable", "fail", "not encrypted"),
    ],
)
async def test_tls_to_another_host(
    query: str, status: str, words: str, server: PostgresServer, driver: str, tmp_path: Path
):
    """Encrypted and verified, encrypted alone, plain text."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["postgresql"])
    authority.issue_cert(_ELSEWHERE).configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    query = query.replace("OWN", str(tmp_path / "ca.pem"))
    async with tls_proxy(server.port, context) as proxy:
        url = f"postgresql+{driver}://postgres@{_ELSEWHERE}:{proxy.port}/postgres?{query}"
        finding = await found(url, "TLS")
    assert finding.status == status
    assert words in finding.fact
