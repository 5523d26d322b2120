"""The settings of one database, from arguments, the environment and ``.env``, validated."""

from fastapi_asyncdb.settings.database import DatabaseSettings, Environment
from fastapi_asyncdb.settings.prefixed import PrefixedSettings

__all__ = ["DatabaseSettings", "Environment", "PrefixedSettings"]
