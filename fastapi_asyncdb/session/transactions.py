"""Functions that run in a transaction of their own, again after a conflict."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from functools import wraps
from inspect import Signature, signature
from typing import Any, Concatenate, ParamSpec, TypeVar

from fastapi_asyncdb.session.retry import Attempts

S = TypeVar("S")
T = TypeVar("T")
P = ParamSpec("P")

WithSession = Callable[Concatenate[S, P], Awaitable[T]]
"""A coroutine function whose first argument is a session."""


async def repeat(
    work: Callable[[S], Awaitable[T]],
    open_session: Callable[[], AbstractAsyncContextManager[S]],
    attempts: Attempts,
) -> T:
    """Run ``work`` in a new session, again from the start after each conflict.

    Args:
        work: Called with the session.
        open_session: Opens a session that commits or rolls back at the end of its block.
        attempts: Decides after each failure whether there is a next attempt, and when.

    Returns:
        The result of the attempt that was committed.

    Raises:
        Exception: the last attempt's own.
    """
    while True:
        try:
            async with open_session() as session:
                return await work(session)
        except Exception as error:
            delay = attempts.delay_after(error)
            if delay is None:
                raise
        await asyncio.sleep(delay)


def decorator(
    run: Callable[..., Coroutine[Any, Any, Any]],
) -> Callable[[WithSession[S, P, T]], Callable[P, Coroutine[Any, Any, T]]]:
    """Make a decorator for functions whose first argument is a session.

    The decorated function has the same signature without the session.

    Args:
        run: ``run_in_transaction`` of a ``Database``, with the options of the decorator.
    """

    def decorate(work: WithSession[S, P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
        @wraps(work)
        async def in_transaction(*args: P.args, **kwargs: P.kwargs) -> T:
            result: T = await run(lambda session: work(session, *args, **kwargs))
            return result

        in_transaction.__signature__ = _without_session(work)  # type: ignore[attr-defined]
        return in_transaction

    return decorate


def _without_session(work: Callable[..., Any]) -> Signature:
    whole = signature(work)
    return whole.replace(parameters=list(whole.parameters.values())[1:])
