"""Which of several PostgreSQL hosts to connect to with asyncpg, each with a timeout of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncpg


async def connect_in_turn(
    *, host: list[str], port: list[int], target_session_attrs: str | None = None, **arguments: Any
) -> asyncpg.Connection:
    """Connect to the first host that answers and is what ``target_session_attrs`` asks for.

    asyncpg does the same, but within one timeout for all: behind a host that does not answer, which
    is what a host that failed looks like, it never comes to the next. libpq's rule is one for each.
    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-CONNECT-TIMEOUT
    """
    # Imported here: the driver is an extra.
    from asyncpg import CannotConnectNowError, TargetServerAttributeNotMatched, connect

    passing = (OSError, CannotConnectNowError, TargetServerAttributeNotMatched)
    failure: Exception = ConnectionError("no host")
    for attrs in _wishes(target_session_attrs):
        for name, number in zip(host, port, strict=True):
            try:
                return await connect(
                    host=name, port=number, target_session_attrs=attrs, **arguments
                )
            except passing as error:
                failure = error
    raise failure


def _wishes(target_session_attrs: str | None) -> list[str | None]:
    return (
        ["standby", "any"] if target_session_attrs == "prefer-standby" else [target_session_attrs]
    )
