"""The testing kit: tests on the real database, rolled back."""

from fastapi_asyncdb.testing.client import async_client
from fastapi_asyncdb.testing.commit_hooks import CapturedHook, capture_commit_hooks
from fastapi_asyncdb.testing.databases.isolated import DatabaseTemplate, isolated_database
from fastapi_asyncdb.testing.override import override_db
from fastapi_asyncdb.testing.queries.count import assert_queries, count_queries
from fastapi_asyncdb.testing.queries.statements import QueryCount, Statement
from fastapi_asyncdb.testing.sandbox import sandbox
from fastapi_asyncdb.testing.servers.given import given_server
from fastapi_asyncdb.testing.servers.postgresql import PostgresServer, postgres_server
from fastapi_asyncdb.testing.servers.replica import PostgresReplica

__all__ = [
    "CapturedHook",
    "DatabaseTemplate",
    "PostgresReplica",
    "PostgresServer",
    "QueryCount",
    "Statement",
    "assert_queries",
    "async_client",
    "capture_commit_hooks",
    "count_queries",
    "given_server",
    "isolated_database",
    "override_db",
    "postgres_server",
    "sandbox",
]
