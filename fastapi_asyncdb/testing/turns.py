"""Who may use the one connection of a sandbox: one at a time, and whoever runs inside of that one."""

from __future__ import annotations

from contextvars import ContextVar

from fastapi_asyncdb.gate import Gate

# Tasks inherit it: what a handler starts while it holds the connection is inside of its turn.
_inside: ContextVar[Turn | None] = ContextVar("fastapi_asyncdb.turn", default=None)


class Turn:
    """The right to use the connection; further turns may be taken inside of it, one at a time.

    Args:
        around: The turn that it is taken in; ``None`` for the whole sandbox.
    """

    def __init__(self, around: Turn | None = None) -> None:
        self.around = around
        self._gate = Gate(1)
        self._parts = 1
        """Itself, and the turns taken inside of it."""
        self._over = False

    def at_once(self) -> Turn | None:
        """Take a turn inside of this one, if nobody has it."""
        return self._take() if self._gate.enter_at_once() else None

    async def in_line(self, patience: float) -> Turn | None:
        """Wait for a turn inside of this one; ``None`` when so many seconds were not enough."""
        return self._take() if await self._gate.enter(patience) else None

    def _take(self) -> Turn:
        self._parts += 1
        turn = Turn(self)
        _inside.set(turn)
        return turn

    def end(self) -> None:
        """Give it back; who waits is next when the turns inside of it have ended as well."""
        if not self._over:
            self._over = True
            self._leave_part()

    def _leave_part(self) -> None:
        self._parts -= 1
        if self._parts == 0 and self.around is not None:
            self.around._gate.leave()
            self.around._leave_part()

    def innermost(self) -> Turn:
        """Return the turn inside of this one that the running code is in, or this one."""
        turn = _inside.get()
        while turn is not None and (turn._over or not turn._is_within(self)):
            turn = turn.around
        return turn or self

    def _is_within(self, other: Turn) -> bool:
        turn: Turn | None = self
        while turn is not None and turn is not other:
            turn = turn.around
        return turn is other
