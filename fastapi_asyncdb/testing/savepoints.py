"""The savepoints of a sandbox: a session's transaction is one of them. Pure SQL, one connection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from fastapi_asyncdb.errors import SandboxError


@dataclass(eq=False)
class Savepoint:
    """Where a session's transaction began."""

    name: str
    began: int
    """The number of the statement before which it began."""
    wrote: int = 0
    """The number of its last statement that wrote."""
    committed: bool = False
    holds_others: bool = False
    """Whether another transaction, begun inside of it, has written and committed."""


class Savepoints:
    """The open savepoints, the oldest first.

    Sessions that overlap in time share one connection, so that the later one's savepoint is inside of
    the earlier one's. Ends in any order are made to look like transactions of their own, except for
    what cannot be: a rollback takes along whatever came after its savepoint.

    Args:
        run: Runs a statement on the connection.
    """

    def __init__(self, run: Callable[[str], None]) -> None:
        self._run = run
        self._open: list[Savepoint] = []
        self._names = count(1)
        self._statements = 0

    def begin(self) -> Savepoint:
        """Begin a transaction."""
        savepoint = Savepoint(f"asyncdb_{next(self._names)}", self._statements)
        self._run(f"SAVEPOINT {savepoint.name}")
        self._open.append(savepoint)
        return savepoint

    def note_write(self, savepoint: Savepoint) -> None:
        """Note that its transaction is about to write."""
        self._statements += 1
        savepoint.wrote = self._statements

    def commit(self, savepoint: Savepoint) -> None:
        """Keep what was done since it began.

        Raises:
            SandboxError: an earlier session, around this one, was rolled back meanwhile.
        """
        if savepoint not in self._open:
            raise SandboxError(
                "What this session did is gone: a session that began before it, and shares the "
                "sandbox's one connection with it, was rolled back. In production the two would be "
                "independent. End one before the other begins, or test this with isolated_database."
            )
        savepoint.committed = True
        if savepoint.wrote:
            for around in self._open[: self._open.index(savepoint)]:
                around.holds_others = True
        self._release()

    def rollback(self, savepoint: Savepoint) -> None:
        """Undo what was done since it began.

        Raises:
            SandboxError: that includes what another session wrote meanwhile.
        """
        if savepoint not in self._open:
            return
        position = self._open.index(savepoint)
        self._run(f"ROLLBACK TO SAVEPOINT {savepoint.name}")
        self._run(f"RELEASE SAVEPOINT {savepoint.name}")
        del self._open[position:]
        self._release()
        if savepoint.holds_others or any(o.wrote > savepoint.began for o in self._open):
            raise SandboxError(
                "A rollback took along what another session wrote: the two overlapped in time, and "
                "share the sandbox's one connection. In production they would be independent. End "
                "one before the other writes, or test this with isolated_database."
            )

    def _release(self) -> None:
        # Not before those inside of it have ended: they may still be rolled back.
        while self._open and self._open[-1].committed:
            self._run(f"RELEASE SAVEPOINT {self._open.pop().name}")
