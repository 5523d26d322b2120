"""Slots for the connection of a sandbox: one session at a time, and those opened inside of it."""

from __future__ import annotations

from contextvars import ContextVar

from fastapi_asyncdb.pool.waiters import Slots

# The innermost session of the running code, one for each sandbox. Tasks and threads inherit it: a task
# that a handler starts while it has the connection is inside of the handler's slot.
_inside: ContextVar[tuple[_Opened, ...]] = ContextVar("fastapi_asyncdb.sandbox_slots", default=())


class _Opened:
    """A session that was opened. It gets its slot later, perhaps in another task."""

    __slots__ = ("around", "root", "slot")

    def __init__(self, root: Slot, around: _Opened | None) -> None:
        self.root: Slot = root
        self.around: _Opened | None = around
        self.slot: Slot | None = None


class Slot:
    """The right to use the connection. Further slots may be taken inside of it, one at a time.

    Args:
        around: The slot that it is taken in; ``None`` for the slot of the whole sandbox.
    """

    def __init__(self, around: Slot | None = None) -> None:
        self.around: Slot | None = around
        self.root: Slot = self if around is None else around.root
        self.released: bool = False
        self._slots = Slots(1)
        self._users = 1
        """Itself, and the slots inside of it."""

    def take_free(self) -> Slot | None:
        """Take a slot inside of this one; ``None`` if another session has it."""
        return self._take() if self._slots.take_at_once() else None

    async def wait(self, seconds: float) -> Slot | None:
        """Wait in the queue for a slot inside of this one; ``None`` after so many seconds."""
        return self._take() if await self._slots.take(seconds) else None

    def release(self) -> None:
        """Release it; the next waiter gets it when the slots inside of it are released as well."""
        self.released = True
        self.drop_user()

    def drop_user(self) -> None:
        """Count one user less, and hand over to the next waiter after the last."""
        self._users -= 1
        if self._users == 0 and self.around is not None:
            self.around.admit_next()

    def admit_next(self) -> None:
        """Let the next waiter have the slot inside of this one."""
        self._slots.release()
        self.drop_user()

    def note_opened(self) -> _Opened:
        """Note that the running code opens a session; what it starts is inside of that session."""
        others = (opened for opened in _inside.get() if opened.root is not self.root)
        opened = _Opened(self.root, self._innermost())
        _inside.set((opened, *others))
        return opened

    def innermost(self) -> Slot:
        """Return the slot of this sandbox that the running code is inside of, or this one."""
        opened = self._innermost()
        while opened is not None:
            if opened.slot is not None and not opened.slot.released:
                return opened.slot
            opened = opened.around
        return self

    def _innermost(self) -> _Opened | None:
        opened = next((each for each in _inside.get() if each.root is self.root), None)
        while opened is not None and opened.slot is not None and opened.slot.released:
            opened = opened.around
        return opened

    def _take(self) -> Slot:
        self._users += 1
        slot = Slot(self)
        opened = self._innermost()
        if opened is None or opened.slot is not None:
            opened = self.note_opened()
        opened.slot = slot
        return slot
