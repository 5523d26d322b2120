"""The statements of answers: of the user's, what reads what a plan needs."""

from __future__ import annotations

from functools import partial
from typing import Any

from sqlalchemy import Select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from fastapi_asyncdb.data.answers.json_row import JsonRows, joined
from fastapi_asyncdb.data.answers.plan import Plan, options_of
from fastapi_asyncdb.data.answers.writes import Write
from fastapi_asyncdb.data.pages.limited import limited
from fastapi_asyncdb.data.pages.selects import entity_of, reading
from fastapi_asyncdb.models.soft_delete import leave_out_deleted, without_deleted
from fastapi_asyncdb.session.managed import has_own_class


def statement_of(statement: Any, plan: Plan, *, joins: bool = False) -> Any:
    """Return the statement that reads what the plan needs; with ``joins`` as one row, if it is JSON."""
    if plan.model is None:
        return statement
    columns: tuple[Any, ...] = plan.columns if plan.row is None else (plan.row,)
    if isinstance(statement, Write):
        return statement.returning(*columns or (plan.model,))
    if joins and plan.row is not None and plan.row.format.joining is not None:
        return joined(reading(statement, plan.row.item), plan.row)
    if plan.row is not None and plan.row.format.computes_first:
        return limited(statement, plan.row)
    return reading(statement, *columns) if columns else loading(statement, plan)


def loading(statement: Any, plan: Plan) -> Any:
    """Return the statement that also loads what the schema needs of relationships."""
    return statement.options(*options_of(plan, entity_of(statement)))


def rows_for(
    session: AsyncSession, statement: Any, plan: Plan, *, joins: bool = False
) -> JsonRows | None:
    """Return the same for JSON, where nothing is left to the session but to send it.

    It is ``None`` where a class of the user's own or a listener may look at the user's statement or
    change it, where execution options mean something to the session, and where it has to flush first.
    The listener of ``SoftDeleteMixin`` is known.
    """
    if plan.row is None or not isinstance(statement, Select) or statement.get_execution_options():
        return None
    if has_own_class(session):
        return None
    sync = session.sync_session
    bind: Any = sync.get_bind(clause=statement)
    # As SQLAlchemy looks for them: to look at listeners keeps those from being heard that come later.
    if bind._has_events and bind.dispatch.before_execute:
        return None
    own_options = getattr(sync, "execution_options", None)  # from SQLAlchemy 2.1 on
    if own_options or _flushes(sync):
        return None
    listeners = [*sync.dispatch.do_orm_execute]
    if listeners:
        if listeners != [leave_out_deleted]:
            return None
        statement = without_deleted(statement)
    name = f"{plan.row.name} joined" if joins else plan.row.name
    return JsonRows(statement, name, partial(statement_of, statement, plan, joins=joins))


def _flushes(session: Session) -> bool:
    """Return whether the session would flush: before 2.1, SQLAlchemy does for mapped classes only."""
    if not session.autoflush or not session.in_transaction():
        return False
    return bool(session.new or session.dirty or session.deleted)
