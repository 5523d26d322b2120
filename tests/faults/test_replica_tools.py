"""The doctor and the command line, on a database with replicas."""

import asyncio
import json

import pytest
from typer.testing import CliRunner

from fastapi_asyncdb.cli.main import app
from fastapi_asyncdb.doctor import Finding, Report, examine
from tests.example_app.conftest import ROOT
from tests.support.databases import with_driver
from tests.support.replicas import Servers


def finding(report: Report, check: str, port: int | None) -> Finding:
    """Return what a check has found of a replica."""
    (found,) = (each for each in report.findings if each.check == f"{check} (127.0.0.1:{port})")
    return found


async def test_doctor_examines_each_replica(servers: Servers, driver: str):
    """By its own load and limits; one that is down is a failure, and the others are examined."""
    one, other = servers.replicas
    report = await examine(servers.settings(driver), workers=10, instances=2)
    for replica in servers.replicas:
        assert finding(report, "standby", replica.port).status == "ok"
        assert "This server is a standby" in finding(report, "replica lag", replica.port).fact
        connections = finding(report, "connections", replica.port)
        assert (connections.status, "may open 300" in connections.fact) == ("fail", True)
    assert f"foreign keys (127.0.0.1:{one.port})" not in {f.check for f in report.findings}
    await asyncio.to_thread(one.kill)
    report = await examine(servers.settings(driver))
    assert finding(report, "connection", one.port).status == "fail"
    assert finding(report, "connection", other.port).status == "ok"


async def test_doctor_finds_a_replica_that_is_none(servers: Servers, driver: str):
    """Such as the primary itself; and a URL that cannot be read, without its password."""
    urls = [with_driver(servers.primary.url(), driver), "postgresql+psycopg2://a:hunter2@b/c"]
    report = await examine(servers.settings(driver, replica_urls=urls))
    assert finding(report, "standby", servers.primary.port).status == "warn"
    assert report.findings[-1].check == "connection (a replica)"
    assert "hunter2" not in repr(report)


def test_ping_says_which_replicas_serve(servers: Servers, monkeypatch: pytest.MonkeyPatch):
    """And why others do not."""
    one, other = servers.replicas
    one.kill()
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("DATABASE_URL", servers.primary.url())
    monkeypatch.setenv("DATABASE_REPLICA_URLS", f"{one.url()},{other.url()}")
    out = CliRunner().invoke(app, ["ping"]).output
    assert f"127.0.0.1:{servers.primary.port}/postgres answers in" in out
    assert f"Replica 127.0.0.1:{one.port} does not serve: it does not answer" in out
    assert f"Replica 127.0.0.1:{other.port} serves." in out
    found = json.loads(CliRunner().invoke(app, ["ping", "--json"]).stdout)
    assert found["replicas"][f"127.0.0.1:{other.port}"] is None
