"""DATABASE_* from the environment, validated. Opens nothing and parses no URL."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, Literal, Protocol, Self, runtime_checkable
from urllib.parse import quote

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL

from fastapi_asyncdb.errors import ConfigurationError

Environment = Literal["development", "test", "staging", "production"]


class DatabaseSettings(BaseSettings):
    """Describe one database: where it is, how many connections, how long anything may take.

    Values come from the arguments, then from ``DATABASE_*`` variables, then from ``.env``, then from
    the defaults. Times are seconds; a variable that says ``none`` means ``None``. The URL is secret
    in every repr, log and error.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="DATABASE_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        # A variable cannot hold None: DATABASE_IDLE_IN_TRANSACTION_TIMEOUT=none.
        env_parse_none_str="none",
    )

    url: SecretStr = SecretStr("sqlite+aiosqlite:///./app.db")
    """Where the database is: any URL that a host hands out, SQLAlchemy's ``URL``, Pydantic's DSNs."""
    pool_size: int = Field(default=5, ge=1)
    """Connections kept open."""
    max_overflow: int = Field(default=10, ge=0)
    """Connections beyond ``pool_size`` while there is demand."""
    pool_timeout: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Wait for a free connection, first come, first served."""
    max_waiting: int | None = Field(default=None, ge=0)
    """Refuse at once when so many wait for a connection already; 0 lets nobody wait."""
    pool_recycle: float = Field(default=3600.0, gt=0, allow_inf_nan=False)
    """Replace a connection older than this."""
    pool_pre_ping: bool = True
    """Check a connection before use, if it has been idle for longer than ``pool_ping_idle``."""
    pool_ping_idle: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """A connection used more recently than this is not asked again."""
    connect_timeout: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    """One attempt to connect."""
    tcp_keepalive: float = Field(default=30.0, ge=0, allow_inf_nan=False)
    """Notice within this that the network or the server is gone (TCP); 0 leaves it to the system."""
    startup_timeout: float = Field(default=30.0, ge=0, allow_inf_nan=False)
    """How long start keeps trying; 0 tries once."""
    statement_timeout: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Cancel a statement that runs longer (PostgreSQL); 0 is no limit. If no answer comes in 5 to 6
    seconds more, the connection is given up."""
    lock_timeout: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Give up waiting for a lock: PostgreSQL's ``lock_timeout``, SQLite's busy timeout."""
    idle_in_transaction_timeout: float | None = Field(default=60.0, ge=0, allow_inf_nan=False)
    """End a session that idles inside a transaction (PostgreSQL); 0 is no limit."""
    hold_warning: float = Field(default=5.0, ge=0, allow_inf_nan=False)
    """Log who holds a connection for longer than this; 0 is never."""
    echo: bool = False
    """Log every statement."""
    environment: Environment = "development"
    """``production`` refuses ``auto_create_tables`` and unverified TLS to another host."""

    def __init__(self, **values: Any) -> None:
        """Read what the arguments leave open from the environment and ``.env``.

        Raises:
            ConfigurationError: a value is wrong; names the argument or the variable that it comes
                from, never repeats the value.
        """
        # Written out so that type checkers accept url="...": they would ask for a SecretStr.
        if "url" in values:
            values["url"] = _secret(values["url"])
        unknown = values.keys() - type(self).model_fields.keys() - _SOURCE_OPTIONS
        if unknown:
            names = ", ".join(sorted(unknown))
            raise TypeError(
                f"DatabaseSettings has no field {names}; it has {', '.join(type(self).model_fields)}"
            )
        prefix = values.get("_env_prefix") or self.model_config.get("env_prefix", "")
        problems: list[str] = []
        try:
            super().__init__(**values)
        except ValidationError as error:
            details = error.errors(include_input=False)
            problems = [_describe(prefix, detail, given=values.keys()) for detail in details]
        except UnicodeDecodeError:
            problems = ["the file .env is not UTF-8"]
        # Outside the except block: the chained original would carry the values into tracebacks.
        if problems:
            raise ConfigurationError(f"The database settings are wrong: {'; '.join(problems)}.")

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Raises:
            ConfigurationError: a value is wrong; names the variable, never repeats the value.
        """
        return cls()

    @field_validator("url", mode="before")
    @classmethod
    def _accept_url_objects(cls, value: object) -> object:
        return _secret(value)

    @field_validator("url")
    @classmethod
    def _refuse_empty_url(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().strip():
            raise ValueError(
                "is empty; leave it out for the SQLite default, or give a database URL"
            )
        return value


# BaseSettings' own arguments, such as _env_file, pass through.
_SOURCE_OPTIONS = frozenset({"_env_file", "_env_file_encoding", "_env_prefix", "_secrets_dir"})


@runtime_checkable
class _PydanticURL(Protocol):
    """``PostgresDsn``, ``AnyUrl`` and the like: Pydantic's versions have no common class for them."""

    def unicode_string(self) -> str: ...


def _secret(url: object) -> object:
    """Hide the text of a URL, whichever class it has; what is no URL is returned as it is."""
    if isinstance(url, URL):
        return SecretStr(_render(url))
    return SecretStr(str(url)) if isinstance(url, str | _PydanticURL) else url


def _render(url: URL) -> str:
    """Return the text of a URL object, with nothing lost.

    SQLAlchemy 2.0 leaves the database name unquoted, so that "?" and "%" in it change their meaning.
    """
    server = URL.create(url.drivername, url.username, url.password, url.host, url.port)
    query = URL.create("query", query=url.query).render_as_string().removeprefix("query://")
    database = "" if url.database is None else f"/{quote(url.database, safe='')}"
    return server.render_as_string(hide_password=False) + database + query


def _describe(prefix: str, detail: ErrorDetails, *, given: Collection[str]) -> str:
    """Say what is wrong with which argument; what was not given as one comes from a variable."""
    name = ".".join(str(part) for part in detail["loc"])
    if detail["loc"][:1] and detail["loc"][0] not in given:
        name = (prefix + name).upper()
    return f"{name}: {detail['msg'].removeprefix('Value error, ')}"
