"""A package that adds a database: WireDB, with PostgreSQL's protocol, but not all of its features.

It is what a package for CockroachDB would be. The server is a PostgreSQL.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from alembic.ddl.postgresql import PostgresqlImpl
from sqlalchemy.ext.asyncio import AsyncConnection

from fastapi_asyncdb import DatabaseSettings
from fastapi_asyncdb.dialects import (
    POSTGRESQL,
    PostgreSQL,
    Target,
    TransactionOptions,
)
from fastapi_asyncdb.errors import ConfigurationError


class WireDB(PostgreSQL):
    """PostgreSQL's preset, without what WireDB does not have."""

    transaction_numbers = None
    log_positions = None

    def install_hint(self, target: Target) -> str:
        """Return the package."""
        return "asyncdb-wiredb"

    def resolve(self, target: Target) -> Target:
        """Look for no pooler: the server's process IDs say nothing."""
        target = super().resolve(target)
        return replace(target, pooled=bool(target.pooled))

    def engine_options(
        self, target: Target, settings: DatabaseSettings, *, read_only: bool
    ) -> dict[str, Any]:
        """Leave out the timeout that the server does not know."""
        known = settings.model_copy(update={"idle_in_transaction_timeout": None})
        return super().engine_options(target, known, read_only=read_only)

    def check(self, options: TransactionOptions) -> None:
        """Refuse ``deferrable``."""
        if options.deferrable:
            raise ConfigurationError("WireDB has no deferrable transactions. Leave deferrable out.")

    async def lock_schema(self, connection: AsyncConnection) -> None:
        """Take no advisory lock: there are none."""


class Impl(PostgresqlImpl):
    """What Alembic does on WireDB; it finds the class by its name for the dialect."""

    __dialect__ = "wiredb"


def is_conflict(error: BaseException) -> bool | None:
    """Know WireDB's own code for a conflict, and leave the others to PostgreSQL."""
    return True if getattr(error, "sqlstate", None) == "WD001" else POSTGRESQL.is_conflict(error)


WIREDB = replace(
    POSTGRESQL,
    name="wiredb",
    schemes=("wire",),
    preset=WireDB(),
    is_conflict=is_conflict,
    locks=None,
    loader=None,
    estimate=None,
    searches_text=False,
    migrations=replace(POSTGRESQL.migrations, lock=None),
    doctor=None,
)
