"""URLs for engines of the application's own: everything is in them, or they are refused."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from typing import Any, Literal

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from fastapi_asyncdb import DatabaseSettings
from fastapi_asyncdb.dialects import parse
from fastapi_asyncdb.errors import ConfigurationError, InvalidDatabaseURL, UnsupportedDriver
from tests.support.databases import ONE_DRIVER
from tests.support.leaks import PASSWORD, leaks

pytestmark = pytest.mark.databases(*ONE_DRIVER)

Driver = Literal["async", "sync"]


@pytest.mark.parametrize(
    ("url", "sync", "asynchronous"),
    [
        (
            "postgres://u:p%40@h:1/n?sslmode=require&channel_binding=require",
            "postgresql+psycopg://u:p%40@h:1/n?channel_binding=require&sslmode=require",
            "postgresql+asyncpg://u:p%40@h:1/n?ssl=require",
        ),
        (
            "postgresql+psycopg://u@h/n?sslmode=verify-full&sslrootcert=/ca&options=-c%20a%3Db",
            "postgresql+psycopg://u@h/n?options=-c+a%3Db&sslmode=verify-full&sslrootcert=%2Fca",
            "postgresql+psycopg://u@h/n?options=-c+a%3Db&sslmode=verify-full&sslrootcert=%2Fca",
        ),
        (
            "postgresql://one:1,two:2/n",
            "postgresql+psycopg:///n?host=one%2Ctwo&port=1%2C2",
            "postgresql+asyncpg:///n?host=one%2Ctwo&port=1%2C2",
        ),
        (
            "mysql://u:p@h/n?charset=utf8mb4&connect_timeout=3",
            "mysql+pymysql://u:p@h/n?charset=utf8mb4&connect_timeout=3",
            "mysql+asyncmy://u:p@h/n?charset=utf8mb4&connect_timeout=3",
        ),
        ("mariadb+aiomysql://h/n", "mariadb+pymysql://h/n", "mariadb+aiomysql://h/n"),
        (
            "sqlite:///a.db?timeout=3",
            "sqlite+pysqlite:///a.db?timeout=3.0",
            "sqlite+aiosqlite:///a.db?timeout=3.0",
        ),
    ],
)
def test_url_carries_everything(url: str, sync: str, asynchronous: str) -> None:
    """Hosts, options and TLS are in the URL, in the words of the driver."""
    settings = DatabaseSettings(url=url)
    assert settings.sqlalchemy_url("sync") == make_url(sync)
    assert settings.sqlalchemy_url("async") == settings.sqlalchemy_url() == make_url(asynchronous)


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        ("", {}),
        ("?ssl-mode=DISABLED", {"ssl_disabled": "true"}),
        ("?ssl-mode=REQUIRED", {"ssl": {"check_hostname": False}}),
        ("?ssl-ca=/ca", {"ssl": {"ca": "/ca", "check_hostname": False}}),
        ("?ssl-mode=VERIFY_IDENTITY&ssl-ca=/ca", {"ssl": {"ca": "/ca"}}),
    ],
)
def test_pymysql_gets_its_tls(query: str, arguments: dict[str, Any]) -> None:
    """SQLAlchemy makes PyMySQL's arguments of it."""
    url = DatabaseSettings(url=f"mysql://h/n{query}").sqlalchemy_url("sync")
    made = create_engine(url).dialect.create_connect_args(url)[1]
    assert {name: made[name] for name in ("ssl", "ssl_disabled") if name in made} == arguments


@pytest.mark.parametrize(
    ("url", "driver", "words"),
    [
        (
            "postgresql://h/n?sslmode=verify-full",
            "async",
            "sslmode=verify-full, and postgresql.asyncpg",
        ),
        ("postgresql://h/n?sslmode=require&sslrootcert=/ca", "async", "sslmode=require"),
        (
            "postgresql://h/n?application_name=a&connect_timeout=3",
            "async",
            "application_name, connect_t",
        ),
        ("postgresql://h/n?command_timeout=3", "async", "command_timeout"),
        ("postgresql://h/n?command_timeout=3", "sync", "no URL parameter 'command_timeout'"),
        ("postgresql://h/n?pgbouncer=true", "async", "pgbouncer"),
        ("postgresql://h/n?pgbouncer=true", "sync", "connect to the server itself"),
        (f"postgresql://h/n?sslpassword={PASSWORD}", "sync", "store the key without a password"),
        ("mysql://h/n?ssl-mode=REQUIRED", "async", "TLS mode require, and mysql.asyncmy"),
        ("mysql://h/n?ssl-mode=VERIFY_IDENTITY", "sync", "with ssl-ca"),
    ],
)
def test_what_a_url_cannot_carry_is_refused(url: str, driver: Driver, words: str) -> None:
    """An engine without the option would connect to something else, or without TLS."""
    with pytest.raises(InvalidDatabaseURL, match=words):
        DatabaseSettings(url=url).sqlalchemy_url(driver)


def test_refusal_shows_no_password() -> None:
    """Neither the error nor the URL itself does."""

    def refuse(settings: DatabaseSettings) -> BaseException:
        try:
            settings.sqlalchemy_url()
        except ConfigurationError as error:
            return error
        raise AssertionError

    url = f"postgresql://u:{PASSWORD}@h/n"
    assert not leaks(refuse(DatabaseSettings(url=f"{url}?sslmode=verify-full")))
    assert not leaks(refuse(DatabaseSettings(url=f"oracle{url.removeprefix('postgresql')}")))
    assert PASSWORD not in repr(DatabaseSettings(url=url).sqlalchemy_url())


def test_database_that_is_not_served_is_refused() -> None:
    """As at the start."""
    with pytest.raises(UnsupportedDriver, match="oracle"):
        DatabaseSettings(url="oracle://h/n").sqlalchemy_url("sync")


@pytest.mark.parametrize(
    ("installed", "driver"),
    [(("psycopg", "psycopg2"), "psycopg"), (("psycopg2",), "psycopg2"), ((), "psycopg")],
)
def test_psycopg2_is_taken_where_psycopg_is_not_installed(
    installed: tuple[str, ...], driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many projects have psycopg2-binary for their migrations."""
    found = {name: ModuleSpec(name, None) for name in installed}
    monkeypatch.setattr(parse, "find_spec", found.get)
    url = DatabaseSettings(url="postgresql://h/n?pgbouncer=false").sqlalchemy_url("sync")
    assert url.drivername == f"postgresql+{driver}"


async def test_engines_connect(database_url: str) -> None:
    """Both engines lead to the database of the settings."""
    settings = DatabaseSettings(url=database_url)
    for_sync = create_engine(settings.sqlalchemy_url("sync"), poolclass=NullPool)
    with for_sync.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    for_async = create_async_engine(settings.sqlalchemy_url("async"), poolclass=NullPool)
    async with for_async.connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1
    assert for_sync.url.database == for_async.url.database
