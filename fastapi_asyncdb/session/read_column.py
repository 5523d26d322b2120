"""``read_column``: the values of one statement, for which a reading session needs no transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ClauseElement, Engine, Executable
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from fastapi_asyncdb.session.events import hears_alone
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
        values: Sequence[Any] = await session.run_sync(_read, statement, clause)
        return values
    result = await execute(session, statement, bind_arguments={"clause": clause})
    return result.scalars().all()


def _is_free(state: SessionState) -> bool:
    """Return whether a session reads, has nothing open, and has no listener that would miss it."""
    session = state.session()
    return state.connections.reads and not session.in_transaction() and hears_alone(session)


def _read(session: Session, statement: Any, clause: ClauseElement) -> Sequence[Any]:
    engine = session.get_bind(clause=clause)
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
