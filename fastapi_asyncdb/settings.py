"""The settings of one database: ``DATABASE_*`` from the environment, validated."""

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
    """Describe one database: its URL, its connections and its timeouts.

    Values come from the arguments, then from ``DATABASE_*`` variables, then from ``.env``, then from
    the defaults. Times are in seconds. A variable that says ``none`` means ``None``. No repr, log or
    error contains the URL's password. docs/settings.md has the source of each rule.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="DATABASE_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        # A variable cannot be None: DATABASE_IDLE_IN_TRANSACTION_TIMEOUT=none.
        env_parse_none_str="none",
    )

    url: SecretStr = SecretStr("sqlite+aiosqlite:///./app.db")
    """Where the database is: a string, SQLAlchemy's ``URL`` or one of Pydantic's DSNs."""
    pool_size: int = Field(default=5, ge=1)
    """Connections that the pool keeps open."""
    max_overflow: int = Field(default=10, ge=0)
    """Connections beyond ``pool_size`` while there is demand."""
    pool_overflow_idle: float = Field(default=60.0, ge=0, allow_inf_nan=False)
    """Seconds after which an idle connection beyond ``pool_size`` is closed."""
    pool_timeout: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Seconds to wait for a free connection, first come, first served."""
    max_waiting: int | None = Field(default=None, ge=0)
    """Refuse at once when so many tasks wait for a connection; 0 lets none wait."""
    pool_recycle: float = Field(default=3600.0, gt=0, allow_inf_nan=False)
    """Seconds after which a connection is replaced at checkout; each at an age of 90 to 100 % of it."""
    pool_pre_ping: bool = True
    """Ping a connection at checkout, if it has been idle for longer than ``pool_ping_idle``."""
    pool_ping_idle: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Seconds; a connection that was in use more recently is not pinged."""
    connect_timeout: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    """Seconds for one attempt to connect, and for the answer to a ping."""
    tcp_keepalive: float = Field(default=30.0, ge=0, allow_inf_nan=False)
    """Seconds after which a dead network or server is noticed (TCP); 0 leaves it to the system.
    https://man7.org/linux/man-pages/man7/tcp.7.html"""
    startup_timeout: float = Field(default=30.0, ge=0, allow_inf_nan=False)
    """Seconds for which the start keeps trying; 0 tries once."""
    shutdown_timeout: float = Field(default=10.0, ge=0, allow_inf_nan=False)
    """Seconds that open sessions have to end at the stop; then their tasks are cancelled."""
    statement_timeout: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Cancel a statement that runs longer (PostgreSQL); 0 is no limit. Without an answer 5 to 6 seconds
    later the connection is discarded."""
    lock_timeout: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Stop waiting for a lock: PostgreSQL's ``lock_timeout``, SQLite's busy timeout."""
    idle_in_transaction_timeout: float | None = Field(default=60.0, ge=0, allow_inf_nan=False)
    """The server ends a session that idles inside a transaction (PostgreSQL); 0 is no limit."""
    pgbouncer: bool | None = None
    """Whether a pooler in transaction mode is in front of PostgreSQL; ``None`` finds out."""
    migration_url: SecretStr | None = None
    """Where migrations connect to instead of ``url``: past a pooler, or as the owner of the tables."""
    migration_lock_timeout: float = Field(default=5.0, ge=0, allow_inf_nan=False)
    """Seconds that a statement of a migration waits for a lock; then the revision is tried again."""
    migration_statement_timeout: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """The ``statement_timeout`` of migrations."""
    hold_warning: float = Field(default=5.0, ge=0, allow_inf_nan=False)
    """Log a connection that is checked out for longer; 0 is never."""
    echo: bool = False
    """Log every statement."""
    environment: Environment = "development"
    """``production`` refuses ``auto_create_tables`` and unverified TLS to another host."""

    def __init__(self, **values: Any) -> None:
        """Read the values that are not arguments from the environment and ``.env``.

        Args:
            **values: Fields, and the options of ``BaseSettings`` such as ``_env_file``.

        Raises:
            ConfigurationError: a value is wrong. The message names the argument or the variable, and
                does not contain the value.
            TypeError: there is no such field.
        """
        # Written out so that type checkers accept url="...": they would ask for a SecretStr.
        for name in ("url", "migration_url"):
            if name in values:
                values[name] = _secret(values[name])
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
            ConfigurationError: a value is wrong. The message names the variable, and does not contain
                the value.
        """
        return cls()

    @field_validator("url", "migration_url", mode="before")
    @classmethod
    def _accept_url_objects(cls, value: object) -> object:
        return _secret(value)

    @field_validator("url", "migration_url")
    @classmethod
    def _refuse_empty_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().strip():
            raise ValueError(
                "is empty; leave it out for the SQLite default, or give a database URL"
            )
        return value


# BaseSettings' own arguments, such as _env_file, pass through.
_SOURCE_OPTIONS = frozenset({"_env_file", "_env_file_encoding", "_env_prefix", "_secrets_dir"})


@runtime_checkable
class _PydanticURL(Protocol):
    """``PostgresDsn``, ``AnyUrl`` and others: Pydantic 2 has no base class for all of them."""

    def unicode_string(self) -> str: ...


def _secret(url: object) -> object:
    """Wrap the text of a URL of any class; return any other value as it is, for validation."""
    if isinstance(url, URL):
        return SecretStr(_render(url))
    return SecretStr(str(url)) if isinstance(url, str | _PydanticURL) else url


def _render(url: URL) -> str:
    """Return the text of a URL object, with the database name quoted.

    SQLAlchemy 2.0 leaves it unquoted, so that "?" and "%" in it change their meaning.
    """
    server = URL.create(url.drivername, url.username, url.password, url.host, url.port)
    query = URL.create("query", query=url.query).render_as_string().removeprefix("query://")
    database = "" if url.database is None else f"/{quote(url.database, safe='')}"
    return server.render_as_string(hide_password=False) + database + query


def _describe(prefix: str, detail: ErrorDetails, *, given: Collection[str]) -> str:
    """Describe a problem by the name of its argument, or of its variable if it was no argument."""
    name = ".".join(str(part) for part in detail["loc"])
    if detail["loc"][:1] and detail["loc"][0] not in given:
        name = (prefix + name).upper()
    return f"{name}: {detail['msg'].removeprefix('Value error, ')}"
