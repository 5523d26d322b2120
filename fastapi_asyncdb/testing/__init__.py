"""The testing kit: the real database, rolled back."""

from fastapi_asyncdb.testing.client import async_client
from fastapi_asyncdb.testing.hooks import CapturedHook, capture_commit_hooks
from fastapi_asyncdb.testing.override import override_db
from fastapi_asyncdb.testing.queries import QueryCount, Statement, assert_queries, count_queries
from fastapi_asyncdb.testing.sandbox import sandbox

__all__ = [
    "CapturedHook",
    "QueryCount",
    "Statement",
    "assert_queries",
    "async_client",
    "capture_commit_hooks",
    "count_queries",
    "override_db",
    "sandbox",
]
