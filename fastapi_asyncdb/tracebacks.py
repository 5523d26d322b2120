"""The causes of an exception, the local variables of its frames, and whose code a frame is."""

from __future__ import annotations

import os
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# Code in these folders is not the user's: libraries, the standard library, commands like pytest.
_INSTALLED = tuple(
    os.path.realpath(sysconfig.get_path(name)) + os.sep
    for name in ("stdlib", "platstdlib", "purelib", "platlib", "scripts")
)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and its causes: SQLAlchemy's ``orig``, and Python's own chain."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop(0)
        if current is not None and id(current) not in seen:
            seen.add(id(current))
            yield current
            waiting += [getattr(current, "orig", None), current.__cause__, current.__context__]


def forget_locals(error: BaseException) -> None:
    """Clear the frames that the error and its causes have passed through; their lines stay.

    Drivers keep the password as plain text in the frames that connect, and some loggers print local
    variables. Half-open sockets are kept there as well, until the garbage collector runs: a frame and
    the exception in it refer to each other.
    """
    for cause in causes(error):
        traceback.clear_frames(cause.__traceback__)


def forgetting_locals(function: Callable[P, T]) -> Callable[P, T]:
    """Return a function like this one, whose errors keep no local variables of the calls in it."""

    def forgetting(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            forget_locals(error)
            raise

    return forgetting


def module_of(frame: FrameType) -> str:
    """Return the name of the module whose code the frame runs."""
    name: str = frame.f_globals.get("__name__", "")
    return name


def place_of(frame: FrameType) -> str | None:
    """Return ``file:line`` of a frame of the application; ``None`` for one of a library.

    A path below the working directory is shown from there.
    """
    filename = frame.f_code.co_filename
    if module_of(frame).startswith("fastapi_asyncdb.") or _is_installed(filename):
        return None
    path, here = Path(filename), Path.cwd()
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    return f"{shown}:{frame.f_lineno}"


@lru_cache(maxsize=1024)
def _is_installed(filename: str) -> bool:
    # "<...>" is no file: code that was made at run time, or is part of the interpreter.
    return filename.startswith("<") or os.path.realpath(filename).startswith(_INSTALLED)
