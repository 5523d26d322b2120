"""``Journal``: the statements of a revision that stay although it fails."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

from sqlalchemy import Connection, event

from fastapi_asyncdb.dialects import backend_of
from fastapi_asyncdb.dialects.migrations import Commits

_SHOWN = 10
_LONGEST = 120
# Such a statement changes nothing that a next attempt would find.
_READS = re.compile(
    r"\s*(SELECT|SHOW|DESC|DESCRIBE|EXPLAIN|SET|USE|SAVEPOINT|RELEASE|ROLLBACK)\b", re.IGNORECASE
)
# Created before the first revision, under any name.
_VERSIONS = "version_num VARCHAR(32) NOT NULL"
# A value may be a secret, as the password of a new user.
_VALUE = re.compile(r"""'(?:[^'\\]|''|\\.)*'|"(?:[^"\\]|""|\\.)*\"""", re.DOTALL)


class Journal:
    """What the revision that runs has done, on a database that commits each change of its schema.

    Args:
        connection: Its statements are listened to.
    """

    def __init__(self, connection: Connection) -> None:
        backend = backend_of(connection.dialect)
        commits = backend.migrations.commits if backend is not None else None
        self._commits: Commits = commits or _never
        self._done, self._pending = _Statements(), _Statements()
        self._running = ""
        if commits is not None:
            event.listen(connection, "before_cursor_execute", self._before)
            event.listen(connection, "after_cursor_execute", self._after)

    def clear(self) -> None:
        """Forget the statements: a revision has succeeded."""
        self._done, self._pending, self._running = _Statements(), _Statements(), ""

    def stay(self, error: BaseException) -> str | None:
        """Return what a revision that has failed has done, for a message; ``None`` if nothing stays."""
        if self._commits(self._running, error):
            self._store()
        return str(self._done) if self._done.count else None

    def _before(self, connection: Connection, cursor: Any, statement: str, *others: Any) -> None:
        self._running = statement

    def _after(self, connection: Connection, cursor: Any, statement: str, *others: Any) -> None:
        self._running = ""
        if not _READS.match(statement) and _VERSIONS not in statement:
            self._pending.add(statement)
        if self._commits(statement) or _in_autocommit(connection):
            self._store()

    def _store(self) -> None:
        self._done.extend(self._pending)
        self._pending = _Statements()


class _Statements:
    """The last ones of any number of statements. ``str()`` is a list for a message."""

    def __init__(self) -> None:
        self.count = 0
        self._last: deque[str] = deque(maxlen=_SHOWN)

    def add(self, statement: str) -> None:
        """Add a statement; the same one again, with other parameters, is left out."""
        words = " ".join(_VALUE.sub("'...'", statement).split())
        words = words if len(words) <= _LONGEST else words[:_LONGEST] + "..."
        if not self._last or self._last[-1] != words:
            self.count += 1
            self._last.append(words)

    def extend(self, others: _Statements) -> None:
        """Add those of others."""
        self.count += others.count
        self._last.extend(others._last)

    def __str__(self) -> str:
        more = self.count - len(self._last)
        return "; ".join([f"{more} others", *self._last] if more else self._last)


def _never(statement: str, error: BaseException | None = None) -> bool:
    return False


def _in_autocommit(connection: Connection) -> bool:
    return connection.get_execution_options().get("isolation_level") == "AUTOCOMMIT"
