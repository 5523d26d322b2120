"""The testing kit: the real database, rolled back."""

from fastapi_asyncdb.testing.client import async_client

__all__ = [
    "async_client",
]
