"""Finishes what must not be left halfway, although its caller is cancelled. Knows no database."""

from __future__ import annotations

import asyncio
from typing import TypeVar

from anyio import CancelScope

T = TypeVar("T")


async def finish(task: asyncio.Task[T]) -> T:
    """Wait for the task to the end; pass on a cancellation that came meanwhile only then.

    A COMMIT that is abandoned halfway has an unknown outcome, a ROLLBACK a lost connection. AnyIO's
    shield holds off its own cancel scopes; a plain ``task.cancel()`` is caught and raised again.

    Returns:
        The task's result.

    Raises:
        BaseException: the task's own failure, which matters more than a cancellation.
        asyncio.CancelledError: the caller was cancelled, and the task has succeeded.
    """
    cancelled: asyncio.CancelledError | None = None
    with CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    result = task.result()
    if cancelled is not None:
        raise cancelled
    return result
