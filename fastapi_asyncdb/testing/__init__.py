"""The testing kit: the real database, rolled back."""

from fastapi_asyncdb.testing.isolated import DatabaseTemplate, isolated_database
from fastapi_asyncdb.testing.servers import (
    PostgresReplica,
    PostgresServer,
    given_server,
    postgres_server,
)

__all__ = [
    "DatabaseTemplate",
    "PostgresReplica",
    "PostgresServer",
    "given_server",
    "isolated_database",
    "postgres_server",
]
