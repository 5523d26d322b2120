"""The objects of a session whose transaction the library rolls back: detached, with their values."""

from __future__ import annotations

from typing import Any
from weakref import ref

from sqlalchemy import inspect
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value


class Detached:
    """Detach the objects of a session when it rolls back, so that their values stay readable.

    A rollback expires the objects of a session, since it may be used further. After a request has failed
    only readers are left: exception handlers, an access log.
    Objects that the transaction has inserted are transient after the rollback, all others detached.
    SQLAlchemy's own rollback, which users call, detaches nothing.
    https://docs.sqlalchemy.org/en/20/orm/session_state_management.html
    """

    __slots__ = ("_deleted", "_values")

    def __init__(self) -> None:
        # What the transaction has deleted and flushed: the session itself has no reference to it.
        self._deleted: list[ref[object]] = []
        self._values: list[tuple[object, dict[str, Any]]] | None = None

    def add_deleted(self, instance: object) -> None:
        """Note an object that a flush has deleted."""
        self._deleted.append(ref(instance))

    def forget_deleted(self) -> None:
        """Note that the transaction is over."""
        self._deleted.clear()

    def keep_values(self, session: Session) -> None:
        """Detach the objects of a session before they are expired."""
        if self._values is not None:
            return
        gone = filter(None, (reference() for reference in self._deleted))
        self._values = [
            (instance, dict(inspect(instance, raiseerr=True).dict))
            for instance in (*session.identity_map.values(), *gone)
        ]
        session.expunge_all()

    def restore(self, session: Session) -> None:
        """Detach objects that the rollback has restored: deleted ones, and those with another key."""
        if self._values is None:
            return
        values, self._values = self._values, None
        returned = [pair for pair in values if pair[0] in session]
        for instance, kept in returned:
            for attribute in inspect(instance, raiseerr=True).mapper.attrs:
                if attribute.key in kept:
                    set_committed_value(instance, attribute.key, kept[attribute.key])
        if returned:
            session.expunge_all()
