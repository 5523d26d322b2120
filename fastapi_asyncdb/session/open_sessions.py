"""The sessions that are open around the running code, and of which ``Database`` they are."""

from __future__ import annotations

from contextvars import ContextVar
from typing import cast
from weakref import ref

from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.errors import TransactionInProgress
from fastapi_asyncdb.session.managed import ManagedSession

# Weak, since a context lives as long as its task: a worker's would keep its last session forever.
# It is never reset, since a generator may be closed in another context than it was entered in;
# a session that has ended is in no transaction.
_opened: ContextVar[tuple[tuple[ref[object], ref[AsyncSession]], ...]] = ContextVar(
    "fastapi_asyncdb.opened", default=()
)


def remember(runs: object, session: AsyncSession) -> None:
    """Note that the running code, and every task that it starts, is inside of this session.

    Args:
        runs: Of the ``Database`` that has opened it.
        session: The session.
    """
    around = _opened.get()
    if around:
        around = tuple(entry for entry in around if not _is_closed(entry[1]()))
    _opened.set((*around, (ref(runs), ref(session))))


def refuse_inside_transaction(runs: object) -> None:
    """Refuse to go on if a session of this ``Database`` around the running code is in a transaction.

    Args:
        runs: Of the ``Database``, whose ``repr`` they have.

    Raises:
        TransactionInProgress: it is.
    """
    if any(of() is runs and _in_transaction(session()) for of, session in _opened.get()):
        raise TransactionInProgress(
            f"run_in_transaction was called inside of an open transaction of {runs!r}. That one "
            "would not be tried again, and the two may wait for each other forever. Do all the work "
            "in one of them: pass the session you have to the function, or end its transaction "
            "first with 'await db.commit()'."
        )


def _is_closed(session: AsyncSession | None) -> bool:
    return session is None or cast(ManagedSession, session)._asyncdb.closed


def _in_transaction(session: AsyncSession | None) -> bool:
    return session is not None and session.in_transaction()
