"""What each database needs, behind one small interface. Opens no connection."""

from fastapi_asyncdb.dialects.base import Diagnosis, Preset, connect_timeout
from fastapi_asyncdb.dialects.parse import parse_url
from fastapi_asyncdb.dialects.postgresql.plans import is_outdated_plan
from fastapi_asyncdb.dialects.registry import preset_for
from fastapi_asyncdb.dialects.target import TLS, Target, TLSMode

__all__ = [
    "TLS",
    "Diagnosis",
    "Preset",
    "TLSMode",
    "Target",
    "connect_timeout",
    "is_outdated_plan",
    "parse_url",
    "preset_for",
]
