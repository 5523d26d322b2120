"""The settings of one database: ``DATABASE_*`` from the environment, validated."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy import URL

from fastapi_asyncdb.settings.address import PARTS
from fastapi_asyncdb.settings.address_source import WORDS, AddressSource
from fastapi_asyncdb.settings.misspelt import warn_of_misspelt
from fastapi_asyncdb.settings.prefixed import PrefixedSettings
from fastapi_asyncdb.settings.replica_lag import ReplicaLag
from fastapi_asyncdb.settings.urls import masked_urls, secret_url, split_urls
from fastapi_asyncdb.settings.variables import Variables

Environment = Literal["development", "test", "staging", "production"]


class DatabaseSettings(PrefixedSettings):
    """Describe one database: its URL, its connections and its timeouts.

    Values come from the arguments, then from ``DATABASE_*`` variables, then from ``.env``, then from
    the defaults. Instead of the URL there may be its parts: the arguments ``host``, ``port``, ``user``,
    ``password``, ``name`` and ``driver``, or ``DATABASE_HOST``, ``DB_HOST``, ``POSTGRES_SERVER`` and so
    on. Times are in seconds. A variable that says ``none`` means ``None``. No repr, log or error
    contains a password. docs/settings.md has the source of each rule.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="DATABASE_")
    url_fields: ClassVar[tuple[str, ...]] = ("url", "migration_url")
    parts: ClassVar[tuple[str, ...]] = PARTS

    url: SecretStr = SecretStr("sqlite+aiosqlite:///./app.db")
    """Where the database is: a string, SQLAlchemy's ``URL`` or one of Pydantic's DSNs."""
    replica_urls: Annotated[list[SecretStr], NoDecode] = Field(default_factory=list)
    """Read replicas for ``ReadDB`` and ``SnapshotDB``: PostgreSQL's standbys. In a variable there are
    commas between the URLs, or it is JSON."""
    max_replica_lag: ReplicaLag = None
    """Leave out a replica that is further behind: a number is seconds, ``"16MB"`` is bytes of the log;
    ``None`` leaves out only those that are down."""
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
    """Cancel a statement that runs longer (PostgreSQL, MariaDB; on MySQL a SELECT); 0 is no limit.
    Without an answer 5 to 6 seconds later the connection is discarded."""
    lock_timeout: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Stop waiting for a lock: PostgreSQL's ``lock_timeout``, SQLite's busy timeout, and in whole
    seconds MySQL's ``innodb_lock_wait_timeout``."""
    idle_in_transaction_timeout: float | None = Field(default=60.0, ge=0, allow_inf_nan=False)
    """The server ends a session that idles inside a transaction (PostgreSQL, MariaDB); 0 is no limit."""
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
        self._mask(values)
        super().__init__(**values)

    def sqlalchemy_url(self, driver: Literal["async", "sync"] = "async") -> URL:
        """Return the URL for code that makes an engine of its own: a script, an ``env.py``.

        Args:
            driver: ``"async"`` is the driver of this library. ``"sync"`` is psycopg, or psycopg2 if
                only that is installed; pysqlite; PyMySQL.

        Raises:
            InvalidDatabaseURL: the URL cannot be read, or has an option that this driver takes as an
                argument only, such as a certificate for asyncpg.
            UnsupportedDriver: its driver is synchronous, or the database is not served.
        """
        # The databases read the settings, and this is the one question that settings ask them.
        from fastapi_asyncdb.dialects.parse import plain_url

        return plain_url(self.url, driver)

    @classmethod
    def _mask(cls, values: dict[str, Any]) -> None:
        super()._mask(values)
        if isinstance(values.get("password"), str):
            values["password"] = SecretStr(values["password"])
        if "replica_urls" in values:
            values["replica_urls"] = masked_urls(values["replica_urls"])

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the URL that the parts make before a URL of the environment."""
        sources = (env_settings, dotenv_settings, file_secret_settings)
        variables = Variables(*sources)
        known = {
            *map(str.upper, cls.model_fields),
            *(word for words in WORDS.values() for word in words),
        }
        warn_of_misspelt(variables.names(), variables.prefix, known)
        return (AddressSource(settings_cls, init_settings(), variables), init_settings, *sources)

    @field_validator("url", "migration_url", mode="before")
    @classmethod
    def _accept_url_objects(cls, value: object) -> object:
        return secret_url(value)

    @field_validator("replica_urls", mode="before")
    @classmethod
    def _accept_several_urls(cls, value: object) -> object:
        value = masked_urls(value)
        return split_urls(value) if isinstance(value, SecretStr) else value

    @field_validator("url", "migration_url")
    @classmethod
    def _refuse_empty_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().strip():
            raise ValueError(
                "is empty; leave it out for the SQLite default, or give a database URL"
            )
        return value

    @field_validator("replica_urls")
    @classmethod
    def _refuse_other_text(cls, value: list[SecretStr]) -> list[SecretStr]:
        if not all("://" in url.get_secret_value() for url in value):
            raise ValueError("has an entry that is no URL: it has no '://'")
        return value
