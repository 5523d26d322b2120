"""Tasks and greenlets: which one runs, how one waits in the other, how long to wait for a next attempt.

The only module that imports SQLAlchemy's bridge between greenlets and coroutines, and ``greenlet``.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from greenlet import getcurrent, greenlet
from sqlalchemy.util import await_only, greenlet_spawn
from sqlalchemy.util.concurrency import in_greenlet

__all__ = [
    "await_only",
    "backoff",
    "current_task",
    "getcurrent",
    "greenlet",
    "greenlet_spawn",
    "in_greenlet",
    "task_name",
]


def current_task() -> asyncio.Task[Any] | None:
    """Return the running task; there is none in the thread of a ``def`` endpoint."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def task_name(task: asyncio.Task[Any] | None) -> str:
    """Return the name of a task and of what it runs, for messages."""
    if task is None:
        return "A thread"
    work = task.get_coro()
    return f"{task.get_name()} ({getattr(work, '__qualname__', work)})"


def backoff(attempt: int, *, base: float, cap: float) -> float:
    """Return the seconds to wait after an attempt: random, up to a ceiling that doubles.

    https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/

    Args:
        attempt: The attempts made so far, from 1.
        base: The ceiling after the first one, in seconds.
        cap: The highest ceiling, in seconds.
    """
    ceiling = min(cap, base * 2 ** min(attempt - 1, 32))
    return random.uniform(0, ceiling)  # noqa: S311 - jitter, no secret
