"""The testing kit: the real database, rolled back."""

from fastapi_asyncdb.testing.servers import (
    PostgresReplica,
    PostgresServer,
    given_server,
    postgres_server,
)

__all__ = ["PostgresReplica", "PostgresServer", "given_server", "postgres_server"]
