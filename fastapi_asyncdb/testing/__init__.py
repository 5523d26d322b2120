"""The testing kit: the real database, rolled back."""

from fastapi_asyncdb.testing.client import async_client
from fastapi_asyncdb.testing.hooks import CapturedHook, capture_commit_hooks
from fastapi_asyncdb.testing.override import override_db

__all__ = [
    "CapturedHook",
    "async_client",
    "capture_commit_hooks",
    "override_db",
]
