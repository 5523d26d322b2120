"""Connects to MySQL and MariaDB: the arguments of both drivers, and what each new connection is told."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

from fastapi_asyncdb.dialects.base import connect_timeout, no_answer_within
from fastapi_asyncdb.dialects.credentials import Connect, with_credentials
from fastapi_asyncdb.dialects.keepalive import keepalive_arguments
from fastapi_asyncdb.dialects.mysql.connect_errors import CANNOT_CONNECT, is_refused
from fastapi_asyncdb.dialects.mysql.connections import connection_class
from fastapi_asyncdb.dialects.mysql.server_settings import (
    is_mariadb,
    session_settings,
    timeouts,
    timeouts_of,
)
from fastapi_asyncdb.dialects.mysql.thread import IDENTITY, Killer, ServerThread, read
from fastapi_asyncdb.dialects.mysql.tls import is_required, tls_context
from fastapi_asyncdb.dialects.target import Masked, Target
from fastapi_asyncdb.settings import DatabaseSettings

# Both drivers want a limit for TCP; ours covers the handshake as well.
_NO_LIMIT = 31_536_000
_CHARSET = "utf8mb4"
_SERVER = f"SELECT {IDENTITY}, @@innodb_rollback_on_timeout, @@read_only OR @@innodb_read_only"
_PROGRAM_NAME = "fastapi_asyncdb"


def connect_arguments(target: Target, settings: DatabaseSettings) -> dict[str, Any]:
    """Return ``connect_args``, whose own values win over the settings."""
    given = dict(target.connect_args)
    sql_mode, init_command = given.pop("sql_mode", None), given.pop("init_command", None)
    opener = _Opener(target, settings)
    connect = with_credentials(
        opener.open, target.credentials, password=_latin, is_refused=is_refused
    )
    password = {"password": _latin(target.url.password)} if target.url.password else {}
    return {
        "charset": _CHARSET,
        "program_name": _PROGRAM_NAME,
        "connect_timeout": _NO_LIMIT,
        # Otherwise each connection is told so, in a round trip: transactions see to it.
        "autocommit": None,
        "ssl": None if "unix_socket" in given else tls_context(target.tls),
        **password,
        **given,
        "async_creator_fn": _Connector(opener, connect, sql_mode, init_command).connect,
    }


def _latin(password: str) -> Masked:
    """Return the password whose bytes are UTF-8: both drivers send text as Latin-1."""
    return Masked(password.encode().decode("latin-1"))


@dataclass(frozen=True, slots=True)
class _Opener:
    """Opens connections: to the server's first OK, which proves the user and the database."""

    target: Target
    settings: DatabaseSettings

    async def open(self, **arguments: Any) -> Any:
        """Connect, within ``connect_timeout`` seconds."""
        connection = connection_class(self.target.url.get_driver_name())(**arguments)
        connection.requires_tls = is_required(self.target.tls) and arguments["ssl"] is not None
        async with self.in_time(connection):
            await connection.open()
        connection.keep_alive(keepalive_arguments(self.settings.tcp_keepalive, {}))
        return connection

    @asynccontextmanager
    async def in_time(self, connection: Any) -> AsyncIterator[None]:
        """Give a block ``connect_timeout`` seconds, and close the connection if it fails."""
        seconds = connect_timeout(self.target, self.settings)
        caller = cast("asyncio.Task[Any]", asyncio.current_task())
        cancellations = caller.cancelling()
        try:
            async with asyncio.timeout(seconds or None):
                yield
                _raise_swallowed(caller, cancellations)
        except BaseException as error:
            connection.close()
            if _timed_out(error):
                words = no_answer_within(seconds)
                raise connection.OperationalError(CANNOT_CONNECT, words) from error
            raise


def _raise_swallowed(caller: asyncio.Task[Any], cancellations: int) -> None:
    """Raise a cancellation that the driver's ``wait_for`` has swallowed, as it may before Python 3.12.

    https://github.com/python/cpython/issues/86296
    """
    if caller.cancelling() > cancellations:
        raise asyncio.CancelledError


@dataclass(frozen=True, slots=True)
class _Connector:
    """Makes connections of a pool, and says to each what its session needs."""

    opener: _Opener
    open: Connect
    sql_mode: str | None
    init_command: str | None
    killer: Killer = field(default_factory=Killer)

    async def connect(self, **arguments: Any) -> Any:
        """Open a connection, and prepare its session."""
        connection = await self.open(**arguments)
        async with self.opener.in_time(connection):
            await self._prepare(connection, partial(self.open, **arguments))
        return connection

    async def _prepare(self, connection: Any, open_another: Callable[[], Awaitable[Any]]) -> None:
        settings, mariadb = self.opener.settings, is_mariadb(connection.server_version)
        await connection.query(session_settings(settings, mariadb=mariadb, sql_mode=self.sql_mode))
        if self.init_command:
            await connection.query(self.init_command)
        *server, rolls_back, read_only = await read(connection, _SERVER)
        connection.server_thread = ServerThread(
            connection.thread_id(),
            tuple(server),
            bool(rolls_back),
            bool(read_only),
            mariadb,
            timeouts(timeouts_of(settings), mariadb=mariadb),
            self.killer,
            open_another,
        )


def _timed_out(error: BaseException) -> bool:
    cause = error if isinstance(error, TimeoutError) else error.__cause__
    return isinstance(cause, TimeoutError) and getattr(cause, "errno", None) != errno.ETIMEDOUT
