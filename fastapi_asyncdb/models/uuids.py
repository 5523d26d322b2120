"""UUIDs of version 7, whose order is that of their creation, and ``UUIDMixin`` with such a key."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import Uuid
from sqlalchemy.orm import Mapped, mapped_column

if sys.version_info >= (3, 14):
    from uuid import uuid7 as uuid7
else:
    import secrets
    import threading
    import time

    _lock = threading.Lock()
    _last = 0

    def uuid7() -> UUID:
        """Return a new UUID of version 7, greater than all that this process has made before.

        48 bits are the time in milliseconds, 12 bits its fraction, 62 bits are random:
        https://www.rfc-editor.org/rfc/rfc9562#name-uuid-version-7, and method 3 of section 6.2.
        ``uuid.uuid7`` from Python 3.14 on.
        """
        time_and_fraction = _next_time()
        milliseconds, fraction = time_and_fraction >> 12, time_and_fraction & 0xFFF
        number = milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | secrets.randbits(62)
        return UUID(int=number)

    def _next_time() -> int:
        """Return the time in 4096ths of a millisecond, later than the last one."""
        global _last
        with _lock:
            _last = max(_last + 1, (time.time_ns() << 12) // 1_000_000)
            return _last


class UUIDMixin:
    """The primary key ``id``, a :func:`uuid7` that the application makes when it flushes an object.

    Keys in the order of their creation keep an index dense; random ones are inserted all over it.
    """

    # Without annotations at run time, which dataclasses and SQLModel would take for their fields.
    if TYPE_CHECKING:
        id: Mapped[UUID]
    else:
        id = mapped_column(Uuid(), primary_key=True, insert_default=uuid7, sort_order=-1)
