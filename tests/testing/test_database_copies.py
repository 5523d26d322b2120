"""Where copies are made: a URL keeps all but its database, and names fit."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from fastapi_asyncdb.dialects import parse_url
from fastapi_asyncdb.errors import UnsupportedDriver
from fastapi_asyncdb.testing import count_queries
from fastapi_asyncdb.testing.databases import copies
from fastapi_asyncdb.testing.databases.copies import copies_at, unique_name
from fastapi_asyncdb.testing.databases.postgresql import PostgreSQLCopies


@pytest.mark.parametrize(
    "url",
    [
        "postgres://host/app",
        "postgresql+psycopg://u@host:5433/app?connect_timeout=3&application_name=a%26b",
        "postgresql://u%40x:p%2F%3A%23%25@[::1]:5432/app?sslmode=require&options=-c%20a%3Db",
        "postgresql://u:p@w@host/app",
        "postgresql://u%2541:p%2541@host/app",
        "postgresql://a:1,b:2/app?target_session_attrs=read-write",
        "postgresql://u:p@/app?host=/var/run/postgresql&port=5433",
        "postgresql://%2Fvar%2Frun/app",
        "postgresql://host?user=u&password=p%26q&dbname=app",
        "postgresql://host",
        "postgresql:///app",
        "mysql+aiomysql://u:p%2F@host:3307/app?ssl-mode=REQUIRED",
        "mariadb://u@/app?unix_socket=/run/mysqld/mysqld.sock",
    ],
)
def test_url_keeps_all_but_the_database(url: str):
    """User, password, hosts and parameters, however they were written."""
    before, after = parse_url(url), parse_url(copies_at(url).url("a-B_1"))
    assert after == replace(before, url=before.url.set(database="a-B_1"))


def test_name_is_of_this_worker_and_never_too_long(monkeypatch: pytest.MonkeyPatch):
    """A server cuts off what is longer than 63 bytes, and with it what makes the name unique."""
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw7")
    assert "_gw7_" in unique_name()
    monkeypatch.setenv("PYTEST_XDIST_WORKER", 'ü"; DROP' * 20)
    names = {unique_name() for _ in range(100)}
    assert len(names) == 100
    assert max(len(name.encode()) for name in names) <= 63
    assert not set("\"'; ü") & set("".join(names))


async def test_a_server_is_asked_for_files_and_given_time(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
):
    """The application's timeouts do not hold for a copy, and no page of it goes through the log."""
    monkeypatch.setenv("DATABASE_STATEMENT_TIMEOUT", "0.001")
    monkeypatch.setenv("DATABASE_LOCK_TIMEOUT", "0.001")
    server = PostgreSQLCopies(SecretStr(postgres_url))
    template, copy = unique_name(), unique_name()
    await server.open()
    try:
        await server.create(template)
        with count_queries(server.server) as seen:
            await server.create(copy, template)
        assert "STRATEGY FILE_COPY" in seen.statements[0].sql
    finally:
        await server.drop(copy)
        await server.drop(template)
        await server.close()


def test_other_databases_are_refused(monkeypatch: pytest.MonkeyPatch):
    """Not every database can be copied."""
    target = SimpleNamespace(url=make_url("oracle://host/app"))
    monkeypatch.setattr(copies, "parse_url", lambda url: target)
    with pytest.raises(UnsupportedDriver, match="of oracle cannot be copied"):
        copies_at("oracle://host/app")
