"""The settings of a test database."""

from __future__ import annotations

from typing import Any

from pydantic import SecretStr

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.settings import DatabaseSettings


def settings_for(url: SecretStr, database: Database[Any] | None = None) -> DatabaseSettings:
    """Return the own settings of a ``Database`` with the URL of the test database.

    A ``Database`` that reads ``DATABASE_*`` reads ``TEST_DATABASE_*`` in tests: a developer's ``.env``
    is not meant for them.

    Args:
        url: The test database.
        database: The ``Database``.

    Raises:
        ConfigurationError: a ``TEST_DATABASE_*`` variable is wrong.
    """
    if database is not None and database.settings is not None:
        return on_test_database(database.settings, url, environment="test")
    return DatabaseSettings(
        url=url, environment="test", _env_prefix="TEST_DATABASE_", _env_file=None
    )


def on_test_database(
    settings: DatabaseSettings, url: SecretStr, **changed: Any
) -> DatabaseSettings:
    """Return settings with the URL of a test database, which has no replicas."""
    return settings.model_copy(update={"url": url, "replica_urls": [], **changed})
