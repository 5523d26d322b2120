"""Poolers in front of PostgreSQL: how one is recognised, and what connections through one do without.

In transaction mode a pooler lends a connection to the server for one transaction. A setting or a named
statement that outlives it is missing in the next one, or is in the way of another client.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from typing import Any, cast

from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect

from fastapi_asyncdb.concurrency import await_only
from fastapi_asyncdb.dialects.calls import Method, wrap
from fastapi_asyncdb.dialects.postgresql.connect_errors import REFUSED_PARAMETER
from fastapi_asyncdb.dialects.postgresql.replication import READ_ONLY
from fastapi_asyncdb.dialects.postgresql.server_settings import (
    join_options,
    set_local,
    split_options,
    split_timeouts,
)
from fastapi_asyncdb.dialects.target import Target
from fastapi_asyncdb.tracebacks import causes

logger = logging.getLogger(__name__)

# docs/poolers.md has the page of each.
_HOSTS = {
    r"[^.]+-pooler\..+": "the host is Neon's pooler",
    r".+\.pooler\.supabase\.com:\d+|db\.[^.]+\.supabase\.co:6543": "the host is Supabase's pooler",
    r".+\.ondigitalocean\.com:25061": "the port is that of DigitalOcean's pools",
    r".+\.proxy-[^.]+\..+\.rds\.amazonaws\.com.*": "the host is Amazon's RDS Proxy",
    r"([^:]+\.)?pgbouncer[.:].*": "the host is called pgbouncer",
}


def use_pooler(dialect: Dialect, target: Target, *, setting: bool | None) -> None:
    """Connect as a pooler in transaction mode allows, where there is one.

    Args:
        dialect: Of the engine.
        target: Where its connections lead.
        setting: ``DatabaseSettings.pgbouncer``; ``None`` finds out.
    """
    wrap(dialect, "connect", _Pooler(dialect, target, setting=setting).around)


def evidence(target: Target, *, setting: bool | None) -> str | None:
    """Return how a pooler is recognised before the first connection; ``None`` if it is not."""
    configured = _configured(target, setting=setting)
    if configured is not None:
        return "DATABASE_PGBOUNCER, or pgbouncer in DATABASE_URL, is true" if configured else None
    place = f"{target.url.host or ''}:{target.url.port or 5432}".lower()
    return next((words for host, words in _HOSTS.items() if re.fullmatch(host, place)), None)


def is_pooled(connection: DBAPIConnection) -> bool:
    """Return whether the connection was made as one through a pooler."""
    # Only the drivers' classes for it have what is sent with each BEGIN.
    return hasattr(cast(Any, connection).driver_connection, "after_begin")


def _configured(target: Target, *, setting: bool | None) -> bool | None:
    """Return what the setting says, or else the URL."""
    return target.pooled if setting is None else setting


class _Pooler:
    """Recognise a pooler at the first connection, or later by a startup parameter that it refuses.

    Args:
        dialect: Of the engine.
        target: Where its connections lead.
        setting: ``DatabaseSettings.pgbouncer``.
    """

    def __init__(self, dialect: Dialect, target: Target, *, setting: bool | None) -> None:
        self._dialect = dialect
        self._target = target
        self._denied = _configured(target, setting=setting) is False
        self._present: bool | None = False if self._denied else None
        words = evidence(target, setting=setting)
        if words is not None:
            self._found(words)

    def around(self, connect: Method) -> Method:
        """Return the function that connects instead of the dialect's own."""

        def connect_as_allowed(*arguments: Any, **options: Any) -> DBAPIConnection:
            connection = None
            if not self._present:
                connection = self._connect_directly(connect, *arguments, **options)
            if connection is None:
                through = without_session(
                    options, self._dialect.driver, is_replica=self._target.is_replica
                )
                connection = connect(*arguments, **through)
            return connection

        return connect_as_allowed

    def _connect_directly(
        self, connect: Method, *arguments: Any, **options: Any
    ) -> DBAPIConnection | None:
        """Return a connection, or ``None`` if it turns out that there is a pooler."""
        try:
            connection: DBAPIConnection = connect(*arguments, **options)
        except Exception as error:
            if self._denied or not _refuses_parameter(error):
                raise
            self._found("it refuses a startup parameter")
            return None
        limit = options.get("timeout") or options.get("connect_timeout") or None
        # Another connection may have found one meanwhile.
        if self._present is False or self._leads_to_server(connection, limit):
            self._present = False
            return connection
        self._found("pg_backend_pid() is not the process ID that the connection got at connect")
        return None

    def _leads_to_server(self, connection: DBAPIConnection, limit: float | None) -> bool:
        """Return whether the server's process has the ID that the connection got at connect.

        Clients cancel statements by that ID (``BackendKeyData``). A pooler sends one of its own, because
        its clients have no process. https://www.postgresql.org/docs/current/protocol-flow.html
        """

        async def ask() -> bool:
            driver: Any = cast(Any, connection).driver_connection
            async with asyncio.timeout(limit):
                return bool(await driver.leads_to_server())

        leads = False
        try:
            leads = await_only(ask())
        finally:
            if not leads:
                self._dialect.do_terminate(connection)
        return leads

    def _found(self, words: str) -> None:
        if not self._present:
            logger.info(
                "Connections to %r go through a pooler: %s. They use no named prepared statements, and "
                "set their timeouts in each transaction.",
                self._target.url,
                words,
            )
        self._present = True


def _refuses_parameter(error: BaseException) -> bool:
    return any(re.search(REFUSED_PARAMETER, str(cause)) for cause in causes(error))


def without_session(
    options: Mapping[str, Any], driver: str, *, is_replica: bool = False
) -> dict[str, Any]:
    """Return arguments for a driver with nothing in them that outlives a transaction on the server.

    The timeouts go with each BEGIN. Other settings of the URL stay: reads in autocommit need them. Of
    replicas it is left to the server to refuse writes.

    Args:
        options: Arguments for a connection to the server itself.
        driver: Its name.
        is_replica: Whether the connection is to a read replica.
    """
    return (_psycopg if driver == "psycopg" else _asyncpg)(options, is_replica=is_replica)


def _split(given: Mapping[str, str], *, is_replica: bool) -> tuple[dict[str, str], dict[str, str]]:
    """Split the server's settings into those that stay, and the timeouts."""
    settings, timeouts = split_timeouts(given)
    if is_replica:
        settings.pop(READ_ONLY, None)
    return settings, timeouts


def _asyncpg(options: Mapping[str, Any], *, is_replica: bool) -> dict[str, Any]:
    settings, timeouts = _split(options["server_settings"], is_replica=is_replica)
    changed = {
        # A pooler that keeps named statements may have them: the URL says so.
        "statement_cache_size": 0,
        "prepared_statement_cache_size": 0,
        **options,
        "server_settings": settings,
        "after_begin": set_local(timeouts),
    }
    if not changed["prepared_statement_cache_size"]:
        changed["prepared_statement_name_func"] = lambda: ""
    return changed


def _psycopg(options: Mapping[str, Any], *, is_replica: bool) -> dict[str, Any]:
    given, others = split_options(options["options"])
    settings, timeouts = _split(given, is_replica=is_replica)
    return {
        **options,
        "prepare_threshold": None,
        "options": join_options(settings, others),
        "after_begin": set_local(timeouts),
    }
