"""Engines whose connections come with execution options, as an isolation level. Opens none itself."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.engine.base import OptionEngine
from sqlalchemy.ext.asyncio import AsyncEngine


def with_connection_options(engine: AsyncEngine, **options: Any) -> AsyncEngine:
    """Return an engine like this one, which gives each connection these options.

    ``engine.execution_options()`` does the same by a listener, and one listener makes SQLAlchemy look
    for listeners at each step of each statement: a fifth of what a short read costs.

    Args:
        engine: The engine, whose pool is shared.
        **options: Of ``Connection.execution_options()``.
    """
    optioned = _OptionEngine(engine.sync_engine, {})
    optioned.connection_options |= options
    return AsyncEngine(optioned)


class _OptionEngine(OptionEngine):
    """What ``execution_options()`` makes of it is one too, and may replace single options."""

    def __init__(self, proxied: Engine, execution_options: Any) -> None:
        super().__init__(proxied, execution_options)
        inherited: dict[str, Any] = getattr(proxied, "connection_options", {})
        self.connection_options = {
            name: value for name, value in inherited.items() if name not in execution_options
        }

    def connect(self) -> Connection:
        connection = super().connect()
        try:
            return connection.execution_options(**self.connection_options)
        except BaseException:
            connection.close()
            raise


_OptionEngine._option_cls = _OptionEngine
