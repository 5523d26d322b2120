"""Connects to PostgreSQL: the arguments of each driver, the functions that connect, and their errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from inspect import isawaitable
from typing import Any

from sqlalchemy.engine.interfaces import Dialect

from fastapi_asyncdb.dialects.base import connect_timeout
from fastapi_asyncdb.dialects.calls import Method, wrap
from fastapi_asyncdb.dialects.credentials import with_credentials
from fastapi_asyncdb.dialects.keepalive import KEEPALIVES, keepalive_arguments
from fastapi_asyncdb.dialects.postgresql.connect_errors import is_refused, no_answer
from fastapi_asyncdb.dialects.postgresql.hosts import (
    HostOrder,
    connect_in_turn,
    connect_psycopg_in_turn,
)
from fastapi_asyncdb.dialects.postgresql.replication import READ_ONLY
from fastapi_asyncdb.dialects.postgresql.server_settings import timeouts
from fastapi_asyncdb.dialects.postgresql.tls import asyncpg_ssl, libpq_arguments
from fastapi_asyncdb.dialects.target import Target, supplier
from fastapi_asyncdb.settings import DatabaseSettings

_APPLICATION_NAME = "fastapi_asyncdb"

_with_credentials = partial(with_credentials, password=supplier, is_refused=is_refused)


def connect_arguments(target: Target, settings: DatabaseSettings) -> dict[str, Any]:
    """Return ``connect_args`` for the driver of the URL, whose own values win over the settings."""
    if target.url.get_driver_name() == "psycopg":
        return _psycopg_arguments(target, settings)
    return _asyncpg_arguments(target, settings)


def _asyncpg_arguments(target: Target, settings: DatabaseSettings) -> dict[str, Any]:
    defaults = {"application_name": _APPLICATION_NAME, **_server_settings(target, settings)}
    given = dict(target.connect_args)
    return {
        "timeout": connect_timeout(target, settings) or None,
        "ssl": asyncpg_ssl(target.tls),
        **_password(target),
        "server_settings": {**defaults, **given.pop("server_settings", {})},
        "async_creator_fn": _with_credentials(
            partial(
                _connect_asyncpg,
                order=HostOrder(),
                keepalives=keepalive_arguments(settings.tcp_keepalive, given),
            ),
            cache=target.credentials,
        ),
        **{name: value for name, value in given.items() if name not in KEEPALIVES},
    }


def _psycopg_arguments(target: Target, settings: DatabaseSettings) -> dict[str, Any]:
    given = dict(target.connect_args)
    # Of two values for one setting, the server takes the last.
    defaults = [f"-c {name}={value}" for name, value in _server_settings(target, settings).items()]
    options = " ".join([*defaults, *filter(None, [given.pop("options", "")])])
    return {
        "application_name": _APPLICATION_NAME,
        # Whole seconds, as in libpq, of which psycopg makes 1 into 2.
        "connect_timeout": math.ceil(connect_timeout(target, settings)),
        "options": options,
        "async_creator_fn": _with_credentials(
            partial(_connect_psycopg, order=HostOrder()), cache=target.credentials
        ),
        **libpq_arguments(target.tls),
        **_password(target),
        **given,
        **keepalive_arguments(settings.tcp_keepalive, given),
    }


def _server_settings(target: Target, settings: DatabaseSettings) -> dict[str, str]:
    """Return what the server is told at connect; a replica that becomes the primary refuses writes."""
    return timeouts(settings) | ({READ_ONLY: "on"} if target.is_replica else {})


def _password(target: Target) -> dict[str, Callable[[], str]]:
    """Return a function in its place, as asyncpg takes it: SQLAlchemy keeps arguments in its frames."""
    return {"password": supplier(target.url.password)} if target.url.password else {}


async def _connect_asyncpg(
    *,
    order: HostOrder,
    keepalives: Mapping[str, int],
    host: Any = None,
    after_begin: str | None = None,
    **options: Any,
) -> Any:
    # Imported late: an application with psycopg does not have asyncpg.
    import asyncpg

    from fastapi_asyncdb.dialects.postgresql.asyncpg import AsyncpgConnection, PooledConnection

    several = isinstance(host, list)
    connect: Any = partial(connect_in_turn, order=order) if several else asyncpg.connect
    kind = AsyncpgConnection if after_begin is None else PooledConnection
    connection = await connect(host=host, connection_class=kind, **options)
    connection.keep_alive(keepalives)
    if after_begin is not None:
        connection.after_begin = after_begin
    return connection


async def _connect_psycopg(
    *args: Any, order: HostOrder, after_begin: str | None = None, **options: Any
) -> Any:
    # Imported late: an application with asyncpg does not have psycopg.
    from fastapi_asyncdb.dialects.postgresql.psycopg import PooledConnection, PsycopgConnection

    for name in ("password", "sslpassword"):
        if callable(options.get(name)):
            supplied = options[name]()
            options[name] = await supplied if isawaitable(supplied) else supplied
    kind = PsycopgConnection if after_begin is None else PooledConnection
    connection: Any = await connect_psycopg_in_turn(kind.connect, *args, order=order, **options)
    if after_begin is not None:
        connection.after_begin = after_begin
    return connection


def raise_driver_errors(dialect: Dialect) -> None:
    """Raise each error that prevents a connection as an ``OperationalError`` of the driver, with words.

    SQLAlchemy wraps no other error, and code that catches ``DBAPIError`` would miss a database that is
    down. asyncpg has several others; psycopg does not say which time was up.
    """
    errors = dialect.loaded_dbapi

    def around(connect: Method) -> Method:
        def connect_in_words(*arguments: Any, **options: Any) -> Any:
            try:
                return connect(*arguments, **options)
            except Exception as error:
                words = no_answer(error, options.get("timeout") or options.get("connect_timeout"))
                if words is None and isinstance(error, errors.Error):
                    raise
                if isinstance(error, OSError | errors.Error) or hasattr(error, "sqlstate"):
                    plain = f"{type(error).__name__}: {error}".rstrip(": ")
                    raise errors.OperationalError(words or plain) from error
                raise

        return connect_in_words

    # No "do_connect" listener, since the first one that connects keeps a user's from it.
    wrap(dialect, "connect", around)
