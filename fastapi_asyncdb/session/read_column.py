"""``read_column``: the values of one statement, for which a reading session needs no transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ClauseElement, Engine, Executable
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from fastapi_asyncdb.session.managed import ManagedSession, execute, state_of
from fastapi_asyncdb.session.state import SessionState


async def read_column(
    session: AsyncSession, statement: Executable, clause: ClauseElement
) -> Sequence[Any]:
    """Return the only column that a statement selects.

    A session that reads in autocommit, and has no connection yet, has one while the statement runs. What
    SQLAlchemy would do around it serves to commit or to roll back.

    Args:
        session: Any session.
        statement: Selects no mapped class, of which a session would have objects.
        clause: What a session with several engines finds the one by.
    """
    if type(session) is ManagedSession and _is_free(state_of(session)):
        values: Sequence[Any] = await session.run_sync(_read, statement)
        return values
    result = await execute(session, statement, bind_arguments={"clause": clause})
    return result.scalars().all()


def _is_free(state: SessionState) -> bool:
    """Return whether a reading session has nothing open, and only the library listens to its begin."""
    session = state.session
    if not state.connections.reads or session.in_transaction():
        return False
    listened = session.dispatch
    return len(listened.after_begin) == _OWN_LISTENERS and not listened.after_transaction_create


_OWN_LISTENERS = 1
"""Those of ``after_begin`` that are the library's: see ``events.py``."""


def _read(session: Session, statement: Any) -> Sequence[Any]:
    engine = session.get_bind(clause=statement)
    if not isinstance(engine, Engine):
        return session.execute(statement).scalars().all()  # a sandbox has one connection for all
    connections = session._asyncdb.connections  # type: ignore[attr-defined]
    connection = engine.connect()
    try:
        connections.add(connection)
        return [value for (value,) in connection.execute(statement).all()]
    finally:
        connections.forget()
        connection.close()
