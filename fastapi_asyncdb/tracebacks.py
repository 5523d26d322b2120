"""What an exception drags along: its causes, and the variables of its frames. Raises none itself."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and what lies behind it: SQLAlchemy's ``orig`` and Python's own chain."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        current = waiting.pop(0)
        if current is not None and id(current) not in seen:
            seen.add(id(current))
            yield current
            waiting += [getattr(current, "orig", None), current.__cause__, current.__context__]


def forget_locals(error: BaseException) -> None:
    """Empty the frames that the error has passed through, and so all behind it; the lines stay.

    Drivers hold the password as plain text in the frames that connect, and some loggers print local
    variables. They leave half-open sockets there as well, which only the garbage collector would get
    at: an exception that a frame holds, holds the frame.
    """
    for cause in causes(error):
        traceback.clear_frames(cause.__traceback__)


def forgetting_locals(function: Callable[P, T]) -> Callable[P, T]:
    """Return the function, whose errors carry no local variables of what it calls."""

    def forgetting(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            forget_locals(error)
            raise

    return forgetting
