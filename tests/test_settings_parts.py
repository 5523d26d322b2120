"""The URL in parts: which variables name them, what comes before what, and how they are refused."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, PostgresDsn, SecretStr, ValidationError, computed_field
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL, text

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.dialects import parse_url
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.settings import misspelt
from tests.support.leaks import PASSWORD, leaks

DEFAULT = "sqlite+aiosqlite:///./app.db"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work where no .env lies about, and where no warning was given yet."""
    monkeypatch.chdir(tmp_path)
    misspelt._warn.cache_clear()


def url_of(**values: Any) -> str:
    """Return the URL of settings."""
    return DatabaseSettings(**values).url.get_secret_value()


def set_variables(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    """Set variables of the environment."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


# --- Which variables ------------------------------------------------------------------------------

ADDRESSES: list[tuple[dict[str, str], str]] = [
    (
        {
            "DATABASE_HOST": "h",
            "DATABASE_USER": "u",
            "DATABASE_PASSWORD": "p",
            "DATABASE_NAME": "n",
        },
        "postgresql://u:p@h/n",
    ),
    (  # FastAPI's full-stack template
        {
            "POSTGRES_SERVER": "h",
            "POSTGRES_PORT": "5433",
            "POSTGRES_DB": "n",
            "POSTGRES_USER": "u",
            "POSTGRES_PASSWORD": "p",
        },
        "postgresql://u:p@h:5433/n",
    ),
    (  # Docker's image
        {"POSTGRES_DB": "n", "POSTGRES_USER": "u", "POSTGRES_PASSWORD": "p"},
        "postgresql://u:p@localhost/n",
    ),
    (
        {"DB_HOST": "h", "DB_PORT": "1", "DB_USER": "u", "DB_PASS": "p", "DB_NAME": "n"},
        "postgresql://u:p@h:1/n",
    ),
    (
        {"DB_SERVER": "h", "DB_USERNAME": "u", "DB_PASSWORD": "p", "DB_DATABASE": "n"},
        "postgresql://u:p@h/n",
    ),
    ({"DB_HOST": "h", "DB_DRIVER": "postgresql+psycopg"}, "postgresql+psycopg://h"),
    ({"DB_DRIVER": "sqlite", "DB_NAME": "./a.db"}, "sqlite:///.%2Fa.db"),
    (  # what is in .env for the server is not of the file
        {
            "DB_DRIVER": "sqlite+aiosqlite",
            "DB_NAME": "a.db",
            "DB_HOST": "h",
            "DB_PORT": "1",
            "POSTGRES_USER": "u",
            "DB_PASSWORD": "p",
        },
        "sqlite+aiosqlite:///a.db",
    ),
    ({"MYSQL_DATABASE": "n", "MYSQL_USER": "u", "MYSQL_PASSWORD": "p"}, "mysql://u:p@localhost/n"),
    ({"MARIADB_HOST": "h"}, "mariadb://h"),
    # A value that is empty is none.
    ({"DB_HOST": "h", "DB_PORT": "", "DB_PASSWORD": ""}, "postgresql://h"),
    # The service "db" of Kubernetes sets this in every pod.
    ({"DB_PORT": "tcp://10.0.0.1:5432"}, DEFAULT),
    ({"DB_PORT": "tcp://10.0.0.1:5432", "DB_HOST": "h"}, "postgresql://h"),
]


@pytest.mark.parametrize(
    ("variables", "url"), ADDRESSES, ids=[" ".join(variables) for variables, _ in ADDRESSES]
)
@pytest.mark.parametrize("place", ["environment", ".env", "secrets"])
def test_url_is_made_of_its_parts(
    place: str,
    variables: dict[str, str],
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Variables that templates and images write make the URL, wherever they stand."""
    if place == "environment":
        set_variables(monkeypatch, variables)
    elif place == ".env":
        (tmp_path / ".env").write_text("\n".join(f"{n}={v}" for n, v in variables.items()))
    else:
        for name, value in variables.items():
            (tmp_path / name.lower()).write_text(value)
    assert url_of(_secrets_dir=tmp_path) == url


@pytest.mark.parametrize("prefix", ["DB_", "POSTGRES_", "APP_DB_", "app_db_"])
@pytest.mark.parametrize(
    "words",
    [
        ("HOST", "PORT", "USER", "PASSWORD", "NAME"),
        ("SERVER", "PORT", "USERNAME", "PASS", "DB"),
        ("HOST", "PORT", "USER", "PASSWORD", "DATABASE"),
    ],
    ids="-".join,
)
def test_own_prefix_has_the_same_words(
    prefix: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a prefix of its own, settings read its variables, and those of no other prefix."""
    values = dict(zip(words, ("h", "1", "u", "p", "n"), strict=True))
    set_variables(monkeypatch, {prefix.upper() + word: value for word, value in values.items()})
    monkeypatch.setenv("DATABASE_URL", "sqlite:///other.db")
    assert url_of(_env_prefix=prefix) == "postgresql://u:p@h:1/n"
    assert url_of(_env_prefix="ANALYTICS_") == DEFAULT


def test_prefix_of_a_database_tells_its_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """MYSQL_* is MySQL also where it is the prefix of the settings."""
    monkeypatch.setenv("MYSQL_HOST", "h")
    assert url_of(_env_prefix="MYSQL_") == "mysql://h"


def test_without_a_prefix_the_variables_of_the_shell_are_no_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every shell has USER and many have HOST: they are not the database's."""

    class Bare(DatabaseSettings):
        model_config = SettingsConfigDict(env_prefix="")

    set_variables(monkeypatch, {"USER": "me", "HOST": "laptop", "NAME": "x", "POSTGRES_HOST": "h"})
    assert Bare().url.get_secret_value() == DEFAULT


# --- What comes before what -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "values", "url"),
    [
        # A URL comes before parts of the environment.
        ({"DATABASE_URL": "sqlite:///a.db", "POSTGRES_SERVER": "h"}, {}, "sqlite:///a.db"),
        ({"DATABASE_URL": "sqlite:///a.db", "DATABASE_HOST": "h"}, {}, "sqlite:///a.db"),
        ({"DATABASE_HOST": "h"}, {"url": "sqlite:///a.db"}, "sqlite:///a.db"),
        # Arguments come before a URL of the environment.
        ({"DATABASE_URL": "sqlite:///a.db"}, {"host": "h"}, "postgresql://h"),
        # DATABASE_* comes before others, part for part; DB_* before those of images.
        (
            {"DATABASE_HOST": "a", "DB_HOST": "b", "DB_USER": "u", "POSTGRES_USER": "v"},
            {},
            "postgresql://u@a",
        ),
        ({"DB_HOST": "h", "POSTGRES_USER": "u", "POSTGRES_DB": "n"}, {}, "postgresql://u@h/n"),
        ({"DB_HOST": "h", "MYSQL_DATABASE": "n"}, {}, "mysql://h/n"),
        # An argument comes before a variable, part for part.
        (
            {"DATABASE_HOST": "h", "DATABASE_NAME": "a", "DB_USER": "u"},
            {"name": "b"},
            "postgresql://u@h/b",
        ),
        # A host that code names gets no password that is meant for another one.
        ({"DATABASE_NAME": "n", "DB_PASSWORD": "p"}, {"host": "h"}, "postgresql://h/n"),
        ({"DB_HOST": "h", "DB_NAME": "none"}, {}, "postgresql://h"),
        # What an application passes on may be empty.
        ({}, {"host": "h", "user": "", "password": "", "port": None}, "postgresql://h"),
        ({}, {"host": "", "name": None, "password": SecretStr("")}, DEFAULT),
    ],
)
def test_order(
    variables: dict[str, str],
    values: dict[str, Any],
    url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The nearer a value is to the code, the more it counts."""
    set_variables(monkeypatch, variables)
    assert url_of(**values) == url


def test_environment_comes_before_dotenv_and_names_before_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one name the environment counts; DATABASE_* in .env counts before DB_* in the environment."""
    (tmp_path / ".env").write_text("DATABASE_HOST=dotenv\nDATABASE_NAME=dotenv\n")
    set_variables(monkeypatch, {"DB_HOST": "environment", "DATABASE_NAME": "environment"})
    assert url_of() == "postgresql://dotenv/environment"


@pytest.mark.parametrize(
    ("variables", "values", "words"),
    [
        ({}, {"url": "sqlite://", "host": "h"}, "url and host are arguments together"),
        # The developer on SQLite, with what Docker's image needs in .env.
        (
            {"POSTGRES_PASSWORD": "p"},
            {},
            r"there is only POSTGRES_PASSWORD\. Set DATABASE_HOST or .*DATABASE_URL=sqlite:///",
        ),
        ({"DB_PORT": "5432", "DB_USER": "u"}, {}, "only DB_PORT, DB_USER"),
        ({"APP_USER": "u"}, {"_env_prefix": "APP_"}, "only APP_USER. Set APP_HOST or APP_NAME"),
        ({}, {"password": "p"}, "only password"),
        ({}, {"driver": "mysql"}, "only driver"),
        ({"DB_DRIVER": "sqlite", "DB_HOST": "h"}, {}, "DB_DRIVER says SQLite, and no name"),
        ({}, {"driver": "sqlite", "name": "a", "host": "h"}, "no server: leave host out"),
        (
            {"POSTGRES_DB": "n", "MYSQL_USER": "u"},
            {},
            "of different databases. Set DATABASE_DRIVER",
        ),
        ({"DB_HOST": "h", "DB_PORT": "0"}, {}, "DB_PORT: .*greater than or equal to 1"),
        ({"DB_HOST": "h", "DB_PORT": "65536"}, {}, "DB_PORT: .*less than or equal to 65535"),
        ({"DB_HOST": "h", "DB_PORT": "many"}, {}, "DB_PORT: .*integer"),
        ({}, {"host": "h", "port": "many"}, "wrong: port: .*integer"),
        ({"DB_HOST": "h:5432"}, {}, "DB_HOST: is no host name.*port has a setting of its own"),
        ({"DB_HOST": "postgresql://h/n"}, {}, "DB_HOST: is no host name"),
        ({"DB_HOST": "a,b"}, {}, "DB_HOST: is no host name.*several hosts"),
        ({"DB_HOST": "h", "DB_DRIVER": "my sql"}, {}, "DB_DRIVER: is no scheme"),
        ({"DB_HOST": "a b", "DB_PORT": "x"}, {}, "DB_HOST: .*; DB_PORT: "),
    ],
)
def test_bad_parts_are_one_message(
    variables: dict[str, str],
    values: dict[str, Any],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half an address is refused, never SQLite without a word; the message names the variables."""
    set_variables(monkeypatch, variables)
    with pytest.raises(ConfigurationError, match=words) as caught:
        DatabaseSettings(**values)
    assert "\n" not in str(caught.value)


# --- The URL --------------------------------------------------------------------------------------

WRITTEN = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\x00"), min_size=1
) | st.text("@:/?#%&=+ []\\'\"$;,é", min_size=1)


@given(user=WRITTEN, password=WRITTEN, name=WRITTEN)
def test_parts_come_back_whatever_is_in_them(user: str, password: str, name: str) -> None:
    """A password is written as it is: every sign of a URL may be in it."""
    settings = DatabaseSettings(
        host="h", port=1, user=user, password=password, name=name, _env_file=None
    )
    url = parse_url(settings.url).url
    assert (url.username, url.password, url.database) == (user, password, name)
    assert (url.host, url.port) == ("h", 1)


@pytest.mark.parametrize(
    ("values", "url"),
    [
        ({"host": "::1", "port": 5, "name": "n"}, "postgresql://[::1]:5/n"),
        ({"host": "[fe80::1]", "name": "n"}, "postgresql://[fe80::1]/n"),
        (
            {"host": "/var/run/postgresql", "port": 5, "name": "n"},
            "postgresql:///n?host=%2Fvar%2Frun%2Fpostgresql&port=5",
        ),
        (
            {"host": "/run/mysqld.sock", "driver": "mysql", "name": "n"},
            "mysql:///n?unix_socket=%2Frun%2Fmysqld.sock",
        ),
        ({"driver": "sqlite", "name": "/tmp/app.db"}, "sqlite:///%2Ftmp%2Fapp.db"),
        (
            {"driver": "postgresql+psycopg", "host": "h.example.com"},
            "postgresql+psycopg://h.example.com",
        ),
    ],
)
def test_host_may_be_an_address_or_a_socket(values: dict[str, Any], url: str) -> None:
    """What stands elsewhere in a URL is put there."""
    assert url_of(**values) == url
    parse_url(url)


async def test_database_starts_from_parts(database_url: str) -> None:
    """Parts lead to the same database as their URL."""
    url = parse_url(database_url).url
    settings = DatabaseSettings(
        host=url.query.get("host", url.host),
        port=url.port or url.query.get("port"),
        user=url.username,
        password=url.password,
        name=url.database,
        driver=url.drivername,
    )
    async with Database(settings) as database, database.session() as session:
        assert await session.scalar(text("SELECT 1")) == 1
        assert database.engine.url.database == url.database


def test_url_is_all_that_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings made of parts are equal to those made of the URL, and a copy has one address."""
    settings = DatabaseSettings(host="h", name="n")
    assert settings == DatabaseSettings(url="postgresql://h/n")
    assert "host" not in settings.model_dump()


# --- Secrets --------------------------------------------------------------------------------------


def _error(error: type[BaseException], **values: Any) -> BaseException:
    try:
        DatabaseSettings(password=PASSWORD, **values)
    except error as problem:
        return problem
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "values"),
    [
        (ConfigurationError, {"host": "h", "port": 0}),
        (ConfigurationError, {"host": "h", "pool_size": 0}),
        (ConfigurationError, {}),
        (ConfigurationError, {"url": "sqlite://"}),
        (TypeError, {"hots": "h"}),
    ],
)
def test_password_leaks_from_no_error(error: type[BaseException], values: dict[str, Any]) -> None:
    """Whatever is wrong beside it, an argument is hidden."""
    assert not leaks(_error(error, **values))


def test_password_of_a_variable_leaks_from_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is a variable shown: not where the port beside it is wrong, not where all is right."""
    set_variables(monkeypatch, {"DB_HOST": "h", "DB_PASSWORD": PASSWORD, "DB_PORT": "x"})
    with pytest.raises(ConfigurationError) as caught:
        DatabaseSettings()
    assert not leaks(caught.value)
    monkeypatch.setenv("DB_PORT", "1")
    settings = DatabaseSettings()
    assert PASSWORD not in f"{settings!r} {settings.model_dump()} {vars(settings)!r}"
    assert PASSWORD in settings.url.get_secret_value()


# --- In settings of the application's own ---------------------------------------------------------


class OwnSettings(BaseSettings):
    """The settings of an application, as many have them."""

    model_config = SettingsConfigDict(env_file=".env", env_nested_delimiter="__", extra="ignore")

    title: str = "app"
    database: DatabaseSettings = Field(default_factory=DatabaseSettings)


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, DEFAULT),
        ({"DATABASE_HOST": "h"}, "postgresql://h"),
        ({"POSTGRES_SERVER": "h", "POSTGRES_DB": "n"}, "postgresql://h/n"),
        ({"DATABASE__URL": "sqlite:///a.db"}, "sqlite:///a.db"),
        ({"DATABASE__HOST": "h", "DATABASE__PASSWORD": "p:@"}, "postgresql://:p%3A%40@h"),
        # One level comes from another source than the other.
        ({"DATABASE__NAME": "n", "DATABASE_HOST": "h"}, "postgresql://h/n"),
    ],
)
def test_settings_may_be_nested(
    variables: dict[str, str],
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They stand in the settings of the application, with a delimiter or without."""
    set_variables(monkeypatch, variables)
    assert OwnSettings().database.url.get_secret_value() == url
    assert not caplog.records


@pytest.mark.parametrize("secret", ["DATABASE__URL", "DATABASE__PASSWORD"])
def test_errors_of_nested_settings_are_readable(
    secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of the outer settings names the value, and shows neither URL nor password."""
    monkeypatch.setenv(secret, f"postgresql://u:{PASSWORD}@h/n")
    monkeypatch.setenv("DATABASE__POOL_SIZE", "0")
    with pytest.raises(ValidationError) as caught:
        OwnSettings()
    message = str(caught.value)
    assert "pool_size: Input should be greater" in message or "only password" in message
    assert PASSWORD[:3] not in message
    assert PASSWORD not in str(caught.value.errors())


def test_settings_of_the_application_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The full-stack template computes a DSN from its own fields."""

    class Settings(BaseSettings):
        POSTGRES_SERVER: str = ""
        POSTGRES_PORT: int = 5432
        POSTGRES_USER: str = ""
        POSTGRES_PASSWORD: str = ""
        POSTGRES_DB: str = ""

        @computed_field
        def SQLALCHEMY_DATABASE_URI(self) -> PostgresDsn:  # noqa: N802 - the template's name
            return PostgresDsn.build(
                scheme="postgresql+psycopg",
                username=self.POSTGRES_USER,
                password=self.POSTGRES_PASSWORD,
                host=self.POSTGRES_SERVER,
                port=self.POSTGRES_PORT,
                path=self.POSTGRES_DB,
            )

    set_variables(
        monkeypatch,
        {
            "POSTGRES_SERVER": "h",
            "POSTGRES_USER": "u",
            "POSTGRES_PASSWORD": "p",
            "POSTGRES_DB": "n",
        },
    )
    settings = Settings()
    url = url_of(url=settings.SQLALCHEMY_DATABASE_URI)
    assert url == "postgresql+psycopg://u:p@h:5432/n"


def test_url_may_be_sqlalchemys() -> None:
    """Its parts are quoted; it is what many applications build."""
    url = URL.create("postgresql+asyncpg", "u", "p@/:", "h", 1, "n?%", {"sslmode": "require"})
    parsed = parse_url(DatabaseSettings(url=url).url)
    assert (parsed.url.password, parsed.url.database, parsed.tls.mode) == ("p@/:", "n?%", "require")


# --- Misspelt names -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("DATABASE_POOLSIZE", "DATABASE_POOL_SIZE"),
        ("DATABASE_POOL_SISE", "DATABASE_POOL_SIZE"),
        ("database_pool_sise", "DATABASE_POOL_SIZE"),
        ("DATABASE_PASSWD", "DATABASE_PASSWORD"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("DATABASE_DSN", "DATABASE_URL"),
        ("DATABASE_MAX_OVERFLOWS", "DATABASE_MAX_OVERFLOW"),
        ("DATABASE_REPLICA_URL", "DATABASE_REPLICA_URLS"),
        ("DATABASE_URL_REPLICA", None),
        ("DATABASE_PORT_5432_TCP", None),
        ("DATABASE_SERVICE_HOST", None),
        ("DATABASE__POOLSIZE", None),
        ("DATABASES_POOLSIZE", None),
    ],
)
@pytest.mark.parametrize("place", ["environment", ".env"])
def test_misspelt_variable_is_named(
    place: str,
    name: str,
    meant: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One warning has the name that was meant, and never the value; other programs' are passed over."""
    if place == "environment":
        monkeypatch.setenv(name, PASSWORD)
    else:
        (tmp_path / ".env").write_text(f"{name}={PASSWORD}\n")
    DatabaseSettings()
    expected = [f"{name.upper()} is not a setting. Did you mean {meant}?"] if meant else []
    assert caplog.messages == expected


def test_misspelt_variables_are_one_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """All of them are in it, with a prefix of one's own as well, and it is not repeated."""
    set_variables(monkeypatch, {"APP_DB_POOLSIZE": "1", "APP_DB_HOTS": "h", "DATABASE_ECO": "1"})
    for _ in range(2):
        DatabaseSettings(_env_prefix="APP_DB_")
    assert caplog.messages == [
        "APP_DB_HOTS is not a setting. Did you mean APP_DB_HOST?; "
        "APP_DB_POOLSIZE is not a setting. Did you mean APP_DB_POOL_SIZE?"
    ]


async def test_start_names_a_misspelt_variable(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A Database that reads the environment does so at its start."""
    set_variables(monkeypatch, {"DATABASE_URL": sqlite_url, "DATABASE_POOLSIZE": "1"})
    database = Database()
    assert not caplog.messages
    async with database:
        pass
    assert [each.levelno for each in caplog.records] == [logging.WARNING]


# --- configure() ----------------------------------------------------------------------------------


async def test_configured_settings_are_those_of_the_next_start(tmp_path: Path) -> None:
    """The latest call counts; its dependencies and its lifespan, made before, use them."""
    database = Database()
    lifespan = database.lifespan
    for name in ("first", "second"):
        database.configure(DatabaseSettings(url=f"sqlite:///{tmp_path}/{name}.db"))
    async with lifespan():
        assert database.engine.url.database == f"{tmp_path}/second.db"
    override = DatabaseSettings(url=f"sqlite:///{tmp_path}/override.db")
    with database.override_settings(override):
        database.configure(DatabaseSettings(url=f"sqlite:///{tmp_path}/third.db"))
        async with database:
            assert database.engine.url.database == f"{tmp_path}/override.db"
    async with database:
        assert database.engine.url.database == f"{tmp_path}/third.db"


def test_running_database_is_not_configured(sqlite_url: str) -> None:
    """Other settings for engines that are in use are refused, on any event loop; after the stop not."""
    database = Database(DatabaseSettings(url=sqlite_url))

    async def run() -> None:
        async with database:
            with pytest.raises(ConfigurationError, match="before it starts"):
                database.configure(DatabaseSettings(url="sqlite://"))

    asyncio.run(run())
    database.configure(DatabaseSettings(url="sqlite://"))


async def test_options_are_checked_for_the_configured_database(tmp_path: Path) -> None:
    """A dependency for one database, made before another one was configured, fails at the start."""
    database = Database()
    database.dependency(isolation_level="READ COMMITTED")
    database.configure(DatabaseSettings(url=f"sqlite:///{tmp_path}/app.db"))
    with pytest.raises(ConfigurationError, match="READ COMMITTED"):
        await database.start()
