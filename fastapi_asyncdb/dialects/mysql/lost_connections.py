"""Why MySQL or MariaDB, or the network, ended a connection. Pure: looks at the error."""

from __future__ import annotations

import errno
import re

from fastapi_asyncdb.dialects.mysql.errors import ENDED, number_of
from fastapi_asyncdb.tracebacks import causes

_ENDED = (
    "The server had ended the connection before the statement was sent, and rolled back the "
    "transaction. "
    "Most likely the transaction was idle for longer than DATABASE_IDLE_IN_TRANSACTION_TIMEOUT "
    "(idle_transaction_timeout), or the server was restarted, or an administrator has ended it. "
    "If the task waited for something else inside its transaction, call 'await db.commit()' before slow "
    "work; otherwise repeat the request."
)
_NOT_READY = (
    "The node has left its cluster, so it serves no statements. New connections are made by themselves, "
    "to another node if the address leads to one: repeat the request."
)
_SILENCE = (
    "The network, or the machine of the server, has not answered for as long as TCP waits for it "
    "(DATABASE_TCP_KEEPALIVE), so the connection was given up, and the server rolls back when it "
    "notices. New ones are made by themselves when the network is back: repeat the request."
)
_SILENT = {errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN}
# asyncmy has it in its words alone.
_NUMBER = re.compile(r"\[Errno (\d+)\]")
# ER_UNKNOWN_COM_ERROR, as Galera answers: "WSREP has not yet prepared node for application use".
_UNKNOWN_COMMAND = 1047


def loss(error: BaseException) -> str | None:
    """Return why a connection was lost, if that is known."""
    chain = list(causes(error))
    numbers = {number_of(cause) for cause in chain}
    if numbers & ENDED:
        return _ENDED
    if _UNKNOWN_COMMAND in numbers:
        return _NOT_READY
    return _SILENCE if any(_errno(cause) in _SILENT for cause in chain) else None


def _errno(error: BaseException) -> int | None:
    if isinstance(error, OSError):
        return error.errno
    named = _NUMBER.search(str(error))
    return int(named[1]) if named else None
