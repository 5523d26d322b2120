"""What is reported of each revision that was applied."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from alembic.util import to_tuple

from fastapi_asyncdb.migrations.journal import Journal
from fastapi_asyncdb.migrations.lock import HeldLock

if TYPE_CHECKING:
    from alembic.script import Script, ScriptDirectory

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
        journal: Cleared each time.
        progress: Called each time.
    """

    def __init__(self, lock: HeldLock, journal: Journal, progress: Progress | None) -> None:
        self._lock = lock
        self._journal = journal
        self._progress = progress
        self._since = time.monotonic()
        self.applied: list[AppliedRevision] = []
        """The revisions that were applied, in their order."""

    def __call__(self, *, step: Any, **others: Any) -> None:
        """Report a step, as Alembic's ``on_version_apply`` has it."""
        self._lock.checked(**others)
        self._journal.clear()
        if step.is_stamp:
            return
        seconds, self._since = time.monotonic() - self._since, time.monotonic()
        applied = AppliedRevision(step.up_revision_id, step.up_revision.doc or "", seconds)
        self.applied.append(applied)
        words = "Applied %s in %.2f s: %s" if step.is_upgrade else "Undid %s in %.2f s: %s"
        logger.info(words, applied.revision, applied.seconds, applied.doc)
        if self._progress is not None:
            self._progress(applied)


def steps_between(
    scripts: ScriptDirectory, before: Sequence[str], after: Sequence[str], seconds: float
) -> list[AppliedRevision]:
    """Return the revisions that were applied or undone between two states of a database.

    Args:
        scripts: The revisions.
        before: Those at which the database was.
        after: Those at which it is.
        seconds: The time of all of them; each is said to have taken the same.
    """
    order = list(scripts.walk_revisions())
    old, new = _all_below(order, before), _all_below(order, after)
    changed = [script for script in order if script.revision in old ^ new]
    if new > old:
        changed.reverse()
    each_seconds = seconds / (len(changed) or 1)
    return [AppliedRevision(each.revision, each.doc or "", each_seconds) for each in changed]


def _all_below(scripts: Sequence[Script], revisions: Sequence[str]) -> set[str]:
    """Return these revisions and those before them; one that this code does not have has none."""
    found = set(revisions)
    for script in scripts:  # the newest first
        if script.revision in found:
            found.update(to_tuple(script.down_revision, default=()))
    return found & {script.revision for script in scripts}
