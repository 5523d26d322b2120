"""``ManagedSyncSession``: the ``Session`` inside of a managed session, which sends all statements."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session

from fastapi_asyncdb.concurrency import current_task, getcurrent, in_greenlet
from fastapi_asyncdb.engine.late.engine import LateEngine
from fastapi_asyncdb.session.events import listen
from fastapi_asyncdb.session.lazy_loads import refuse_lazy_load
from fastapi_asyncdb.session.state import SessionState


class ManagedSyncSession(Session):
    """The ``Session`` inside of a managed session; a base class of the user's own."""

    _asyncdb: SessionState

    def get_bind(self, *args: Any, **kwargs: Any) -> Engine | Connection:
        """Choose the engine, as SQLAlchemy does before each statement, if the session may go on."""
        state = self._asyncdb
        tasks = state.tasks
        user = tasks.user or tasks.ending
        if state.watched or user is None or user is not current_task():
            state.check_usable()
            if not in_greenlet():
                refuse_lazy_load(self)
            if state.connections.releases and tasks.user is None:
                state.connections.release_after(getcurrent())  # of awaitable_attrs
        bind = super().get_bind(*args, **kwargs)
        return bind.required() if type(bind) is LateEngine else bind

    def _autoflush(self) -> None:
        # A flush that cannot wait would try to roll back, which cannot wait either.
        if not in_greenlet():
            refuse_lazy_load(self)
        super()._autoflush()

    def connection(self, *args: Any, **kwargs: Any) -> Connection:
        """Return the connection, which a reading session then keeps."""
        connection = super().connection(*args, **kwargs)
        self._asyncdb.connections.keeps = True
        return connection

    def rollback(self) -> None:
        """Roll back, and forget what is undone by it."""
        state = self._asyncdb
        state.keep_values()
        try:
            if state.failed_begin is not None and not state.failed_begin.in_transaction():
                self.close()  # the first step has rolled back; SQLAlchemy would warn of a second time
            else:
                super().rollback()
        finally:
            state.let_go()
        state.rolled_back()


def resolving(session_class: type[Session]) -> dict[str, Any]:
    """Return a ``get_bind`` for a subclass of one that chooses engines itself, if it does.

    It may choose ``database.engine``, which is the session's own engine: a second one would have a
    connection and a transaction of its own.
    """
    if session_class.get_bind is Session.get_bind:
        return {}

    def get_bind(self: Any, *args: Any, **kwargs: Any) -> Engine | Connection:
        bind = session_class.get_bind(self, *args, **kwargs)
        return bind.required() if type(bind) is LateEngine else bind

    return {"get_bind": get_bind}


listen(ManagedSyncSession)


class OwnSyncSession(ManagedSyncSession):
    """The same below the user's own class, whose coroutines may call it past those of ``AsyncSession``.

    SQLModel's ``exec()`` does, with SQLAlchemy's ``greenlet_spawn``.
    """

    def _execute_internal(self, *args: Any, **kwargs: Any) -> Any:
        state = self._asyncdb
        tasks, connections = state.tasks, state.connections
        if tasks.user is not None or tasks.is_ending_here:
            return super()._execute_internal(*args, **kwargs)
        # As AsyncSession's methods have it. Those that load an attribute fetch the rows later.
        has_all_rows = "prebuffer_rows" in kwargs.get("execution_options", ())
        if connections.releases and not has_all_rows:
            connections.release_after(getcurrent())
        try:
            with tasks.exclusive():
                return super()._execute_internal(*args, **kwargs)
        finally:
            if state.closed:
                self.close()  # its rollback could not wait for this call
            elif connections.releases and has_all_rows:
                connections.release()
