"""The settings of one cache: ``REDIS_*`` from the environment, validated."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from fastapi_asyncdb.settings import PrefixedSettings


class RedisSettings(PrefixedSettings):
    """Describe one cache: its server, its timeouts and what its entries may be.

    Values come from the arguments, then from ``REDIS_*`` variables, then from ``.env``, then from the
    defaults. Times are in seconds. No repr, log or error contains the URL's password.
    """

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(env_prefix="REDIS_")
    subject: ClassVar[str] = "Redis"

    url: SecretStr = SecretStr("redis://localhost:6379/0")
    """Where the server is: ``redis://``, ``rediss://`` with TLS, or ``unix://``."""
    prefix: str = Field(default="app", min_length=1, max_length=64, pattern=r"^[\w.:-]+$")
    """What the names of all keys begin with: another one for each application and stage."""
    pool_size: int = Field(default=10, ge=1)
    """Connections of each process; further commands wait for one, within their timeout."""
    connect_timeout: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Seconds for one attempt to connect. Requests wait for it no longer than ``command_timeout``."""
    command_timeout: float = Field(default=0.05, gt=0, allow_inf_nan=False)
    """Seconds that a request waits for one command; then it goes on without the cache."""
    invalidation_timeout: float = Field(default=0.5, gt=0, allow_inf_nan=False)
    """Seconds that a commit waits for an invalidation; then it goes on, and it is repeated later."""
    breaker_pause: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """Seconds between two attempts to reach a server that is away."""
    ttl: float = Field(default=300.0, gt=0, allow_inf_nan=False)
    """Seconds that an entry lives, if the call does not say."""
    ttl_jitter: float = Field(default=0.1, ge=0, lt=1)
    """The part of its time by which an entry may live shorter, so that not all expire at once."""
    negative_ttl: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Seconds that it is remembered that there is no value; 0 does not."""
    early_refresh: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """How early an entry is loaded again before it expires, in units of the time that took; 0 never."""
    lease_ttl: float = Field(default=10.0, gt=0, allow_inf_nan=False)
    """Seconds that one loader has; a value that takes longer is not stored."""
    wait_timeout: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Seconds to wait for a value that another process loads; then it is loaded here, and not stored."""
    write_marker_ttl: float = Field(default=30.0, gt=0, allow_inf_nan=False)
    """Seconds that nothing is stored for a key whose writer died in its commit. More than a commit
    takes."""
    max_value_size: int = Field(default=1_000_000, ge=1)
    """Bytes; a larger value is not stored."""
    max_key_length: int = Field(default=200, ge=64)
    """Characters; a longer key or tag is replaced by its hash."""

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
    def _check_scheme(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return value
