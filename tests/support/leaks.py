"""Finds a password in whatever an exception carries: messages, frames, what a logger would print.

Two renderings: rich's own, and one that shows more than any service for errors does. Sentry's serializer
goes into mappings, sequences and sets, a named tuple being one, down to five levels, and takes the
``repr`` of the rest, text included; it is not installed here, so this module follows the same rule, and
goes deeper, into dataclasses and pydantic's models too, and takes ``str`` of each variable as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from types import TracebackType
from typing import Any

from pydantic import BaseModel
from rich.traceback import Traceback

# Nothing else has these letters in a row. Tests name it, since tracebacks also show source lines.
PASSWORD = "Zk7" + "qWvX" + "9j"


def leaks(error: BaseException, secret: str = PASSWORD) -> list[str]:
    """Return where the secret shows: in the chain of exceptions, its notes, its frames, as rendered."""
    return [place for place, shown in _everything(error) if secret in shown]


def _everything(error: BaseException) -> Iterator[tuple[str, str]]:
    for link in _chain(error):
        kind = type(link).__name__
        yield f"{kind} itself", f"{link!s} {link!r} {link.args!r} {vars(link)!r}"
        yield f"{kind}, its parts", " ".join(_serialized([link.args, vars(link)]))
        for name, value in _locals(link.__traceback__):
            yield f"{kind}, {name}", " ".join(_serialized(value))
            yield f"{kind}, str of {name}", _shown(str, value)
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


def _serialized(value: Any, depth: int = 8) -> Iterator[str]:
    """Yield the representations of a value and of all in it, as services for errors show them."""
    if depth and isinstance(value, Mapping):
        for name, item in list(value.items()):
            yield _shown(str, name)
            yield from _serialized(item, depth - 1)
    elif depth and isinstance(value, Sequence | Set) and not isinstance(value, str | bytes):
        for item in list(value):
            yield from _serialized(item, depth - 1)
    else:
        yield _shown(repr, value)
        for part in _parts(value) if depth else ():
            yield from _serialized(part, depth - 1)


def _parts(value: Any) -> list[Any]:
    if isinstance(value, BaseModel):
        return list(value.__dict__.values())
    if is_dataclass(value):
        return [getattr(value, field.name, None) for field in fields(value)]
    return []


def _shown(show: Any, value: object) -> str:
    try:
        return str(show(value))
    except Exception:
        return ""


def _rendered(error: BaseException) -> str:
    """Return what rich shows of the frames; short strings are those that it shows by default."""
    found: list[str] = []
    for longest in (10000, 80, 4):
        trace = Traceback.extract(
            type(error),
            error,
            error.__traceback__,
            show_locals=True,
            locals_max_length=1000,
            locals_max_string=longest,
        )
        for stack in trace.stacks:
            found += [stack.exc_value, *getattr(stack, "notes", [])]
            # Without the lines of source code, whose colours take seconds.
            found += [str(node) for f in stack.frames for node in (f.locals or {}).values()]
    return "\n".join(found)
