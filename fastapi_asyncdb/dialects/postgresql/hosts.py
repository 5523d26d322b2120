"""Which of several PostgreSQL hosts to connect to, each with a timeout of its own."""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import asyncpg

T = TypeVar("T")


def target_session_attrs(given: str | None) -> str | None:
    """Return the kind of server that the URL wants, or else the environment; in libpq's words."""
    return given or os.environ.get("PGTARGETSESSIONATTRS") or None


async def connect_in_turn(
    *, host: list[str], port: list[int], **arguments: Any
) -> asyncpg.Connection:
    """Connect with asyncpg to the first host that answers and has the ``target_session_attrs``.

    Without them, that is one that takes writes, or else any. asyncpg tries the hosts itself, but
    within one timeout for all: after a host that does not answer, as one that failed, it tries no
    other. libpq's rule is one timeout for each.
    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-CONNECT-TIMEOUT
    """
    # Imported here: the driver is an extra.
    from asyncpg import CannotConnectNowError, TargetServerAttributeNotMatched, connect

    wanted = target_session_attrs(arguments.pop("target_session_attrs", None))

    async def attempt(place: tuple[str, int], wish: str) -> asyncpg.Connection:
        name, number = place
        return await connect(host=name, port=number, target_session_attrs=wish, **arguments)

    return await _first(
        attempt,
        zip(host, port, strict=True),
        _wishes(wanted),
        passing=(OSError, CannotConnectNowError, TargetServerAttributeNotMatched),
        answers=lambda error: isinstance(error, TargetServerAttributeNotMatched),
    )


async def connect_psycopg_in_turn(
    connect: Callable[..., Awaitable[T]], *rest: Any, **arguments: Any
) -> T:
    """Connect with psycopg to the first of several hosts that takes writes, or else to any.

    libpq has no word for this. One host, or ``target_session_attrs`` in the URL, is left to libpq.

    Args:
        connect: The driver's function, which has a timeout for each host.
        *rest: For it.
        **arguments: For it.
    """
    hosts = str(arguments.get("host", "")).split(",")
    wanted = target_session_attrs(arguments.get("target_session_attrs"))
    if len(hosts) < 2 or wanted or "hostaddr" in arguments:
        return await connect(*rest, **arguments)
    from psycopg import OperationalError
    from psycopg.errors import ConnectionTimeout

    async def attempt(place: tuple[str, str], wish: str) -> T:
        name, number = place
        own = {"host": name, "port": number, "target_session_attrs": wish}
        return await connect(*rest, **{**arguments, **own})

    places = list(zip(hosts, str(arguments["port"]).split(","), strict=True))
    if arguments.get("load_balance_hosts") == "random":
        random.shuffle(places)
    return await _first(
        attempt,
        places,
        _wishes(None),
        passing=(OperationalError,),
        answers=lambda error: not isinstance(error, ConnectionTimeout),
    )


async def _first(
    connect: Callable[[Any, str], Awaitable[T]],
    places: Iterable[Any],
    wishes: list[str],
    *,
    passing: tuple[type[Exception], ...],
    answers: Callable[[Exception], bool],
) -> T:
    """Return the first connection that can be made, to a server of the first kind that there is.

    Args:
        connect: Connects to a host and port, if the server is of that kind.
        places: The hosts and ports.
        wishes: Words of ``target_session_attrs``, best first.
        passing: Errors after which the next host is tried.
        answers: Returns whether, by such an error, to try that host again for the next kind.
    """
    failure: Exception = ConnectionError("no host")
    left = list(places)
    for wish in wishes:
        for place in tuple(left):
            try:
                return await connect(place, wish)
            except passing as error:
                failure = error
                if not answers(error):
                    left.remove(place)
    raise failure


def _wishes(target_session_attrs: str | None) -> list[str]:
    """Return libpq's words for one server; the pool writes, and reads if no server takes writes."""
    if target_session_attrs is None:
        return ["read-write", "any"]
    if target_session_attrs == "prefer-standby":
        return ["standby", "any"]
    return [target_session_attrs]
