"""Connections to a Redis server, and their pool. Knows nothing of caches."""

from __future__ import annotations

import asyncio
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import (
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.extras.redis.settings import RedisSettings


class _ConnectsOn:
    """A connection that goes on connecting when the command that needed it has run out of time.

    A command has less time than TLS to another host takes. Without this no attempt would ever end well.
    """

    _connecting: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """Connect, or wait for the attempt that is under way."""
        if self._connecting is None:
            if self.is_connected:  # type: ignore[attr-defined]
                return
            self._connecting = asyncio.create_task(self._connect_in_time())
            self._connecting.add_done_callback(self._is_over)
        await asyncio.shield(self._connecting)

    async def _connect_in_time(self) -> None:
        # Its own timeout ends before the handshake.
        async with asyncio.timeout(self.socket_connect_timeout):  # type: ignore[attr-defined]
            await super().connect()  # type: ignore[misc]

    def _is_over(self, connecting: asyncio.Task[None]) -> None:
        self._connecting = None
        if not connecting.cancelled():
            connecting.exception()  # else asyncio logs that no command has seen it


class _TCP(_ConnectsOn, Connection):
    pass


class _TLS(_ConnectsOn, SSLConnection):
    pass


class _UnixSocket(_ConnectsOn, UnixDomainSocketConnection):
    pass


_CLASSES: dict[str, type[Any]] = {"redis": _TCP, "rediss": _TLS, "unix": _UnixSocket}


def connect(settings: RedisSettings) -> Redis:
    """Make a client with its pool; nothing is connected yet.

    Args:
        settings: The URL, the size of the pool, the timeouts.

    Raises:
        ConfigurationError: the URL cannot be parsed.
    """
    url = settings.url.get_secret_value()
    try:
        pool = BlockingConnectionPool.from_url(
            url,
            connection_class=_CLASSES[url.partition("://")[0]],
            max_connections=settings.pool_size,
            # Each command has a timeout around all of it.
            timeout=None,
            socket_timeout=None,
            socket_connect_timeout=settings.connect_timeout,
            # A second attempt would double the time of a request.
            retry=Retry(NoBackoff(), 0),
            client_name="fastapi_asyncdb",
        )
    except ValueError as error:
        message = str(error)
    else:
        return Redis.from_pool(pool)
    # Outside the except block: the traceback of the original has the URL.
    raise ConfigurationError(f"REDIS_URL is not a URL of Redis: {message}.")
