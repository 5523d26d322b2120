"""Attributes that are read before they are loaded, where nothing awaits the statement: what to say."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from sqlalchemy import inspect
from sqlalchemy.orm import InstrumentedAttribute, RelationshipProperty, Session

from fastapi_asyncdb.concurrency import current_task
from fastapi_asyncdb.errors import AttributeNotLoaded
from fastapi_asyncdb.tracebacks import module_of, place_of

_ACCESS = {
    getattr(InstrumentedAttribute, name).__code__: verb
    for name, verb in (("__get__", "read"), ("__set__", "set"), ("__delete__", "deleted"))
}
_CALLERS = ("sqlalchemy.", "fastapi_asyncdb.session.")
_RESPONSE = "fastapi.routing"
_OUTSIDE = ("asyncio", "uvloop", "threading", "concurrent", "anyio")
"""What runs tasks and threads: further out, the lines of an application have nothing to do with it."""


def refuse_lazy_load(session: Session) -> None:
    """Refuse a call of a session, outside of any coroutine of it, that loads an attribute.

    Args:
        session: The session, whose class may be the user's own, or SQLModel's.

    Raises:
        AttributeNotLoaded: SQLAlchemy calls the session for an attribute.
    """
    frame = sys._getframe(2)
    # Other callers, such as get_bind(), are in the application.
    while _is_in_a_call(frame, session) and frame.f_back is not None:
        if frame.f_code in _ACCESS:
            raise _of_attribute(frame)
        frame = frame.f_back


def _is_in_a_call(frame: FrameType, session: Session) -> bool:
    return module_of(frame).startswith(_CALLERS) or frame.f_locals.get("self") is session


def _of_attribute(access: FrameType) -> AttributeNotLoaded:
    attribute: InstrumentedAttribute[Any] = access.f_locals["self"]
    instance: object = access.f_locals["instance"]
    name = f"{type(instance).__name__}.{attribute.key}"
    verb = _ACCESS[access.f_code]
    advice = _advice(instance, attribute)
    if current_task() is None:
        advice += " Use 'async def': FastAPI runs a 'def' function in a thread, which cannot await."
    return AttributeNotLoaded(
        f"{name} is not loaded, and was {verb} {_where(access.f_back)}. SQLAlchemy would load it now, "
        f"and an attribute cannot await that. {advice}",
        model=type(instance).__name__,
        attribute=attribute.key,
    )


def _advice(instance: object, attribute: InstrumentedAttribute[Any]) -> str:
    state: Any = inspect(instance)
    model, key = type(instance).__name__, attribute.key
    refresh = f"'await session.refresh({model.lower()}, [\"{key}\"])'"
    if isinstance(attribute.property, RelationshipProperty):
        option = f"selectinload({model}.{key})"
    elif key in state.expired_attributes:
        return (
            "Its value has expired: by a rollback, by expire(), by a commit with expire_on_commit=True, "
            f"or because the database computes it in an UPDATE. Read it with {refresh} first, or set "
            "eager_defaults=True in the mapper."
        )
    else:
        option = f"undefer({model}.{key})"
    return (
        f"Load it with the objects: 'select({model}).options({option})', or before it is needed: "
        f"{refresh}."
    )


def _where(frame: FrameType | None) -> str:
    """Return the line of the application, or what else uses the attribute."""
    while frame is not None and not module_of(frame).startswith(_OUTSIDE):
        if module_of(frame) == _RESPONSE:
            return "while FastAPI made the response"
        if place := place_of(frame):
            return f"at {place} in {frame.f_code.co_name}()"
        frame = frame.f_back
    return "by a library"
