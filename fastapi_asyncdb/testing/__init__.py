"""The testing kit: tests on the real database, rolled back."""

from fastapi_asyncdb.testing.client import AsyncClientOptions, async_client
from fastapi_asyncdb.testing.commit_hooks import CapturedHook, capture_commit_hooks
from fastapi_asyncdb.testing.databases.isolated import DatabaseTemplate, isolated_database
from fastapi_asyncdb.testing.databases.temporary import temporary_database
from fastapi_asyncdb.testing.override import override_db
from fastapi_asyncdb.testing.queries.count import assert_queries, count_queries
from fastapi_asyncdb.testing.queries.statements import QueryCount, Statement
from fastapi_asyncdb.testing.sandbox import sandbox
from fastapi_asyncdb.testing.servers.given import given_server
from fastapi_asyncdb.testing.servers.mariadb import MariaDBServer, mariadb_server
from fastapi_asyncdb.testing.servers.postgresql import PostgresServer, postgres_server
from fastapi_asyncdb.testing.servers.redis import RedisServer, redis_server
from fastapi_asyncdb.testing.servers.replication import PostgresReplica
from fastapi_asyncdb.testing.sync import SyncDatabase, sync_sandbox

__all__ = [
    "AsyncClientOptions",
    "CapturedHook",
    "DatabaseTemplate",
    "MariaDBServer",
    "PostgresReplica",
    "PostgresServer",
    "QueryCount",
    "RedisServer",
    "Statement",
    "SyncDatabase",
    "assert_queries",
    "async_client",
    "capture_commit_hooks",
    "count_queries",
    "given_server",
    "isolated_database",
    "mariadb_server",
    "override_db",
    "postgres_server",
    "redis_server",
    "sandbox",
    "sync_sandbox",
    "temporary_database",
]
