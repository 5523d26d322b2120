"""The events of managed sessions that the library listens to: one listener for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, event
from sqlalchemy.orm import Session, SessionTransaction

from fastapi_asyncdb.engine.failed_transactions import mark_failed
from fastapi_asyncdb.session.state import BEGIN_FAILED, SessionState


def listen(session_class: type[Session]) -> None:
    """Listen to the sessions of a class and its subclasses, each of which has its state."""
    for name, listener in _LISTENERS.items():
        event.listen(session_class, name, listener, propagate=True)


def _before_attach(session: Any, instance: object) -> None:
    state: SessionState = session._asyncdb
    if state.watched:
        state.check_open()
        if state.hooks is not None:
            state.hooks.refuse_use()


def _after_begin(session: Any, transaction: SessionTransaction, connection: Connection) -> None:
    state: SessionState = session._asyncdb
    state.connections.add(connection)  # before what may fail, and is rolled back then
    if state.first_step is not None and not transaction.nested:
        _take_first_step(state, connection)


def _take_first_step(state: SessionState, connection: Connection) -> None:
    bind = state.session().bind
    if state.first_step is None or bind is None or connection.engine is not bind.engine:
        return  # another database
    try:
        state.first_step(connection)
    except BaseException as error:
        state.failed_begin, state.watched = connection, True
        if connection.in_transaction() and not connection.invalidated:
            mark_failed(connection, error, BEGIN_FAILED)
        raise


def _after_commit(session: Any) -> None:
    # Fires for savepoints too, and for a commit of the whole with savepoints open once for each.
    hooks = session._asyncdb.hooks
    if hooks is not None:
        savepoint = session.get_nested_transaction()
        if savepoint is None:
            hooks.end(committed=True)
        else:
            hooks.release(savepoint)


def _after_rollback(session: Any) -> None:
    # Before the objects are expired. A flush that fails rolls back like this, by itself.
    if session.get_nested_transaction() is None:
        session._asyncdb.keep_values()


def _persistent_to_deleted(session: Any, instance: object) -> None:
    session._asyncdb.add_deleted(instance)


def _after_transaction_end(session: Any, transaction: SessionTransaction) -> None:
    # After a commit there is nothing left to do for hooks: it has taken or handed on its own.
    state: SessionState = session._asyncdb
    if transaction.nested:
        state.tasks.remove_savepoint(transaction)
        if state.hooks is not None:
            state.hooks.undo(transaction)
    elif transaction.parent is None:
        if state.hooks is not None and not state.connections.releasing:
            state.hooks.end(committed=False)
        state.end_of_transaction()


def hears_alone(session: Session) -> bool:
    """Return whether only the library listens to the begin and the end of a session's transactions."""
    listened = session.dispatch
    return (
        [*listened.after_begin] == [_after_begin]
        and [*listened.after_transaction_end] == [_after_transaction_end]
        and not listened.after_transaction_create
    )


_LISTENERS: dict[str, Callable[..., None]] = {
    "before_attach": _before_attach,
    "after_begin": _after_begin,
    "after_commit": _after_commit,
    "after_rollback": _after_rollback,
    "persistent_to_deleted": _persistent_to_deleted,
    "after_transaction_end": _after_transaction_end,
}
