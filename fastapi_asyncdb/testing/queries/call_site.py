"""The line of the user's code that sent a statement, found in the frames of the running tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from itertools import chain
from types import FrameType
from typing import Any

from fastapi_asyncdb.concurrency import current_task, getcurrent, greenlet
from fastapi_asyncdb.finishing import caller_of
from fastapi_asyncdb.tracebacks import module_of, place_of


def stack(frame: FrameType | None) -> Iterator[FrameType]:
    """Walk from a frame outwards, across the greenlets that SQLAlchemy runs its work in.

    Args:
        frame: A frame of the running greenlet.
    """
    current: greenlet | None = getcurrent()
    while current is not None:
        while frame is not None:
            yield frame
            frame = frame.f_back
        current = current.parent
        frame = current.gr_frame if current is not None else None


def call_site(frames: Iterable[FrameType]) -> str | None:
    """Return ``file:line`` of the innermost frame of the user, or of the callers of the running task.

    Args:
        frames: The result of ``stack()``.

    Returns:
        A path below the working directory is shown from there. ``None`` if there is none.
    """
    for frame in chain(frames, _waiting(current_task())):
        if module_of(frame) == "fastapi_asyncdb.dependencies":
            return None  # the end of a request: behind it is what serves the application
        if place := place_of(frame):
            return place
    return None


def is_from_preset(frames: Iterable[FrameType]) -> bool:
    """Return whether the library itself sends the statement, to begin a transaction.

    What data access sends through the package of a database, such as COPY, is the application's.
    """
    in_dialects = False
    for frame in frames:
        if module_of(frame).startswith("fastapi_asyncdb.dialects."):
            in_dialects = True
        elif in_dialects:
            return not module_of(frame).startswith("fastapi_asyncdb.data.")
    return in_dialects


def is_from_flush(frames: Iterable[FrameType]) -> bool:
    """Return whether a flush sends the statement, as one of many."""
    return any(module_of(frame) == "sqlalchemy.orm.unitofwork" for frame in frames)


def _waiting(task: asyncio.Task[Any] | None) -> Iterator[FrameType]:
    """Walk the frames of the task that waits for this one, and then of its caller, outwards."""
    caller = caller_of(task) if task is not None else None
    frames = list(_suspended(caller.get_coro())) if caller is not None else []
    # The walk stops early where something else than a coroutine is awaited: an asynchronous generator,
    # for example, as in the commit after a handler. Its outer frames did not send the statement.
    if frames and module_of(frames[-1]) == caller_of.__module__:
        yield from reversed(frames)
        yield from _waiting(caller)


def _suspended(coroutine: Any) -> Iterator[FrameType]:
    """Walk from a suspended coroutine inwards, as far as coroutines await each other."""
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        yield frame
        coroutine = coroutine.cr_await
