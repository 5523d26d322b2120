"""What is reported of each revision that was applied."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi_asyncdb.migrations.lock import HeldLock

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AppliedRevision:
    """A revision that was applied, or undone."""

    revision: str
    doc: str
    """The first line of its docstring."""
    seconds: float


Progress = Callable[[AppliedRevision], None]
"""Called after each revision, before its transaction is committed."""


class Steps:
    """Called by Alembic after each revision, before the commit.

    Args:
        lock: Checked each time.
        progress: Called each time.
    """

    def __init__(self, lock: HeldLock, progress: Progress | None) -> None:
        self._lock = lock
        self._progress = progress
        self._since = time.monotonic()
        self.applied: list[AppliedRevision] = []
        """The revisions that were applied, in their order."""

    def __call__(self, *, step: Any, **others: Any) -> None:
        """Report a step, as Alembic's ``on_version_apply`` has it."""
        self._lock.checked()
        if step.is_stamp:
            return
        seconds, self._since = time.monotonic() - self._since, time.monotonic()
        applied = AppliedRevision(step.up_revision_id, step.up_revision.doc or "", seconds)
        self.applied.append(applied)
        words = "Applied %s in %.2f s: %s" if step.is_upgrade else "Undid %s in %.2f s: %s"
        logger.info(words, applied.revision, applied.seconds, applied.doc)
        if self._progress is not None:
            self._progress(applied)
