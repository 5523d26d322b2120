"""The ways in which SQLAlchemy sends a statement. Sends none itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

EXECUTIONS = ("do_execute", "do_executemany", "do_execute_no_params")
"""The methods of a dialect, and the events of an engine, one of which each statement comes by."""

READS = "fastapi_asyncdb_reads"
SAVEPOINTS = "fastapi_asyncdb_savepoints"
"""Execution options of connections that only read, and of those among them that have a transaction."""


def before_each_statement(engine: AsyncEngine, listener: Callable[..., None]) -> None:
    """Call the listener with the cursor, the statement, its parameters, if any, and the context."""
    for execution in EXECUTIONS:
        event.listen(engine.sync_engine, execution, listener)


def commits_itself(options: Mapping[str, Any]) -> bool:
    """Tell from execution options whether each statement is a transaction of its own."""
    return options.get("isolation_level") == "AUTOCOMMIT"


def reads_in_autocommit(options: Mapping[str, Any]) -> bool:
    """Tell from execution options whether a connection only reads, each statement on its own."""
    return bool(options.get(READS)) and not options.get(SAVEPOINTS)
