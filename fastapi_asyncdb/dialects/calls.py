"""The ways in which SQLAlchemy sends a statement. Sends none itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import PoolProxiedConnection

EXECUTIONS = ("do_execute", "do_executemany", "do_execute_no_params")
"""The methods of a dialect, and the events of an engine, one of which each statement comes by."""

MANY = EXECUTIONS[1]
"""The one that takes several sets of parameters."""

STATEMENT_TIMEOUT = "fastapi_asyncdb_statement_timeout"
"""The execution option of a connection whose transactions have a timeout of their own; seconds."""
KEEPS_STATEMENT_TIMEOUT = "fastapi_asyncdb_keeps_statement_timeout"
"""The execution option of the statement by which the library itself sets that timeout."""

READS = "fastapi_asyncdb_reads"
SAVEPOINTS = "fastapi_asyncdb_savepoints"
"""Execution options of connections that only read, and of those among them that have a transaction."""


def before_each_statement(engine: AsyncEngine, listener: Callable[..., None]) -> None:
    """Call the listener with the cursor, the statement, its parameters, if any, and the context."""
    for execution in EXECUTIONS:
        event.listen(engine.sync_engine, execution, listener)


def each_execution(dialect: Dialect) -> list[tuple[str, Callable[..., None]]]:
    """Return the dialect's methods, with their names, to be replaced by what calls them."""
    return [(name, getattr(dialect, name)) for name in EXECUTIONS]


def commits_itself(options: Mapping[str, Any]) -> bool:
    """Tell from execution options whether each statement is a transaction of its own."""
    return options.get("isolation_level") == "AUTOCOMMIT"


def reads_in_autocommit(options: Mapping[str, Any]) -> bool:
    """Tell from execution options whether a connection only reads, each statement on its own."""
    return bool(options.get(READS)) and not options.get(SAVEPOINTS)


def info_of(connection: Connection | PoolProxiedConnection) -> dict[Any, Any]:
    """Return what is kept with a connection as long as it lives."""
    try:
        return connection.info
    except NotImplementedError:
        # So says the one with which SQLAlchemy asks a new server for its version.
        return {}
