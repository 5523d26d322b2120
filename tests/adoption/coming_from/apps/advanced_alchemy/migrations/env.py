"""Instead of the ``env.py`` of advanced-alchemy, in the same folder."""

from apps.advanced_alchemy.keys import Base
from fastapi_asyncdb.migrations import run_env

run_env(metadata=Base.metadata, version_table="alembic_versions")
