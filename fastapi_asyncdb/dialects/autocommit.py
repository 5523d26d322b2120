"""Connections in autocommit, and the execution options that mark a connection as reading."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.engine.base import OptionEngine
from sqlalchemy.ext.asyncio import AsyncEngine

from fastapi_asyncdb.dialects.calls import READS

SAVEPOINTS = "fastapi_asyncdb_savepoints"
"""The execution option of reading connections that have a transaction."""


def commits_itself(options: Mapping[str, Any]) -> bool:
    """Return, from execution options, whether each statement is a transaction of its own."""
    return options.get("isolation_level") == "AUTOCOMMIT"


def is_in_autocommit(connection: Connection) -> bool:
    """Return whether the driver is in autocommit, by an option of the connection or of the engine."""
    raw = connection.connection.dbapi_connection
    return raw is not None and connection.dialect.detect_autocommit_setting(raw)


def reads_in_autocommit(options: Mapping[str, Any]) -> bool:
    """Return, from execution options, whether a connection only reads, each statement on its own."""
    return bool(options.get(READS)) and not options.get(SAVEPOINTS)


def with_connection_options(engine: AsyncEngine, **options: Any) -> AsyncEngine:
    """Return an engine on the same pool, whose connections have these options.

    ``engine.execution_options()`` does the same by a listener, and one listener makes SQLAlchemy look
    for listeners at each step of each statement: a fifth of what a short read costs.

    Args:
        engine: The engine.
        **options: Of ``Connection.execution_options()``, as the isolation level.
    """
    optioned = _OptionEngine(engine.sync_engine, {})
    optioned.connection_options |= options
    return AsyncEngine(optioned)


class _OptionEngine(OptionEngine):
    """An engine that sets options of its connections; its ``execution_options()`` makes another."""

    def __init__(self, proxied: Engine, execution_options: Any) -> None:
        super().__init__(proxied, execution_options)
        inherited: dict[str, Any] = getattr(proxied, "connection_options", {})
        self.connection_options = {
            name: value for name, value in inherited.items() if name not in execution_options
        }

    def connect(self) -> Connection:
        connection = super().connect()
        try:
            if self.connection_options == _AUTOCOMMIT:
                return _begin_autocommit(connection)
            return connection.execution_options(**self.connection_options)
        except BaseException as error:
            if not isinstance(error, Exception):
                # A cancelled AnyIO scope would cancel the pool's ROLLBACK as well, and before 2.1
                # SQLAlchemy then forgets that the connection is checked out.
                connection.invalidate(error)
            connection.close()
            raise


_OptionEngine._option_cls = _OptionEngine

_AUTOCOMMIT = {"isolation_level": "AUTOCOMMIT"}


def _begin_autocommit(connection: Connection) -> Connection:
    """Set autocommit until the checkin.

    ``execution_options()`` does the same for any option of any dialect, and costs a short read 2 % more.
    """
    dialect, proxy = cast(Any, connection.dialect), cast(Any, connection.connection)
    dialect.set_isolation_level(proxy.dbapi_connection, "AUTOCOMMIT")
    end = partial(dialect.set_isolation_level, level=dialect.default_isolation_level)
    proxy._connection_record.finalize_callback.append(end)
    connection._execution_options = connection._execution_options.union(_AUTOCOMMIT)
    return connection
