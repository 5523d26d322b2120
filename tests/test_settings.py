"""Every field: where its value comes from, its default, that it steers, and how it is refused."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import AnyUrl, ByteSize, MySQLDsn, PostgresDsn, SecretStr
from pydantic_core import MultiHostUrl, Url
from pydantic_settings import SettingsConfigDict
from sqlalchemy import MetaData, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.dialects import parse_url
from fastapi_asyncdb.errors import (
    AutoCreateTablesProductionError,
    ConfigurationError,
    DatabaseUnavailable,
    InsecureConnectionError,
)
from fastapi_asyncdb.extras.mongo import MongoSettings
from fastapi_asyncdb.extras.redis import RedisSettings
from fastapi_asyncdb.settings import PrefixedSettings
from fastapi_asyncdb.testing.servers.folder import free_port
from tests.support.databases import ONE_DRIVER
from tests.support.leaks import PASSWORD, leaks
from tests.support.tcp_proxy import tcp_proxy
from tests.support.tls_proxy import tls_proxy

pytestmark = pytest.mark.databases(*ONE_DRIVER)

# Field: default, text in a variable, value.
FIELDS: dict[str, tuple[Any, str, Any]] = {
    "url": (
        SecretStr("sqlite+aiosqlite:///./app.db"),
        "postgresql://u:p@db/app",
        SecretStr("postgresql://u:p@db/app"),
    ),
    "replica_urls": (
        [],
        "postgresql://o:p@a,b/app, postgresql://c/app",
        [SecretStr("postgresql://o:p@a,b/app"), SecretStr("postgresql://c/app")],
    ),
    "max_replica_lag": (None, "16MB", ByteSize(16_000_000)),
    "pool_size": (5, "7", 7),
    "max_overflow": (10, "0", 0),
    "pool_timeout": (30.0, "2.5", 2.5),
    "max_waiting": (None, "0", 0),
    "pool_recycle": (3600.0, "60", 60.0),
    "pool_overflow_idle": (60.0, "0.5", 0.5),
    "pool_pre_ping": (True, "false", False),
    "pool_ping_idle": (1.0, "0", 0.0),
    "connect_timeout": (5.0, "0.5", 0.5),
    "tcp_keepalive": (30.0, "12.5", 12.5),
    "startup_timeout": (30.0, "0", 0.0),
    "shutdown_timeout": (10.0, "0", 0.0),
    "statement_timeout": (None, "3", 3.0),
    "lock_timeout": (None, "0.25", 0.25),
    "idle_in_transaction_timeout": (60.0, "none", None),
    "pgbouncer": (None, "true", True),
    "migration_url": (None, "postgresql://o:p@db/app", SecretStr("postgresql://o:p@db/app")),
    "migration_lock_timeout": (5.0, "0.5", 0.5),
    "migration_statement_timeout": (None, "60", 60.0),
    "hold_warning": (5.0, "0.5", 0.5),
    "echo": (False, "1", True),
    "environment": ("development", "production", "production"),
}


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where no .env lies about."""
    monkeypatch.chdir(tmp_path)


# --- Where values come from -----------------------------------------------------------------------


def test_table_covers_every_field() -> None:
    """A field without a row here is a field without a test."""
    assert FIELDS.keys() == DatabaseSettings.model_fields.keys()


@pytest.mark.parametrize("field", FIELDS)
def test_default_is_as_documented(field: str) -> None:
    """With nothing said, a field has the default of the documentation."""
    assert getattr(DatabaseSettings(), field) == FIELDS[field][0]


@pytest.mark.parametrize("field", FIELDS)
def test_field_is_read_from_its_variable(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable is DATABASE_ and the field's name, in capitals."""
    _, written, value = FIELDS[field]
    monkeypatch.setenv(f"DATABASE_{field.upper()}", written)
    assert getattr(DatabaseSettings(), field) == value


@pytest.mark.parametrize("field", FIELDS)
def test_field_is_read_from_dotenv(field: str, tmp_path: Path) -> None:
    """The file .env in the working directory has the same names."""
    _, written, value = FIELDS[field]
    (tmp_path / ".env").write_text(f"OTHER=1\nDATABASE_{field.upper()}={written}\n")
    assert getattr(DatabaseSettings(), field) == value


def test_arguments_win_over_variables_and_variables_over_dotenv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearer a value is to the code, the more it counts."""
    (tmp_path / ".env").write_text("DATABASE_POOL_SIZE=1\nDATABASE_MAX_OVERFLOW=1\n")
    monkeypatch.setenv("DATABASE_POOL_SIZE", "2")
    settings = DatabaseSettings(pool_timeout=3)
    assert (settings.pool_size, settings.max_overflow, settings.pool_timeout) == (2, 1, 3)
    assert DatabaseSettings(pool_size=4).pool_size == 4


def test_environment_is_read_at_start_and_not_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A handle made at import sees the variables of the moment it starts."""
    database = Database()
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/late.db")

    async def run() -> None:
        async with database:
            assert database.engine.url.database == f"{tmp_path}/late.db"

    asyncio.run(run())


def test_subclass_may_have_its_own_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second database has its own variables, and errors name them."""

    class AnalyticsSettings(DatabaseSettings):
        model_config = SettingsConfigDict(env_prefix="ANALYTICS_")

    monkeypatch.setenv("ANALYTICS_POOL_SIZE", "3")
    assert AnalyticsSettings().pool_size == 3
    monkeypatch.setenv("ANALYTICS_POOL_SIZE", "0")
    with pytest.raises(ConfigurationError, match="ANALYTICS_POOL_SIZE"):
        AnalyticsSettings()


# --- The pool -------------------------------------------------------------------------------------


async def test_pool_has_its_size_its_overflow_and_its_timeout(database_url: str) -> None:
    """The third checkout of one and one waits for pool_timeout and fails."""
    settings = DatabaseSettings(url=database_url, pool_size=1, max_overflow=1, pool_timeout=0.2)
    async with Database(settings) as database, AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(database.read_engine.connect())
        started = time.monotonic()
        with pytest.raises(PoolTimeoutError, match="all 2 are in use"):
            await stack.enter_async_context(database.read_engine.connect())
        assert time.monotonic() - started >= 0.2


@pytest.mark.parametrize(("pool_recycle", "replaced"), [(0.1, True), (3600, False)])
async def test_old_connection_is_replaced(
    postgres_url: str, pool_recycle: float, replaced: bool
) -> None:
    """A connection older than pool_recycle is not used again."""
    settings = DatabaseSettings(url=postgres_url, pool_recycle=pool_recycle)
    async with Database(settings) as database:
        before = await _backend(database)
        await asyncio.sleep(0.15)
        assert (await _backend(database) != before) is replaced


@pytest.mark.parametrize(
    ("options", "survives"),
    [
        ({"pool_ping_idle": 0}, True),
        ({"pool_ping_idle": 60}, False),
        ({"pool_ping_idle": 0, "pool_pre_ping": False}, False),
    ],
)
async def test_ping_finds_the_connection_that_died(
    driver_url: str, options: dict[str, Any], survives: bool
) -> None:
    """Past the idle window no request notices a killed connection; inside it, or unpinged, one does."""
    async with Database(DatabaseSettings(url=driver_url, **options)) as database:
        backend = await _backend(database)
        async with Database(DatabaseSettings(url=driver_url)) as other, other.session() as session:
            kill = text("SELECT pg_terminate_backend(:backend, 5000)")
            assert await session.scalar(kill, {"backend": backend})
        if survives:
            assert await _backend(database) != backend
        else:
            with pytest.raises(DBAPIError):
                await _backend(database)


async def test_connection_used_a_moment_ago_is_not_asked(postgres_url: str) -> None:
    """Inside the idle window a read is one round trip on the wire; past it the ping comes on top."""
    url = urlsplit(postgres_url)
    assert url.port is not None
    counts: dict[float, int] = {}
    for idle in (0, 60):
        async with tcp_proxy(url.port) as proxy:
            settings = DatabaseSettings(
                url=url._replace(netloc=f"postgres@127.0.0.1:{proxy.port}").geturl(),
                pool_ping_idle=idle,
            )
            async with Database(settings) as database:
                # The first use of a statement prepares it.
                await _backend(database)
                before = proxy.round_trips
                await _backend(database)
                counts[idle] = proxy.round_trips - before
    assert counts[60] == 1
    assert counts[0] > 1


async def _backend(database: Database) -> int:
    async with database.read_session() as session:
        backend: int = await session.scalar(text("SELECT pg_backend_pid()"))
        return backend


# --- Timeouts -------------------------------------------------------------------------------------


async def test_connect_timeout_ends_an_attempt(driver: str, silent_port: int) -> None:
    """A server that accepts and says nothing costs one connect_timeout."""
    settings = DatabaseSettings(
        url=f"postgresql+{driver}://u@127.0.0.1:{silent_port}/app",
        connect_timeout=0.2,
        startup_timeout=0,
    )
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match="DATABASE_CONNECT_TIMEOUT"):
        await Database(settings).start()
    # psycopg's own timeout is two seconds at least: after one more than ours it is interrupted.
    assert 0.2 <= time.monotonic() - started < 1.9


@pytest.mark.parametrize(
    ("startup_timeout", "words"), [(0, "at the first attempt"), (1, r"after \d+ attempts in \d")]
)
async def test_startup_timeout_ends_the_start(startup_timeout: float, words: str) -> None:
    """Where nothing listens, start tries until the timeout; zero is one attempt."""
    settings = DatabaseSettings(
        url=f"postgresql://u@127.0.0.1:{free_port()}/app", startup_timeout=startup_timeout
    )
    with pytest.raises(DatabaseUnavailable, match=words):
        await Database(settings).start()


async def test_server_that_comes_up_late_is_waited_for(postgres_url: str) -> None:
    """Within startup_timeout the server may appear, and the start succeeds."""
    url = urlsplit(postgres_url)
    assert url.port is not None
    port = free_port()
    late = url._replace(netloc=f"postgres@127.0.0.1:{port}").geturl()
    database = Database(DatabaseSettings(url=late, startup_timeout=20))
    start = asyncio.create_task(database.start())
    await asyncio.sleep(0.2)
    assert not start.done()
    async with tls_proxy(url.port, port=port):
        await start
        assert await _backend(database)
        await database.stop()


@pytest.mark.parametrize(
    ("setting", "options", "shown"),
    [
        ("statement_timeout", {"statement_timeout": 2}, "2s"),
        ("statement_timeout", {"statement_timeout": 0.0501}, "51ms"),
        ("statement_timeout", {"statement_timeout": 0}, "0"),
        ("statement_timeout", {}, "0"),
        ("lock_timeout", {"lock_timeout": 0.25}, "250ms"),
        ("lock_timeout", {}, "0"),
        ("idle_in_transaction_session_timeout", {}, "1min"),
        ("idle_in_transaction_session_timeout", {"idle_in_transaction_timeout": 5}, "5s"),
        ("idle_in_transaction_session_timeout", {"idle_in_transaction_timeout": None}, "0"),
        ("application_name", {}, "fastapi_asyncdb"),
    ],
)
async def test_server_is_told(
    driver_url: str, setting: str, options: dict[str, Any], shown: str
) -> None:
    """The server itself names the value, on either driver."""
    async with Database(DatabaseSettings(url=driver_url, **options)) as database:
        assert await _shown(database, setting) == shown


@pytest.mark.parametrize("form", ["-c statement_timeout=7s", "--statement-timeout=7s"])
async def test_url_wins_over_the_settings(driver_url: str, form: str) -> None:
    """What the URL asks of the server counts more than the settings beside it."""
    query = f"options={form.replace('=', '%3D')}&application_name=mine"
    settings = DatabaseSettings(url=f"{driver_url}?{query}", statement_timeout=2, lock_timeout=3)
    async with Database(settings) as database:
        assert await _shown(database, "statement_timeout") == "7s"
        assert await _shown(database, "lock_timeout") == "3s"
        assert await _shown(database, "application_name") == "mine"


async def _shown(database: Database, setting: str) -> str:
    async with database.read_session() as session:
        shown: str = await session.scalar(text(f"SHOW {setting}"))
        return shown


async def test_statement_that_takes_too_long_is_cancelled(driver_url: str) -> None:
    """The server ends a statement after statement_timeout."""
    async with Database(DatabaseSettings(url=driver_url, statement_timeout=0.1)) as database:
        with pytest.raises(DBAPIError, match="statement timeout"):
            async with database.session() as session:
                await session.execute(text("SELECT pg_sleep(10)"))


async def test_waiting_for_a_lock_ends(database_url: str) -> None:
    """A second process gives up after lock_timeout: on SQLite at BEGIN, on a server at the row."""
    update = text("UPDATE counter SET value = value + 1")
    one = Database(DatabaseSettings(url=database_url))
    other = Database(DatabaseSettings(url=database_url, lock_timeout=0.2))
    async with one, other:
        async with one.session() as session:
            await session.execute(text("CREATE TABLE counter (value INTEGER)"))
            await session.execute(text("INSERT INTO counter VALUES (1)"))
        async with one.session() as first:
            await first.execute(update)
            started = time.monotonic()
            with pytest.raises(DBAPIError, match=r"(?i)lock"):
                async with other.session() as second:
                    await second.execute(update)
            # The driver's default for SQLite is five seconds, PostgreSQL waits for ever.
            assert 0.15 <= time.monotonic() - started < 4


async def test_transaction_that_idles_is_ended(driver_url: str) -> None:
    """A session that forgets an open transaction loses it, and its locks, after the timeout."""
    settings = DatabaseSettings(url=driver_url, idle_in_transaction_timeout=0.1)
    async with Database(settings) as database:
        with pytest.raises(DBAPIError):
            await _idle_in_transaction(database)
        assert await _backend(database)


async def _idle_in_transaction(database: Database) -> None:
    async with database.session() as session:
        await session.execute(text("SELECT 1"))
        await asyncio.sleep(0.3)
        await session.execute(text("SELECT 1"))


# --- Log and environment --------------------------------------------------------------------------


@pytest.mark.parametrize("echo", [True, False])
async def test_echo_logs_statements(
    sqlite_url: str, echo: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """With echo, every statement is in the log."""
    logger = logging.getLogger("sqlalchemy")
    handlers = list(logger.handlers)
    try:
        database = Database(DatabaseSettings(url=sqlite_url, echo=echo))
        async with database, database.session() as session:
            await session.execute(text("SELECT 'seen'"))
    finally:
        # echo installs a handler that prints.
        logger.handlers = handlers
    assert ("SELECT 'seen'" in caplog.text) is echo


@pytest.mark.parametrize("query", ["", "?sslmode=disable", "?sslmode=prefer", "?sslmode=require"])
async def test_production_refuses_a_stranger(driver: str, query: str) -> None:
    """In production no password is sent to a host that has not proved its identity."""
    settings = DatabaseSettings(
        url=f"postgresql+{driver}://u:{PASSWORD}@db.invalid/app{query}", environment="production"
    )
    with pytest.raises(
        InsecureConnectionError, match=r"db\.invalid.*sslmode=verify-full"
    ) as caught:
        await Database(settings).start()
    assert not leaks(caught.value)


@pytest.mark.parametrize(
    ("environment", "query"),
    [
        ("development", ""),
        ("test", "?sslmode=disable"),
        ("staging", "?sslmode=require"),
        ("production", "?sslmode=verify-full"),
    ],
)
async def test_others_may_connect_as_they_like(environment: str, query: str) -> None:
    """A verified host, and any host outside production, is asked: here it is not known."""
    settings = DatabaseSettings(
        url=f"postgresql://u@db.invalid/app{query}", environment=environment, startup_timeout=0
    )
    with pytest.raises(DatabaseUnavailable):
        await Database(settings).start()


async def test_production_trusts_this_machine(database_url: str) -> None:
    """Files, sockets and loopback addresses need no TLS."""
    database = Database(DatabaseSettings(url=database_url, environment="production"))
    async with database, database.session() as session:
        assert await session.scalar(text("SELECT 1")) == 1


@pytest.mark.parametrize("environment", ["development", "test", "staging", "production"])
async def test_production_creates_no_tables(sqlite_url: str, environment: str) -> None:
    """Creating tables from models is for development; production has migrations."""
    database = Database(DatabaseSettings(url=sqlite_url, environment=environment))
    if environment == "production":
        with pytest.raises(AutoCreateTablesProductionError, match="migrations"):
            await database.start(create_tables=MetaData())
    else:
        await database.start(create_tables=MetaData())
        await database.stop()


# --- Bad values -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variable", "written", "words"),
    [
        ("DATABASE_POOL_SIZE", "0", "greater than or equal to 1"),
        ("DATABASE_POOL_SIZE", "many", "integer"),
        ("DATABASE_POOL_SIZE", "", "integer"),
        ("DATABASE_POOL_SIZE", "2.5", "integer"),
        ("DATABASE_MAX_OVERFLOW", "-1", "greater than or equal to 0"),
        ("DATABASE_POOL_TIMEOUT", "0", "greater than 0"),
        ("DATABASE_POOL_TIMEOUT", "nan", "finite"),
        ("DATABASE_MAX_WAITING", "-1", "greater than or equal to 0"),
        ("DATABASE_MAX_WAITING", "1.5", "integer"),
        ("DATABASE_POOL_RECYCLE", "-1", "greater than 0"),
        ("DATABASE_POOL_PRE_PING", "perhaps", "boolean"),
        ("DATABASE_POOL_PING_IDLE", "-1", "greater than or equal to 0"),
        ("DATABASE_CONNECT_TIMEOUT", "0", "greater than 0"),
        ("DATABASE_CONNECT_TIMEOUT", "5s", "number"),
        ("DATABASE_STARTUP_TIMEOUT", "-1", "greater than or equal to 0"),
        ("DATABASE_STARTUP_TIMEOUT", "inf", "finite"),
        ("DATABASE_STATEMENT_TIMEOUT", "-1", "greater than or equal to 0"),
        ("DATABASE_LOCK_TIMEOUT", "-1", "greater than or equal to 0"),
        ("DATABASE_IDLE_IN_TRANSACTION_TIMEOUT", "-1", "greater than or equal to 0"),
        ("DATABASE_ECHO", "loud", "boolean"),
        ("DATABASE_ENVIRONMENT", "prod", "'production'"),
        ("DATABASE_URL", "", "is empty; leave it out"),
        ("DATABASE_URL", "  ", "is empty; leave it out"),
    ],
)
async def test_bad_value_is_one_message_that_names_the_variable(
    variable: str, written: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Start fails with the variable and the rule, and shows no URL anywhere."""
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u:{PASSWORD}@db/app")
    monkeypatch.setenv(variable, written)
    with pytest.raises(ConfigurationError, match=f"{variable}: .*{words}") as caught:
        await Database().start()
    assert "\n" not in str(caught.value)
    assert not leaks(caught.value)


def test_all_bad_values_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One start names all variables that are wrong."""
    monkeypatch.setenv("DATABASE_POOL_SIZE", "0")
    monkeypatch.setenv("DATABASE_ECHO", "loud")
    with pytest.raises(ConfigurationError, match=r"DATABASE_POOL_SIZE.*DATABASE_ECHO"):
        DatabaseSettings()


def test_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    """A .env in another encoding is a mistake in the configuration, not a UnicodeDecodeError."""
    (tmp_path / ".env").write_bytes(b"DATABASE_URL=\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"\.env is not UTF-8"):
        DatabaseSettings()


SCHEMES: dict[type[PrefixedSettings], str] = {
    DatabaseSettings: "postgresql",
    RedisSettings: "redis",
    MongoSettings: "mongodb",
}


@pytest.mark.parametrize("settings", SCHEMES)
def test_unknown_name_is_refused(settings: type[PrefixedSettings]) -> None:
    """A typo in code is a TypeError that lists the names there are, without the URL."""

    def typo() -> BaseException:
        try:
            settings(url=f"{SCHEMES[settings]}://u:{PASSWORD}@db/app", pool_sise=3)
        except TypeError as error:
            return error
        raise AssertionError

    problem = typo()
    assert "pool_sise" in str(problem)
    assert "pool_size" in str(problem)
    assert not leaks(problem)


@pytest.mark.parametrize("settings", SCHEMES)
def test_bad_value_in_code_shows_no_url(settings: type[PrefixedSettings]) -> None:
    """Given as arguments, bad values are refused in the same words, and the URL stays hidden."""

    def refuse() -> BaseException:
        try:
            settings(url=f"{SCHEMES[settings]}://u:{PASSWORD}@db/app", pool_size=0)
        except ConfigurationError as error:
            return error
        raise AssertionError

    problem = refuse()
    assert "pool_size: Input should be greater" in str(problem)
    assert not leaks(problem)


BAD_ARGUMENTS: dict[str, Any] = {
    **dict.fromkeys(FIELDS, "nonsense"),
    "url": 3,
    "migration_url": 3,
}


@pytest.mark.parametrize("field", FIELDS)
def test_message_names_where_the_value_comes_from(
    field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An argument is named as one; the variable, when the value comes from it or from .env."""
    variable = f"DATABASE_{field.upper()}"
    argument = re.compile(rf"wrong: {field}: ")
    with pytest.raises(ConfigurationError, match=argument) as caught:
        DatabaseSettings(**{field: BAD_ARGUMENTS[field]})
    assert variable not in str(caught.value)

    (tmp_path / ".env").write_text(f"{variable}={'' if field.endswith('url') else 'nonsense'}\n")
    with pytest.raises(ConfigurationError, match=f"wrong: {variable}: "):
        DatabaseSettings()
    with pytest.raises(ConfigurationError, match=argument):  # which wins over the variable
        DatabaseSettings(**{field: BAD_ARGUMENTS[field]})

    (tmp_path / ".env").unlink()
    monkeypatch.setenv(variable, "" if field.endswith("url") else "nonsense")
    with pytest.raises(ConfigurationError, match=f"wrong: {variable}: "):
        DatabaseSettings()


def test_argument_and_variable_are_named_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of two bad values is named by its own source."""
    monkeypatch.setenv("DATABASE_POOL_SIZE", "0")
    with pytest.raises(ConfigurationError, match=r"DATABASE_POOL_SIZE: .*; pool_timeout: "):
        DatabaseSettings(pool_timeout=-1)


@pytest.mark.parametrize(
    ("variables", "options"),
    [
        ({}, {"url": "postgresql://u@db.invalid/app", "environment": "production"}),
        ({"DATABASE_ENVIRONMENT": "production"}, {"url": "postgresql://u@db.invalid/app"}),
    ],
)
async def test_message_of_the_start_names_no_variable_that_may_be_unset(
    variables: dict[str, str], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the engines are built, the source of the URL is not known any more."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InsecureConnectionError, match="The database URL connects to") as caught:
        await Database(DatabaseSettings(**options)).start()
    assert "DATABASE_" not in str(caught.value)


# --- Objects as URLs ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        PostgresDsn(f"postgres://u:{PASSWORD}@db/app?sslmode=require"),
        PostgresDsn(f"postgresql://u:{PASSWORD}@one:1,two:2/app"),
        MultiHostUrl(f"postgresql://u:{PASSWORD}@one:1,two:2/app"),
        AnyUrl(f"postgresql+psycopg://u:{PASSWORD}%40%2F@db/app"),
        Url(f"postgresql://u:{PASSWORD}@db/app"),
        MySQLDsn(f"mysql://u:{PASSWORD}@db/app"),
        AnyUrl("sqlite:////tmp/app.db"),
    ],
    ids=lambda url: f"{type(url).__name__} {url.scheme}",
)
def test_url_may_be_one_of_pydantics(url: Any) -> None:
    """An application that validates its DSN itself passes it on as it is; it is secret from there on."""
    settings = DatabaseSettings(url=url)
    assert settings.url == SecretStr(str(url))
    assert PASSWORD not in repr(settings)
    assert settings == DatabaseSettings(url=str(url))


async def test_database_starts_from_a_pydantic_url(database_url: str) -> None:
    """A DSN type of Pydantic leads to the same database as its text."""
    url = urlsplit(database_url)
    kinds = {"sqlite": AnyUrl, "postgresql+asyncpg": PostgresDsn, "mysql+asyncmy": MySQLDsn}
    given = kinds[url.scheme](database_url)
    async with Database(DatabaseSettings(url=given)) as database, database.session() as session:
        assert await session.scalar(text("SELECT 1")) == 1
    assert database.settings is not None
    assert parse_url(database.settings.url).url == parse_url(database_url).url


def test_password_of_a_pydantic_url_leaks_from_no_error() -> None:
    """Beside a bad value it is as hidden as a text."""

    def refuse() -> BaseException:
        try:
            DatabaseSettings(url=PostgresDsn(f"postgresql://u:{PASSWORD}@db/app"), pool_size=0)
        except ConfigurationError as error:
            return error
        raise AssertionError

    assert not leaks(refuse())


@pytest.mark.parametrize("value", [3, None, Path("app.db")])
def test_what_is_no_url_is_refused(value: object) -> None:
    """Numbers and paths are not taken for text."""
    with pytest.raises(ConfigurationError, match=r"wrong: url: "):
        DatabaseSettings(url=value)


async def test_url_that_cannot_be_read_is_refused_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The URL is parsed at start, and its errors show no password either."""
    monkeypatch.setenv("DATABASE_URL", f"postgresql+psycopg2://u:{PASSWORD}@db/app")
    with pytest.raises(ConfigurationError, match="psycopg2") as caught:
        await Database().start()
    assert not leaks(caught.value)


def test_settings_show_no_password() -> None:
    """Neither repr nor str nor a dump has it; only the secret itself gives it out."""
    settings = DatabaseSettings(url=f"postgresql://u:{PASSWORD}@db/app")
    shown = [repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()]
    shown += [repr(Database(settings)), repr(vars(settings))]
    assert not [text for text in shown if PASSWORD in text]
    assert PASSWORD in settings.url.get_secret_value()


def test_settings_do_not_change() -> None:
    """What was validated stays as it is."""
    settings = DatabaseSettings()
    with pytest.raises(ValueError, match="frozen"):
        settings.pool_size = 3
    assert settings.pool_size == 5
