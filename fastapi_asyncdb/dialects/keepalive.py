"""TCP keepalive: how soon a socket notices that its peer is gone, in libpq's words."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

KEEPALIVES = (
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
)
"""The parameters of libpq:
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-KEEPALIVES"""

# The names of each platform: macOS has another one for the first, only Linux has the last.
_OPTIONS = {
    "keepalives_idle": ("TCP_KEEPIDLE", "TCP_KEEPALIVE"),
    "keepalives_interval": ("TCP_KEEPINTVL",),
    "keepalives_count": ("TCP_KEEPCNT",),
    "tcp_user_timeout": ("TCP_USER_TIMEOUT",),
}


def keepalive_arguments(seconds: float, given: Mapping[str, Any]) -> dict[str, int]:
    """Return libpq's parameters, with which a dead peer is noticed within so many seconds.

    Probes notice it while the client waits for an answer. They are not sent while data is on its
    way: for that time there is ``tcp_user_timeout``, which on Linux also ends the probing.
    https://blog.cloudflare.com/when-tcp-sockets-refuse-to-die/

    Args:
        seconds: The bound; 0 leaves the other parameters to the system.
        given: Arguments of the URL, which win. ``keepalives=0`` turns all off, as in libpq.
    """
    given_numbers = {name: int(given[name]) for name in KEEPALIVES if name in given}
    if not seconds or given_numbers.get("keepalives") == 0:
        return given_numbers
    # The kernel counts whole seconds, and takes no 0.
    idle, interval = max(1, int(seconds / 3)), max(1, int(seconds / 6))
    count = max(1, round((seconds - idle) / interval))
    probes = dict(zip(KEEPALIVES, (1, idle, interval, count), strict=False)) | given_numbers
    _, idle, interval, count = (probes[name] for name in KEEPALIVES[:4])
    if idle and interval and count:
        seconds = idle + interval * count
    return {"tcp_user_timeout": round(seconds * 1000)} | probes


def set_keepalives(number: int, arguments: Mapping[str, int]) -> None:
    """Set the options of a connected socket, as libpq does; a Unix socket has none.

    Args:
        number: The file descriptor.
        arguments: libpq's parameters; 0 leaves an option to the system.
    """
    # A view of it, since event loops hide the socket behind objects of their own.
    view = socket.socket(fileno=number)
    try:
        if arguments and view.family in (socket.AF_INET, socket.AF_INET6):
            _set(view, arguments)
    finally:
        view.detach()


def _set(tcp: socket.socket, arguments: Mapping[str, int]) -> None:
    if arguments.get("keepalives") == 0:
        return
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, candidates in _OPTIONS.items():
        option = next((getattr(socket, c) for c in candidates if hasattr(socket, c)), None)
        if option is not None and arguments.get(name):
            # An older Windows knows the names, and refuses the options.
            with suppress(OSError):
                tcp.setsockopt(socket.IPPROTO_TCP, option, arguments[name])


def shut_down(number: int) -> None:
    """End a connection on both sides, also while a task waits for it; the descriptor stays open."""
    view = socket.socket(fileno=number)
    try:
        with suppress(OSError):
            view.shutdown(socket.SHUT_RDWR)
    finally:
        view.detach()
