"""The databases: a folder for each, with one interface, and a registry of them."""

from fastapi_asyncdb.dialects.backend import AdvisoryLocks, Backend, Estimate
from fastapi_asyncdb.dialects.base import (
    Diagnosis,
    ErrorStep,
    LogPositions,
    Preset,
    TransactionNumbers,
    connect_timeout,
)
from fastapi_asyncdb.dialects.migrations import MigrationLock, MigrationSupport
from fastapi_asyncdb.dialects.mysql import MARIADB, MYSQL
from fastapi_asyncdb.dialects.mysql.preset import MySQL
from fastapi_asyncdb.dialects.parse import parse_url
from fastapi_asyncdb.dialects.postgresql import BACKEND as POSTGRESQL
from fastapi_asyncdb.dialects.postgresql.preset import PostgreSQL
from fastapi_asyncdb.dialects.registry import (
    backend_of,
    doctor_for,
    family_of,
    is_conflict,
    json_of,
    may_build_json,
    preset_for,
    preset_of,
    register_dialect,
    rejection_of,
)
from fastapi_asyncdb.dialects.rejection import Rejection
from fastapi_asyncdb.dialects.target import TLS, Target, TLSMode
from fastapi_asyncdb.options import TransactionOptions

__all__ = [
    "MARIADB",
    "MYSQL",
    "POSTGRESQL",
    "TLS",
    "AdvisoryLocks",
    "Backend",
    "Diagnosis",
    "ErrorStep",
    "Estimate",
    "LogPositions",
    "MigrationLock",
    "MigrationSupport",
    "MySQL",
    "PostgreSQL",
    "Preset",
    "Rejection",
    "TLSMode",
    "Target",
    "TransactionNumbers",
    "TransactionOptions",
    "backend_of",
    "connect_timeout",
    "doctor_for",
    "family_of",
    "is_conflict",
    "json_of",
    "may_build_json",
    "parse_url",
    "preset_for",
    "preset_of",
    "register_dialect",
    "rejection_of",
]
