"""Who may use the one connection of a sandbox: one at a time, and whoever runs inside of that one."""

from __future__ import annotations

from contextvars import ContextVar

from fastapi_asyncdb.pool.waiters import Slots

# The innermost places of the running code, one for each sandbox. Tasks and threads inherit them: what a
# handler starts while it holds the connection is inside of its turn.
_inside: ContextVar[tuple[_Place, ...]] = ContextVar("fastapi_asyncdb.turns", default=())


class _Place:
    """Where a session was opened. Its turn comes later, and perhaps in a task of its own."""

    __slots__ = ("around", "root", "turn")

    def __init__(self, root: Turn, around: _Place | None) -> None:
        self.root = root
        self.around = around
        self.turn: Turn | None = None


class Turn:
    """The right to use the connection; further turns may be taken inside of it, one at a time.

    Args:
        around: The turn that it is taken in; ``None`` for the whole sandbox.
    """

    def __init__(self, around: Turn | None = None) -> None:
        self.around = around
        self.root: Turn = self if around is None else around.root
        self._slot = Slots(1)
        self._parts = 1
        """Itself, and the turns taken inside of it."""
        self._over = False

    def at_once(self) -> Turn | None:
        """Take a turn inside of this one, if nobody has it."""
        return self._take() if self._slot.take_at_once() else None

    async def in_line(self, patience: float) -> Turn | None:
        """Wait for a turn inside of this one; ``None`` when so many seconds were not enough."""
        return self._take() if await self._slot.take(patience) else None

    def end(self) -> None:
        """Give it back; who waits is next when the turns inside of it have ended as well."""
        self._over = True
        self._leave_part()

    def open(self) -> _Place:
        """Note that the running code opens a session, and whatever it starts is inside of that."""
        others = (place for place in _inside.get() if place.root is not self.root)
        place = _Place(self.root, self._place())
        _inside.set((place, *others))
        return place

    def innermost(self) -> Turn:
        """Return the turn of this sandbox that the running code is inside of, or this one."""
        place = self._place()
        while place is not None:
            if place.turn is not None and not place.turn._over:
                return place.turn
            place = place.around
        return self

    def _place(self) -> _Place | None:
        place = next((place for place in _inside.get() if place.root is self.root), None)
        while place is not None and place.turn is not None and place.turn._over:
            place = place.around
        return place

    def _take(self) -> Turn:
        self._parts += 1
        turn = Turn(self)
        place = self._place()
        if place is None or place.turn is not None:
            place = self.open()
        place.turn = turn
        return turn

    def _leave_part(self) -> None:
        self._parts -= 1
        if self._parts == 0 and self.around is not None:
            self.around._slot.release()
            self.around._leave_part()
