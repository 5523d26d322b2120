"""Finds a password in whatever an exception carries: messages, frames, what a logger would print."""

from __future__ import annotations

import io
from collections.abc import Iterator
from types import TracebackType

from rich.console import Console
from rich.traceback import Traceback

# Nothing else has these letters in a row. Tests name it, since tracebacks also show source lines.
PASSWORD = "Zk7" + "qWvX" + "9j"


def leaks(error: BaseException, secret: str = PASSWORD) -> list[str]:
    """Return where the secret shows: in the chain of exceptions, its frames, and rich's rendering."""
    return [place for place, shown in _everything(error) if secret in shown]


def _everything(error: BaseException) -> Iterator[tuple[str, str]]:
    for link in _chain(error):
        kind = type(link).__name__
        yield f"{kind} itself", f"{link!s} {link!r} {vars(link)!r}"
        for name, value in _locals(link.__traceback__):
            yield f"{kind}, {name}", _repr(value)
    yield "rich", _rendered(error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    waiting = [error]
    while waiting:
        link = waiting.pop()
        if link is not None and not any(link is known for known in seen):
            seen.append(link)
            yield link
            waiting += [link.__cause__, link.__context__, getattr(link, "orig", None)]


def _locals(traceback: TracebackType | None) -> Iterator[tuple[str, object]]:
    while traceback is not None:
        frame = traceback.tb_frame
        for name, value in frame.f_locals.items():
            yield f"{name} in {frame.f_code.co_qualname}", value
        traceback = traceback.tb_next


def _repr(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return ""


def _rendered(error: BaseException) -> str:
    output = io.StringIO()
    rendered = Traceback.from_exception(
        type(error),
        error,
        error.__traceback__,
        show_locals=True,
        locals_max_length=1000,
        locals_max_string=10000,
        width=1000,
        max_frames=0,
    )
    Console(file=output, width=1000).print(rendered)
    return output.getvalue()
