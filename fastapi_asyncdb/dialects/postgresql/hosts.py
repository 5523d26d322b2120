"""Which of several PostgreSQL hosts to connect to, each with a timeout of its own."""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any, Protocol, TypeVar


class Watched(Protocol):
    """A connection that says of its host that it fell silent."""

    note_silence: Callable[[], None]


T = TypeVar("T", bound=Watched)


def no_note() -> None:
    """Note nothing: of one host there is no order."""


Host = tuple[Any, Any]
"""A name, and a port."""

SILENCE = 30.0
"""Seconds for which a host that did not answer is the last to be tried."""
_UNREACHABLE = {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN}


def target_session_attrs(given: str | None) -> str | None:
    """Return the kind of server that the URL wants, or else the environment; in libpq's words."""
    return given or os.environ.get("PGTARGETSESSIONATTRS") or None


class HostOrder:
    """The order in which an engine tries its hosts: that of the URL, but silent ones last.

    libpq keeps the order, so that after a failover each new connection waits ``connect_timeout`` for a
    first host whose machine is dead, or frozen. Here one in ``SILENCE`` seconds does. A host that
    answers, if only to refuse, keeps its place.
    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-MULTIPLE-HOSTS
    """

    def __init__(self) -> None:
        self._silent_until: dict[Host, float] = {}

    def of(self, hosts: Collection[Host]) -> list[Host]:
        """Return the hosts, best first; one whose time is over is in its own place once."""
        now = time.monotonic()
        silent = {host for host in hosts if self._silent_until.get(host, now) > now}
        for host in self._silent_until.keys() - silent:
            # Others do not wait for it as well, until its answer is known.
            self._silent_until[host] = now + SILENCE
        return sorted(hosts, key=silent.__contains__)

    def note_answer(self, host: Host) -> None:
        """Note that a host has answered, if only to refuse."""
        self._silent_until.pop(host, None)

    def note_silence(self, host: Host) -> None:
        """Note that nothing came back from a host."""
        self._silent_until[host] = time.monotonic() + SILENCE


def is_silent(error: Exception) -> bool:
    """Return whether the error is that nothing came back; asyncpg has the kind, psycopg the words."""
    if isinstance(error, TimeoutError) or getattr(error, "errno", None) in _UNREACHABLE:
        return True
    return any(
        words in str(error) for words in ("timeout expired", "timed out", "No route to host")
    )


async def connect_in_turn(
    *, order: HostOrder, host: list[str], port: list[int], **arguments: Any
) -> Any:
    """Connect with asyncpg to the first host that answers and has the ``target_session_attrs``.

    Without them, that is one that takes writes, or else any. asyncpg tries the hosts itself, but
    within one timeout for all: after a host that does not answer, as one that failed, it tries no
    other. libpq's rule is one timeout for each.
    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-CONNECT-TIMEOUT
    """
    # Imported here: the driver is an extra.
    from asyncpg import TargetServerAttributeNotMatched, connect
    from asyncpg.exceptions import OperatorInterventionError, PostgresConnectionError

    wanted = target_session_attrs(arguments.pop("target_session_attrs", None))

    async def attempt(place: Host, wish: str) -> Any:
        name, number = place
        return await connect(host=name, port=number, target_session_attrs=wish, **arguments)

    return await _first(
        attempt,
        order,
        list(zip(host, port, strict=True)),
        _wishes(wanted),
        # The server starts or stops (57P03, 57P01), or its process was killed, or it is of another kind.
        passing=(
            OSError,
            OperatorInterventionError,
            PostgresConnectionError,
            TargetServerAttributeNotMatched,
        ),
        answers=lambda error: isinstance(error, TargetServerAttributeNotMatched),
    )


async def connect_psycopg_in_turn(
    connect: Callable[..., Awaitable[T]], *rest: Any, order: HostOrder, **arguments: Any
) -> T:
    """Connect with psycopg to the first host that answers and has the ``target_session_attrs``.

    Without them, that is one that takes writes, or else any: libpq has no word for this. One host is
    left to libpq.

    Args:
        connect: The driver's function, which has a timeout for each host.
        *rest: For it.
        order: In which the hosts are tried.
        **arguments: For it.
    """
    hosts = str(arguments.get("host", "")).split(",")
    if len(hosts) < 2 or "hostaddr" in arguments:
        return await connect(*rest, **arguments)
    from psycopg import OperationalError

    async def attempt(place: Host, wish: str) -> T:
        name, number = place
        own = {"host": name, "port": number, "target_session_attrs": wish}
        return await connect(*rest, **{**arguments, **own})

    places = list(zip(hosts, str(arguments["port"]).split(","), strict=True))
    if arguments.get("load_balance_hosts") == "random":
        random.shuffle(places)
    return await _first(
        attempt,
        order,
        places,
        _wishes(target_session_attrs(arguments.get("target_session_attrs"))),
        passing=(OperationalError,),
        answers=lambda error: not is_silent(error),
    )


async def _first(
    connect: Callable[[Host, str], Awaitable[T]],
    order: HostOrder,
    hosts: Collection[Host],
    wishes: list[str],
    *,
    passing: tuple[type[Exception], ...],
    answers: Callable[[Exception], bool],
) -> T:
    """Return the first connection that can be made, to a server of the first kind that there is.

    Args:
        connect: Connects to a host, if its server is of that kind.
        order: In which the hosts are tried; told how each attempt has ended.
        hosts: The hosts.
        wishes: Words of ``target_session_attrs``, best first.
        passing: Errors after which the next host is tried.
        answers: Returns whether, by such an error, to try that host again for the next kind.
    """
    failure: Exception = ConnectionError("no host")
    left = order.of(hosts)
    for wish in wishes:
        for host in tuple(left):
            try:
                connection = await connect(host, wish)
            except passing as error:
                failure = error
                (order.note_silence if is_silent(error) else order.note_answer)(host)
                if not answers(error):
                    left.remove(host)
            else:
                order.note_answer(host)
                connection.note_silence = partial(order.note_silence, host)
                return connection
    raise failure


def _wishes(target_session_attrs: str | None) -> list[str]:
    """Return libpq's words for one server; the pool writes, and reads if no server takes writes."""
    if target_session_attrs is None:
        return ["read-write", "any"]
    if target_session_attrs == "prefer-standby":
        return ["standby", "any"]
    return [target_session_attrs]
