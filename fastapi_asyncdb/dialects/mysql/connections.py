"""The connections of both drivers: what they lack, written once, for the private methods they share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastapi_asyncdb.dialects.keepalive import set_keepalives
from fastapi_asyncdb.dialects.mysql.cursors import streaming
from fastapi_asyncdb.dialects.mysql.errors import GONE

if TYPE_CHECKING:
    from fastapi_asyncdb.dialects.mysql.thread import ServerThread

    class _Driver:
        """What both drivers have."""

        OperationalError: type[Exception]
        server_capabilities: int
        _ssl_context: Any

        def cursor(self, *kinds: Any) -> Any: ...
        async def _get_server_information(self) -> None: ...
        async def _execute_command(self, command: int, sql: Any) -> None: ...
else:
    _Driver = object

# https://dev.mysql.com/doc/dev/mysql-server/latest/group__group__cs__capabilities__flags.html
_SSL = 1 << 11
_MULTI_STATEMENTS = 1 << 16
_NO_TLS = 2026
"""CR_SSL_CONNECTION_ERROR: https://dev.mysql.com/doc/mysql-errors/8.4/en/client-error-reference.html"""


class _Connection(_Driver):
    """A connection of either driver."""

    requires_tls = False
    server_thread: ServerThread
    """The other end."""
    in_transaction = False
    """Whether statements were sent since the last COMMIT or ROLLBACK, outside of autocommit."""
    has_changed = False
    """Whether the transaction has changed rows."""
    transport: Any
    """What the connection is made of; ``None`` if it is closed."""
    has_ended: bool
    """Whether the driver knows that it is closed, or that the server has ended it."""
    _flags_name = ""
    _stream_class: tuple[type[Any], type[Any]]

    async def _get_server_information(self) -> None:
        """Read the server's greeting, and decide what the client can, before it sends anything.

        Not several statements in one text: the error of the second would be lost, and text that was
        put together badly could bring one of its own. Not a password without the TLS that is required.
        """
        await super()._get_server_information()
        flags = getattr(self, self._flags_name) & ~_MULTI_STATEMENTS
        if self._ssl_context is not None and not self.server_capabilities & _SSL:
            if self.requires_tls:
                raise self.OperationalError(_NO_TLS, "The server does not offer TLS")
            self._ssl_context, flags = None, flags & ~_SSL
        setattr(self, self._flags_name, flags)

    def begin_stream(self, read_ahead: Callable[[], Awaitable[None]]) -> None:
        """Have the rows of a stream read before the next command is sent.

        The protocol has one answer after the other, and the drivers would drop these rows. The method is
        replaced for this connection until then, since a method of the class would cost each command.
        """

        async def execute_command(command: int, sql: Any) -> None:
            del vars(self)["_execute_command"]
            await read_ahead()
            await self._execute_command(command, sql)

        vars(self)["_execute_command"] = execute_command

    def keep_alive(self, arguments: Mapping[str, int]) -> None:
        """Set libpq's options of TCP on the socket, which TLS has made anew."""
        if arguments:
            set_keepalives(self.transport.get_extra_info("socket").fileno(), arguments)

    async def show_warnings(self) -> None:
        """Do not ask for the warnings of a statement: a round trip, and nothing reads them."""

    def cursor(self, *kinds: Any) -> Any:
        """Return a cursor, one of ours if it is to read rows while they arrive."""
        if not kinds:
            return super().cursor()
        plain, stream = self._stream_class
        return super().cursor(*(stream if kind is plain else kind for kind in kinds))


_PRIVATE = {"asyncmy": ("_client_flag", "connect"), "aiomysql": ("client_flag", "_connect")}
"""The names of each driver for the flags of the client, and for the method that connects."""


@cache
def connection_class(driver: str) -> type[Any]:
    """Return the class for a driver. Imports it: an application has one of them."""
    own, buffered = import_module(f"{driver}.connection"), import_module(f"{driver}.cursors")
    flags, connect = _PRIVATE[driver]
    kind: Any = own.Connection
    members = {
        "transport": property(_transport),
        "has_ended": getattr(kind, "_stream_broken", property(_reader_has_ended)),
        "_flags_name": flags,
        "open": getattr(kind, connect),
        "_stream_class": (buffered.SSCursor, streaming(buffered.SSCursor)),
    }
    if driver == "aiomysql":
        members["escape"] = _escaping_bytes(kind.escape)
    if not hasattr(kind, "_stream_broken"):
        members["_execute_command"] = _unless_ended(kind._execute_command)
    return type(f"{driver.capitalize()}Connection", (_Connection, kind), members)


def _transport(connection: Any) -> Any:
    writer = getattr(connection, "_writer", None)
    return getattr(connection, "_transport", None) if writer is None else writer.transport


def _reader_has_ended(connection: Any) -> bool:
    transport = _transport(connection)
    return transport is None or transport.is_closing() or connection._reader.at_eof()


def _unless_ended(
    execute_command: Callable[..., Awaitable[None]],
) -> Callable[..., Awaitable[None]]:
    """Return the method of a driver that would send commands to a server that has ended the connection.

    The error tells a command that the server cannot have read from one that got no answer. Newer
    releases of asyncmy look themselves.
    """

    async def execute(connection: Any, command: int, sql: Any) -> None:
        if connection.has_ended:
            connection.close()
            raise connection.OperationalError(GONE, "MySQL server has gone away")
        await execute_command(connection, command, sql)

    return execute


def _escaping_bytes(escape: Callable[[Any, Any], str]) -> Callable[[Any, Any], str]:
    """Return aiomysql's method, without the function for bytes that PyMySQL has removed in 1.2.

    https://github.com/PyMySQL/PyMySQL/issues/1274
    """

    def escaped(connection: Any, value: Any) -> str:
        return (
            f"_binary X'{value.hex()}'" if isinstance(value, bytes) else escape(connection, value)
        )

    return escaped
