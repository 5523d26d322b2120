"""What each database needs, behind one small interface. Opens no connection."""

from fastapi_asyncdb.dialects.postgresql import PostgreSQL
from fastapi_asyncdb.dialects.postgresql_plans import is_outdated_plan
from fastapi_asyncdb.dialects.preset import Diagnosis, Preset, connect_timeout
from fastapi_asyncdb.dialects.registry import preset_for
from fastapi_asyncdb.dialects.sqlite import SQLite

__all__ = [
    "Diagnosis",
    "PostgreSQL",
    "Preset",
    "SQLite",
    "connect_timeout",
    "is_outdated_plan",
    "preset_for",
]
