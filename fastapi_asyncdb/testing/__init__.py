"""The testing kit: the real database, rolled back."""

from fastapi_asyncdb.testing.client import async_client
from fastapi_asyncdb.testing.override import override_db

__all__ = [
    "async_client",
    "override_db",
]
