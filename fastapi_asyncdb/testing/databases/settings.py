"""Settings for a test database. Reads TEST_DATABASE_* and nothing else of the environment."""

from __future__ import annotations

from pydantic import SecretStr

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.settings import DatabaseSettings


def settings_for(url: SecretStr, database: Database | None = None) -> DatabaseSettings:
    """Return the handle's own settings, if it has any, with the test database instead of its own.

    A handle that reads ``DATABASE_*`` reads ``TEST_DATABASE_*`` in tests: what a developer's ``.env``
    says is not meant for them.

    Args:
        url: The test database.
        database: The handle.

    Raises:
        ConfigurationError: a ``TEST_DATABASE_*`` variable is wrong.
    """
    if database is not None and database.settings is not None:
        return database.settings.model_copy(update={"url": url, "environment": "test"})
    return DatabaseSettings(
        url=url, environment="test", _env_prefix="TEST_DATABASE_", _env_file=None
    )
