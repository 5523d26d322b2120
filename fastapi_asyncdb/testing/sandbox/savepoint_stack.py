"""The savepoints of a sandbox: each transaction of a session is one of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from fastapi_asyncdb.errors import SandboxError

# One sandbox may be inside of another, on the same connection.
_names = count(1)


@dataclass(eq=False)
class Savepoint:
    """Where a session's transaction began, or a savepoint of its own."""

    owner: Savepoint | None = None
    """The session's transaction, if this is a savepoint of its own."""
    name: str = ""
    began: int = 0
    """The number of the statement before which it began."""
    wrote: int = 0
    """The number of its last statement that wrote."""
    committed: bool = False
    contains_others: bool = False
    """Whether another transaction, begun inside of it, has written and committed."""


class Savepoints:
    """The open savepoints, the oldest first.

    Sessions that overlap in time share one connection, so that the later one's savepoint is inside of
    the earlier one's. They may end in any order, as independent transactions do, with one exception: a
    rollback also undoes what other sessions did after its savepoint.

    Args:
        run: Runs a statement on the connection.
    """

    def __init__(self, run: Callable[[str], None]) -> None:
        self._run = run
        self._open: list[Savepoint] = []
        self._statements = 0

    def begin(self, savepoint: Savepoint) -> Savepoint:
        """Begin a transaction, or a savepoint of one."""
        savepoint.name = f"asyncdb_{next(_names)}"
        savepoint.began = self._statements
        # First, so that it is rolled back if the caller is cancelled meanwhile.
        self._open.append(savepoint)
        try:
            self._run(f"SAVEPOINT {savepoint.name}")
        except Exception:
            self._open.remove(savepoint)
            raise
        return savepoint

    def note_write(self, savepoint: Savepoint) -> None:
        """Note that its transaction is about to write."""
        self._statements += 1
        savepoint.wrote = self._statements

    def refuse_gone(self, savepoint: Savepoint) -> None:
        """Refuse to go on in a transaction that another one's rollback has undone.

        Raises:
            SandboxError: it has.
        """
        if savepoint not in self._open:
            raise SandboxError(
                "What this session did is gone: a session that began before it, and shares the "
                "sandbox's one connection with it, was rolled back. In production the two would be "
                "independent. End one before the other begins, or test this with isolated_database."
            )

    def is_alone(self, savepoint: Savepoint) -> bool:
        """Return whether no other savepoint is open."""
        return self._open == [savepoint]

    def others_wrote(self, savepoint: Savepoint) -> bool:
        """Return whether another open transaction has written."""
        return any(other.wrote for other in self._open if other is not savepoint)

    def commit(self, savepoint: Savepoint) -> None:
        """Keep what was done since it began.

        Raises:
            SandboxError: it wrote, and an earlier session, around this one, was rolled back meanwhile.
        """
        if not savepoint.wrote and savepoint not in self._open:
            return
        self.refuse_gone(savepoint)
        savepoint.committed = True
        if savepoint.wrote:
            for around in self._open[: self._open.index(savepoint)]:
                around.contains_others = True
        self._release()

    def release(self, savepoint: Savepoint) -> None:
        """End a savepoint of a transaction's own: what it did is part of the transaction now."""
        savepoint.committed = True
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
        others = (other for other in self._open if other is not savepoint.owner)
        if savepoint.contains_others or any(other.wrote > savepoint.began for other in others):
            raise SandboxError(
                "A rollback has undone what another session wrote: the two overlapped in time, and "
                "share the sandbox's one connection. In production they would be independent. End "
                "one before the other writes, or test this with isolated_database."
            )

    def revive(self, savepoint: Savepoint) -> None:
        """Roll back to a point at which other sessions can go on, after an error that has ended one.

        The failed session must still roll back; what it did since that point is undone in any case.
        """
        own = (
            each for each in self._open if savepoint in (each, each.owner) and not each.committed
        )
        *_, innermost = own
        self._run(f"ROLLBACK TO SAVEPOINT {innermost.name}")
        del self._open[self._open.index(innermost) + 1 :]

    def _release(self) -> None:
        # Not before the savepoints inside of it have ended: they may still be rolled back.
        while self._open and self._open[-1].committed:
            self._run(f"RELEASE SAVEPOINT {self._open.pop().name}")
