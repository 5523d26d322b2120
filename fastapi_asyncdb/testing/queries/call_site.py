"""Where in the user's code a statement comes from. Looks at frames, and knows no database."""

from __future__ import annotations

import asyncio
import os
import sysconfig
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any

from fastapi_asyncdb.concurrency import current_task, getcurrent, greenlet
from fastapi_asyncdb.finishing import caller_of

# What is installed here is not the user's: libraries, the interpreter's own, commands like pytest.
_INSTALLED = tuple(
    os.path.realpath(sysconfig.get_path(name)) + os.sep
    for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
)


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
    """Return ``file:line`` of the innermost frame of the user's, or of who waits for the running task.

    Args:
        frames: What ``stack()`` returns.

    Returns:
        A path below the working directory is shown from there. ``None`` if there is none.
    """
    for frame in chain(frames, _awaiting(current_task())):
        if _module(frame) == "fastapi_asyncdb.dependencies":
            return None  # behind it is what serves the application
        filename = frame.f_code.co_filename
        if not (_module(frame).startswith("fastapi_asyncdb.") or _is_installed(filename)):
            path, here = Path(filename), Path.cwd()
            shown = path.relative_to(here) if path.is_relative_to(here) else path
            return f"{shown}:{frame.f_lineno}"
    return None


def is_from_preset(frames: Iterable[FrameType]) -> bool:
    """Tell whether the library sends it for itself, to begin a transaction."""
    return any(_module(frame).startswith("fastapi_asyncdb.dialects.") for frame in frames)


def is_from_flush(frames: Iterable[FrameType]) -> bool:
    """Tell whether a flush sends it, which may be one of many."""
    return any(_module(frame) == "sqlalchemy.orm.unitofwork" for frame in frames)


@lru_cache(maxsize=1024)
def _is_installed(filename: str) -> bool:
    # "<...>" is no file: code that was made at run time, or is part of the interpreter.
    return filename.startswith("<") or os.path.realpath(filename).startswith(_INSTALLED)


def _awaiting(task: asyncio.Task[Any] | None) -> Iterator[FrameType]:
    """Walk the task that waits for this one: a commit that connects, for example, has one of its own."""
    caller = None if task is None else caller_of(task)
    if caller is not None:
        yield from reversed(list(_suspended(caller.get_coro())))
        yield from _awaiting(caller)


def _suspended(coroutine: Any) -> Iterator[FrameType]:
    """Walk from a suspended coroutine inwards, as far as coroutines await each other.

    Python does not tell what an asynchronous generator awaits. Behind one there is no way to the
    innermost line, and the outer ones would be the wrong place: then it is empty.
    """
    frames: list[FrameType] = []
    while (frame := getattr(coroutine, "cr_frame", None)) is not None:
        frames.append(frame)
        coroutine = coroutine.cr_await
    return iter(()) if type(coroutine).__name__.startswith("async_generator") else iter(frames)


def _module(frame: FrameType) -> str:
    name: str = frame.f_globals.get("__name__", "")
    return name
