"""When PostgreSQL's server is read-only: by what it reports of itself.

A managed service demotes a primary by ``default_transaction_read_only``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from fastapi_asyncdb.dialects.failover import Failover, raw_of, remember_start
from fastapi_asyncdb.dialects.postgresql.errors import READ_ONLY, sqlstate_of
from fastapi_asyncdb.dialects.postgresql.hosts import target_session_attrs
from fastapi_asyncdb.dialects.target import Target

_STANDBYS = ("standby", "read-only", "prefer-standby")
_MAYBE = (
    "Either the role or the database is not meant to write, see default_transaction_read_only; or the "
    "server was read-only already when this connection was made: it is replaced, and the next one looks "
    "for a server that takes writes"
)


def watch_for_failover(engine: AsyncEngine, target: Target) -> None:
    """Note of each new connection whether its server takes writes, unless it is to be a standby."""
    if target.is_replica:
        return
    if target_session_attrs(target.connect_args.get("target_session_attrs")) not in _STANDBYS:
        remember_start(engine, _Server.of)


def failover() -> Failover:
    """Return what replaces the connections to a server that became read-only."""
    return Failover(lambda error: sqlstate_of(error) == READ_ONLY, _became_read_only, _MAYBE)


def _became_read_only(connection: Connection, before: _Server) -> bool | None:
    if connection.get_execution_options().get("postgresql_readonly"):
        return False
    now = _Server.of(raw_of(connection))
    # Or it was a standby when the transaction began, which stays read-only after the promotion.
    if now.standby or before.standby or (now.read_only and before.read_only is False):
        return True
    # Otherwise it is only the transaction that was to be read-only.
    return None if now.read_only is not False else False


@dataclass(frozen=True, slots=True)
class _Server:
    """The settings that the server reports by itself, since PostgreSQL 14; ``None`` is no report.

    https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-ASYNC
    """

    standby: bool | None
    read_only: bool | None

    @classmethod
    def of(cls, connection: DBAPIConnection) -> _Server:
        driver: Any = connection.driver_connection
        if hasattr(driver, "get_settings"):
            settings = driver.get_settings()
            values = [getattr(settings, name, None) for name in _REPORTS]
        else:
            values = [driver.info.parameter_status(name) for name in _REPORTS]
        standby, read_only = (None if value is None else value == "on" for value in values)
        return cls(standby, read_only)


_REPORTS = ("in_hot_standby", "default_transaction_read_only")
