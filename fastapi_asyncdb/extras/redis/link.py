"""``Link``: commands to the server within their time, none while it is away, and its return."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from redis.asyncio import Redis
from redis.exceptions import RedisError

from fastapi_asyncdb.extras.redis.connections import connect
from fastapi_asyncdb.extras.redis.settings import RedisSettings
from fastapi_asyncdb.throttle import Throttle

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

# uvloop raises RuntimeError for a transport that is closed.
_FAILURES_OF_REDIS = (RedisError, OSError, TimeoutError, RuntimeError)
_FAILURES = 3
"""So many commands in a row fail before no more are sent."""


class Away(Exception):
    """The server has not answered, or no command is sent for now. The caller goes on without it."""


class Link:
    """Send commands to one server.

    Args:
        settings: The server and the timeouts.
        on_return: Awaited when the server answers again, before the first command of a request.
    """

    def __init__(self, settings: RedisSettings, on_return: Callable[[], Awaitable[object]]) -> None:
        self._settings = settings
        self.client: Redis = connect(settings)
        self._on_return = on_return
        self._failures = 0
        self._warnings = Throttle()
        self._warned = False
        self._recovery: asyncio.Task[None] | None = None

    @property
    def is_away(self) -> bool:
        """Whether no command is sent for now."""
        return self._recovery is not None

    async def run(self, command: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Send a command of a request.

        Raises:
            Away: there is no answer in time, an error, or none is sent for now.
        """
        if self._recovery is not None:
            raise Away
        return await self.attempt(self._settings.command_timeout, command, *args, **kwargs)

    async def attempt(
        self, seconds: float, command: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Send a command in any case.

        Args:
            seconds: How long to wait for its answer.
            command: Sends it.
            *args: Of the command.
            **kwargs: Of the command.

        Raises:
            Away: there is no answer in time, or an error.
        """
        try:
            async with asyncio.timeout(seconds):
                result = await command(*args, **kwargs)
        except _FAILURES_OF_REDIS as error:
            self._fail(error, seconds)
        else:
            self._failures = 0
            return result
        raise Away

    def open(self) -> None:
        """Send no more commands until the server has answered again."""
        if self._recovery is None:
            self._recovery = asyncio.create_task(self._recover(), name="fastapi_asyncdb redis")

    async def start(self) -> None:
        """Connect; a server that is away is looked for again and again."""
        try:
            await self._ping()
        except Away:
            self.open()

    async def stop(self) -> None:
        """Close all connections."""
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.wait([self._recovery])
        with suppress(*_FAILURES_OF_REDIS):
            await self.client.aclose()
            await self.client.connection_pool.disconnect()

    async def _ping(self) -> None:
        await self.attempt(self._settings.connect_timeout, self.client.execute_command, "PING")

    async def _recover(self) -> None:
        while True:
            await asyncio.sleep(self._settings.breaker_pause)
            with suppress(Away):
                await self._ping()
                await self._on_return()
                break
        self._recovery = None
        if self._warned:
            self._warned = False
            logger.warning("Redis answers again, and the cache is used.")

    def _fail(self, error: BaseException, seconds: float) -> None:
        self._failures += 1
        if self.is_away:
            return
        if self._failures >= _FAILURES:
            self.open()
        if self._warnings.admit() is not None:
            self._warned = True
            logger.warning(
                "Redis does not answer: %s. Requests go on without the cache, and it is looked for "
                "every %g s. Look at the server and the network; see docs/redis.md.",
                _said(error, seconds),
                self._settings.breaker_pause,
            )


def _said(error: BaseException, seconds: float) -> Any:
    if isinstance(error, TimeoutError) and not str(error):
        return f"no answer within {seconds:g} s"
    return f"{type(error).__name__}: {error}".rstrip(".")
