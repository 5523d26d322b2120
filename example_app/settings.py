"""The application's own settings; ``DATABASE_*`` are those of the database."""

import secrets

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    """Read from the environment."""

    cookie_secret: SecretStr = Field(default_factory=lambda: SecretStr(secrets.token_urlsafe()))
    """Signs cookies. With several processes set ``COOKIE_SECRET``: it has to be the same in all."""
