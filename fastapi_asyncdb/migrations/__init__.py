"""Alembic without boilerplate: its configuration, its ``env.py``, one migrator among many processes."""

from fastapi_asyncdb.migrations.backfills import BackfillProgress, backfill
from fastapi_asyncdb.migrations.config import MigrationConfig
from fastapi_asyncdb.migrations.environment import run_env
from fastapi_asyncdb.migrations.migrator import Migrator
from fastapi_asyncdb.migrations.progress import AppliedRevision

__all__ = [
    "AppliedRevision",
    "BackfillProgress",
    "MigrationConfig",
    "Migrator",
    "backfill",
    "run_env",
]
