"""The databases: a folder for each, with one interface, and a registry of them."""

from fastapi_asyncdb.dialects.base import Diagnosis, ErrorStep, Preset, connect_timeout
from fastapi_asyncdb.dialects.parse import parse_url
from fastapi_asyncdb.dialects.registry import is_conflict, preset_for, preset_of
from fastapi_asyncdb.dialects.target import TLS, Target, TLSMode

__all__ = [
    "TLS",
    "Diagnosis",
    "ErrorStep",
    "Preset",
    "TLSMode",
    "Target",
    "connect_timeout",
    "is_conflict",
    "parse_url",
    "preset_for",
    "preset_of",
]
