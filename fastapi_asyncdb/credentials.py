"""Passwords that change: the ``Credentials`` that a function returns, and the cache that calls it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass
from inspect import isawaitable, iscoroutinefunction

from pydantic import SecretStr

logger = logging.getLogger(__name__)

_USED = 0.9
"""The share of ``expires_in`` after which the function is called again, before they expire."""
_PAUSE = 0.5
"""Seconds between two calls, in which a rotation may reach both the server and the function."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """A password with its lifetime, for the function in ``Database(password=...)``.

    The repr masks the password.
    """

    password: str | SecretStr
    """The password or token; kept as a ``SecretStr``."""
    _: KW_ONLY
    expires_in: float | None = None
    """Seconds for which it may be used for new connections; ``None`` is for one connection only."""
    user: str | None = None
    """The user that the password belongs to; ``None`` is the URL's."""

    def __post_init__(self) -> None:
        if isinstance(self.password, str):
            object.__setattr__(self, "password", SecretStr(self.password))
        elif not isinstance(self.password, SecretStr):
            # Its repr would show what it is.
            raise TypeError(
                f"A password is a str or SecretStr, not {type(self.password).__name__}."
            )

    def __str__(self) -> str:
        return repr(self)

    @property
    def secret(self) -> str:
        """The password as text, for the driver."""
        return self.password if isinstance(self.password, str) else self.password.get_secret_value()


Password = str | SecretStr | Credentials
PasswordFunction = Callable[[], Password | Awaitable[Password]]
"""Returns the password for a new connection."""


class CredentialsError(OSError):
    """The function returned no password. The message does not contain the text of its exception."""


class CredentialsCache:
    """Call the function for new connections of one event loop; keep its result until it expires.

    Connections that are made at the same time share one call.

    Args:
        function: The user's. It runs in a thread, unless it is a coroutine function.
        seconds: How long a connection waits for its result; 0 is no limit.
    """

    def __init__(self, function: PasswordFunction, seconds: float) -> None:
        self._function = function
        self._seconds = seconds or None
        self._call: asyncio.Task[Credentials | str] | None = None
        self._kept: Credentials | None = None
        self._kept_since = 0.0

    async def get(self, *, refused: Credentials | None = None) -> Credentials:
        """Return the credentials for a new connection.

        Args:
            refused: Do not return these again from the cache.

        Raises:
            CredentialsError: there are none.
        """
        kept = None if self._kept is refused else self._kept
        if kept is not None and self._age(kept) < _USED:
            return kept
        answer = await self._answer()
        if isinstance(answer, Credentials):
            return answer
        problem = f"The function {_name(self._function)} in Database(password=...) {answer}"
        if kept is None or self._age(kept) >= 1:
            raise CredentialsError(problem)
        logger.warning(
            "%s. The password that it returned before is used until it expires.", problem
        )
        return kept

    async def get_instead_of(self, refused: Credentials) -> Credentials:
        """Return other credentials than those that the server has refused.

        A rotation is not one step: if the function returns the same password, it is called once more
        after a pause.
        """
        credentials = await self.get(refused=refused)
        if credentials.secret == refused.secret:
            await asyncio.sleep(_PAUSE)
            credentials = await self.get(refused=credentials)
        return credentials

    def _age(self, kept: Credentials) -> float:
        """Return the share of ``expires_in`` that has passed; 1 without any."""
        lifetime = kept.expires_in or 0.0
        # A token may be handed out when its time is over already.
        return (time.monotonic() - self._kept_since) / lifetime if lifetime > 0 else 1.0

    async def _answer(self) -> Credentials | str:
        """Return the credentials, or why there are none. Callers share a call, and cancel none."""
        call = self._call
        if call is None or call.done():
            call = self._call = asyncio.create_task(self._credentials_or_problem())
        done, _ = await asyncio.wait([call], timeout=self._seconds)
        if call.cancelled():
            return "was cancelled"
        return call.result() if done else f"did not return within {self._seconds:g} s"

    async def _credentials_or_problem(self) -> Credentials | str:
        started = time.monotonic()
        try:
            result = await self._result()
        except Exception as error:
            # Neither its text nor its frames: both may contain the secret.
            return f"raised {type(error).__module__}.{type(error).__qualname__}".replace(
                "builtins.", ""
            )
        if isinstance(result, str | SecretStr):
            result = Credentials(result)
        if not isinstance(result, Credentials) or not result.secret:
            return f"returned {type(result).__name__}, and no password"
        self._kept, self._kept_since = result, started
        return result

    async def _result(self) -> object:
        function = self._function
        result = function() if iscoroutinefunction(function) else await asyncio.to_thread(function)
        if isawaitable(result):
            # A thread cannot be cancelled: the next connection waits for the same call.
            async with asyncio.timeout(self._seconds):
                return await result
        return result


def _name(function: object) -> str:
    return str(getattr(function, "__qualname__", type(function).__qualname__))
