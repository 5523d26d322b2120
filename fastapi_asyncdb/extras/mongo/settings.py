"""The settings of MongoDB: ``MONGO_*`` from the environment, validated."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from fastapi_asyncdb.settings import Environment, PrefixedSettings


class MongoSettings(PrefixedSettings):
    """Describe one MongoDB database: its URL, its connections and its timeouts.

    Values come from the arguments, then from ``MONGO_*`` variables, then from ``.env``, then from the
    defaults. Times are in seconds. A variable that says ``none`` means ``None``. An option in the URL,
    such as ``maxPoolSize``, comes before the setting. No repr, log or error contains the URL's password.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="MONGO_")
    subject: ClassVar[str] = "MongoDB"

    url: SecretStr = SecretStr("mongodb://localhost:27017")
    """Where the server is: ``mongodb://`` or ``mongodb+srv://``."""
    database: str | None = Field(default=None, min_length=1, max_length=63)
    """The name of the database; ``None`` is the URL's, or else ``app``."""
    pool_size: int = Field(default=100, ge=1)
    """The most connections to each server: PyMongo's ``maxPoolSize``."""
    min_pool_size: int = Field(default=0, ge=0)
    """Connections to each server that are kept open: ``minPoolSize``."""
    pool_timeout: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Seconds to wait for a free connection: ``waitQueueTimeoutMS``."""
    connect_timeout: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    """Seconds for one attempt to connect: ``connectTimeoutMS``."""
    server_selection_timeout: float = Field(default=5.0, gt=0, allow_inf_nan=False)
    """Seconds that an operation waits for a server, also during an election."""
    startup_timeout: float = Field(default=30.0, ge=0, allow_inf_nan=False)
    """Seconds for which the start keeps trying; 0 tries once."""
    operation_timeout: float | None = Field(default=30.0, gt=0, allow_inf_nan=False)
    """The server ends a query or an aggregation that runs longer (``maxTimeMS``). Without an answer 5
    seconds later the connection is closed. ``None`` is no limit."""
    commit_timeout: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    """Seconds for which a commit without an answer is sent again."""
    environment: Environment = "development"
    """``production`` refuses unverified TLS to another host."""

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

    @field_validator("url")
    @classmethod
    def _refuse_other_schemes(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("is no MongoDB URL: it begins with mongodb:// or mongodb+srv://")
        return value

    @field_validator("database")
    @classmethod
    def _refuse_impossible_names(cls, value: str | None) -> str | None:
        # https://www.mongodb.com/docs/manual/reference/limits/#naming-restrictions
        if value is not None and any(sign in value for sign in '/\\. "$*<>:|?\0'):
            raise ValueError("has a character that the name of a database cannot have")
        return value
