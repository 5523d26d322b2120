"""The objects of a session whose work is rolled back for good. Ends no transaction itself."""

from __future__ import annotations

from collections.abc import Iterable
from weakref import ref

from sqlalchemy import inspect
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import set_committed_value


class KeptValues:
    """Detach the objects of a session before it rolls back, so that their values stay readable.

    A rollback expires what the session holds, since the session may go on with it. Once a request has
    failed it is over for its objects, and only readers are left: exception handlers, an access log.
    Objects that the transaction has inserted are transient after the rollback, all others detached.
    https://docs.sqlalchemy.org/en/20/orm/session_state_management.html

    Args:
        session: In a transaction that is about to be rolled back.
        deleted: What was deleted in it, and flushed: the session itself has lost sight of it.
    """

    def __init__(self, session: Session, deleted: Iterable[ref[object]]) -> None:
        self._session = session
        gone = filter(None, (reference() for reference in deleted))
        self._values = [
            (instance, dict(inspect(instance, raiseerr=True).dict))
            for instance in (*session.identity_map.values(), *gone)
        ]
        session.expunge_all()

    def restore(self) -> None:
        """Detach what the rollback has taken back: deleted objects, and those with another key."""
        session = self._session
        returned = [pair for pair in self._values if pair[0] in session]
        for instance, values in returned:
            for attribute in inspect(instance, raiseerr=True).mapper.attrs:
                if attribute.key in values:
                    set_committed_value(instance, attribute.key, values[attribute.key])
        if returned:
            session.expunge_all()
