"""Connecting with credentials that change: those of the moment, and once more if they are refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi_asyncdb.credentials import Credentials, CredentialsCache
from fastapi_asyncdb.dialects.target import Target
from fastapi_asyncdb.errors import ConfigurationError

Connect = Callable[..., Awaitable[Any]]
"""Connects, called with the driver's arguments."""


def refuse_two_passwords(target: Target) -> None:
    """Refuse a URL with a password where a function returns another.

    Raises:
        ConfigurationError: there are both.
    """
    if target.url.password and target.credentials is not None:
        raise ConfigurationError(
            "The database URL contains a password, and Database(password=...) returns another. "
            "Leave the password out of DATABASE_URL, or the function out of the Database."
        )


def with_credentials(
    connect: Connect,
    cache: CredentialsCache | None,
    *,
    password: Callable[[str], Any],
    is_refused: Callable[[BaseException], bool],
) -> Connect:
    """Return a function that connects with the credentials of the moment, if there is a cache of them.

    It tries once more if the server refuses them.

    Args:
        connect: Connects.
        cache: Where the credentials come from.
        password: Returns what the driver takes as ``password``.
        is_refused: Returns whether, by its error, the server has refused the user or the password.
    """
    if cache is None:
        return connect

    def arguments(credentials: Credentials) -> dict[str, Any]:
        user = {"user": credentials.user} if credentials.user else {}
        return {"password": password(credentials.secret), **user}

    async def connect_with_credentials(*args: Any, **options: Any) -> Any:
        credentials = await cache.get()
        try:
            return await connect(*args, **options | arguments(credentials))
        except Exception as error:
            if not is_refused(error):
                raise
        credentials = await cache.get_instead_of(credentials)
        return await connect(*args, **options | arguments(credentials))

    return connect_with_credentials
