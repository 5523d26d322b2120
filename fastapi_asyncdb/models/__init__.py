"""Helpers for models: a declarative base, and mixins for it or for any other base."""

from fastapi_asyncdb.models.base import Base
from fastapi_asyncdb.models.datetimes import TimestampMixin, UTCDateTime, utcnow
from fastapi_asyncdb.models.soft_delete import SoftDeleteMixin
from fastapi_asyncdb.models.uuids import UUIDMixin, uuid7
from fastapi_asyncdb.models.versions import VersionMixin

__all__ = [
    "Base",
    "SoftDeleteMixin",
    "TimestampMixin",
    "UTCDateTime",
    "UUIDMixin",
    "VersionMixin",
    "utcnow",
    "uuid7",
]

# Alembic writes the module of a column's type into migrations, which must not name a private one.
UTCDateTime.__module__ = __name__
