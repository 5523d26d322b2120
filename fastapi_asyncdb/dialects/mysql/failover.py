"""When a server of MySQL's or MariaDB's is read-only: by the number of the error, and its start.

Managed services demote a primary by ``read_only``; so do those who promote a replica by hand.
https://dev.mysql.com/doc/refman/8.4/en/server-system-variables.html#sysvar_read_only
"""

from __future__ import annotations

from sqlalchemy import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine

from fastapi_asyncdb.dialects.failover import Failover, remember_start
from fastapi_asyncdb.dialects.mysql.errors import is_read_only_server
from fastapi_asyncdb.dialects.mysql.transactions import thread_of

_MAYBE = (
    "The server was read-only already when this connection was made (read_only, innodb_read_only): it "
    "is replaced, and the next one may lead to a server that takes writes"
)


def watch_for_failover(engine: AsyncEngine) -> None:
    """Note of each new connection whether its server takes writes."""
    remember_start(engine, _was_read_only)


def failover() -> Failover:
    """Return what replaces the connections to a server that became read-only."""
    return Failover(is_read_only_server, _became_read_only, _MAYBE)


def _was_read_only(connection: DBAPIConnection) -> bool:
    return thread_of(connection).read_only


def _became_read_only(connection: Connection, before: bool) -> bool | None:  # noqa: FBT001 - a state
    return None if before else True
