"""The causes of an exception, and the local variables of its frames."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


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
