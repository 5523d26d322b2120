"""The databases: a folder for each, with one interface, and a registry of them."""

from fastapi_asyncdb.dialects.base import (
    Backend,
    Diagnosis,
    ErrorStep,
    Estimate,
    Preset,
    connect_timeout,
)
from fastapi_asyncdb.dialects.parse import parse_url
from fastapi_asyncdb.dialects.registry import (
    backend_of,
    doctor_for,
    is_conflict,
    preset_for,
    preset_of,
    rejection_of,
)
from fastapi_asyncdb.dialects.rejection import Rejection
from fastapi_asyncdb.dialects.target import TLS, Target, TLSMode

__all__ = [
    "TLS",
    "Backend",
    "Diagnosis",
    "ErrorStep",
    "Estimate",
    "Preset",
    "Rejection",
    "TLSMode",
    "Target",
    "backend_of",
    "connect_timeout",
    "doctor_for",
    "is_conflict",
    "parse_url",
    "preset_for",
    "preset_of",
    "rejection_of",
]
