"""Why PostgreSQL, or the network, ended a connection. Pure: looks at the error and the last message."""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping

from fastapi_asyncdb.dialects.postgresql.errors import IDLE_IN_TRANSACTION
from fastapi_asyncdb.tracebacks import causes

_IDLE = (
    "The server ended the connection because its transaction was idle for longer than "
    "DATABASE_IDLE_IN_TRANSACTION_TIMEOUT (idle_in_transaction_session_timeout), and rolled it back. "
    "Most likely the task waited for something else inside its transaction. Call 'await db.commit()' "
    "before slow work, or raise the timeout."
)
_SILENCE = (
    "The network, or the machine of the server, has not answered for as long as TCP waits for it "
    "(DATABASE_TCP_KEEPALIVE, or tcp_user_timeout and keepalives in DATABASE_URL), so the connection "
    "was given up, and the server rolls back when it notices. New ones are made by themselves when the "
    "network is back: repeat the request."
)
# asyncpg's InternalClientError, before it sends anything: the server's last message has come while the
# connection was idle, and the end of the connection has not.
_ENDED = (
    "The server has just ended the connection, most likely because it stops or has crashed. Nothing "
    "was sent, and the transaction is rolled back. New connections are made by themselves: repeat the "
    "request."
)
# TCP's errors for a peer that is silent, and those that routers report meanwhile.
_SILENT = {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN}
# psycopg has no errno, only libpq's text.
_SILENT_TEXT = re.compile(
    r"could not (?:receive data from|send data to) server: "
    r"(?:Connection timed out|Operation timed out|No route to host|Network is unreachable|Host is down)"
)


def loss(error: BaseException, last_message: Mapping[str, str]) -> str | None:
    """Return why a connection was lost, if that is known.

    Args:
        error: The driver's error.
        last_message: The fields of the server's last message, if the connection has kept it.
    """
    chain = list(causes(error))
    states = {getattr(cause, "sqlstate", None) for cause in chain}
    code = last_message.get("C")
    if IDLE_IN_TRANSACTION in (*states, code):
        return _IDLE
    if last_message and code not in states:
        return (
            f"The server ended the connection: {last_message.get('M')} ({last_message.get('C')})."
        )
    if any(isinstance(c, OSError) and c.errno in _SILENT for c in chain) or _SILENT_TEXT.search(
        " ".join(str(cause) for cause in chain)
    ):
        return _SILENCE
    if any(type(cause).__name__ == "InternalClientError" for cause in chain):
        return _ENDED
    return None
