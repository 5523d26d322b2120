"""SQLAlchemy's dialects for WireDB, one for each driver; the entry points of the package name them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg, PGDialectAsync_psycopg


class WireDBDialect_asyncpg(PGDialect_asyncpg):  # noqa: N801 - as SQLAlchemy names them
    """By asyncpg."""

    name = "wiredb"
    supports_statement_cache = True


class WireDBDialectAsync_psycopg(PGDialectAsync_psycopg):  # noqa: N801
    """By psycopg."""

    name = "wiredb"
    supports_statement_cache = True


class WireDBDialect_psycopg(PGDialect_psycopg):  # noqa: N801
    """By psycopg, in code that is not asynchronous."""

    name = "wiredb"
    supports_statement_cache = True

    @classmethod
    def get_async_dialect_cls(cls, url: URL) -> type[Any]:
        """Return the dialect of asynchronous engines."""
        return WireDBDialectAsync_psycopg
