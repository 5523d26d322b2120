"""``before_commit``: work in two steps, around the COMMIT of the outermost transaction."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import Any, ParamSpec

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from fastapi_asyncdb.concurrency import await_only, in_greenlet
from fastapi_asyncdb.session.hooks import Hook, register

logger = logging.getLogger(__name__)
P = ParamSpec("P")


def before_commit(
    session: AsyncSession | Session,
    before: Callable[P, object],
    after: Callable[P, object],
    /,
    *args: P.args,
    **kwargs: P.kwargs,
) -> None:
    """Call ``before`` immediately before the COMMIT, and ``after`` once it is done.

    ``before`` is called after the flush. What it returns is awaited once those of all hooks were called,
    so that they may share the work. A failure is logged, and the commit goes on. ``after`` is an
    ``on_commit`` hook: it is called too when ``before`` could not be, and neither is for a savepoint
    that is rolled back. Not public, since a commit waits for it.

    Args:
        session: As for ``on_commit``.
        before: A function or coroutine function.
        after: The same.
        *args: Passed to both.
        **kwargs: Passed to both.

    Raises:
        TypeError: the session is not from this library.
        SessionClosed: the session has ended.
    """
    sync_session = register(session, Hook(after, args, kwargs, after_commit=True, before=before))
    # Of this session alone: a listener for all of them would cost each commit a call.
    if not event.contains(sync_session, "before_commit", _run):
        event.listen(sync_session, "before_commit", _run)


def _run(session: Session) -> None:
    # It fires for savepoints too; and outside of a greenlet when the session has no connection.
    if session.get_nested_transaction() is not None or not in_greenlet():
        return
    session.flush()
    state: Any = session._asyncdb  # type: ignore[attr-defined]
    hooks = [hook for hook in state.hooks.waiting if hook.before is not None and not hook.undone]
    if hooks:
        # A task of its own, which may use a timeout: the one that ends the transaction may not.
        await_only(asyncio.get_running_loop().create_task(_call(hooks)))


async def _call(hooks: list[Hook]) -> None:
    started: list[tuple[Hook, object]] = []
    for hook in hooks:
        with _Logged(hook):
            started.append((hook, hook.before(*hook.args, **hook.kwargs)))  # type: ignore[misc]
    for hook, result in started:
        with _Logged(hook):
            if inspect.isawaitable(result):
                await result


class _Logged:
    """Log an exception instead of raising it."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        logger.error(
            "What is done before the commit, with the %s, failed; the commit goes on.",
            self._hook,
            exc_info=error,
        )
        return True
