"""``Gather``: a few reads side by side, each in a session of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar, overload

from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.finishing import note_caller
from fastapi_asyncdb.session.opening import SessionOpener

S = TypeVar("S", bound=AsyncSession)
T = TypeVar("T")
T1 = TypeVar("T1")
T2 = TypeVar("T2")
T3 = TypeVar("T3")
T4 = TypeVar("T4")
T5 = TypeVar("T5")


class Gather(Generic[S]):
    """Run a few reads side by side: ``database.gather``.

    Args:
        sessions: Opens a session for each read.
    """

    def __init__(self, sessions: SessionOpener[S]) -> None:
        self._sessions = sessions

    @overload
    async def __call__(
        self, work1: Callable[[S], Awaitable[T1]], /, *, limit: int | None = None
    ) -> tuple[T1]: ...
    @overload
    async def __call__(
        self,
        work1: Callable[[S], Awaitable[T1]],
        work2: Callable[[S], Awaitable[T2]],
        /,
        *,
        limit: int | None = None,
    ) -> tuple[T1, T2]: ...
    @overload
    async def __call__(
        self,
        work1: Callable[[S], Awaitable[T1]],
        work2: Callable[[S], Awaitable[T2]],
        work3: Callable[[S], Awaitable[T3]],
        /,
        *,
        limit: int | None = None,
    ) -> tuple[T1, T2, T3]: ...
    @overload
    async def __call__(
        self,
        work1: Callable[[S], Awaitable[T1]],
        work2: Callable[[S], Awaitable[T2]],
        work3: Callable[[S], Awaitable[T3]],
        work4: Callable[[S], Awaitable[T4]],
        /,
        *,
        limit: int | None = None,
    ) -> tuple[T1, T2, T3, T4]: ...
    @overload
    async def __call__(
        self,
        work1: Callable[[S], Awaitable[T1]],
        work2: Callable[[S], Awaitable[T2]],
        work3: Callable[[S], Awaitable[T3]],
        work4: Callable[[S], Awaitable[T4]],
        work5: Callable[[S], Awaitable[T5]],
        /,
        *,
        limit: int | None = None,
    ) -> tuple[T1, T2, T3, T4, T5]: ...
    @overload
    async def __call__(
        self, *work: Callable[[S], Awaitable[T]], limit: int | None = None
    ) -> tuple[T, ...]: ...
    async def __call__(
        self, *work: Callable[[S], Awaitable[Any]], limit: int | None = None
    ) -> tuple[Any, ...]:
        """Await ``work(session)`` for each, side by side, each in a ``read_session()`` of its own.

        The first failure cancels the others, and is raised when they have ended. A task that has a
        connection of its own meanwhile uses one more than ``limit``.

        Args:
            *work: Coroutine functions whose argument is the session.
            limit: How many may run at the same time; ``None`` is the ``pool_size``, so that the overflow
                is left to other requests.

        Returns:
            The results, in the order of the arguments.

        Raises:
            ConfigurationError: ``limit`` is below 1, or as for ``read_session()``.
            TypeError: an argument is no function: pass ``load``, not ``load(session)``.
            Exception: the first failure.
        """
        _check(work, limit)
        slots = asyncio.Semaphore(limit or self._sessions.pool_size())

        async def run(each: Callable[[S], Awaitable[Any]]) -> Any:
            async with slots, self._sessions.scope({"read_only": True}) as session:
                return await each(session)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(run(each)) for each in work]
                for task in tasks:
                    note_caller(task)  # whose session may be open while the database stops
        except BaseExceptionGroup as failures:
            first = failures.exceptions[0]
        else:
            return tuple(task.result() for task in tasks)
        # Out of the except block, since the group would be its context.
        raise first


def _check(work: tuple[Any, ...], limit: int | None) -> None:
    if limit is not None and limit < 1:
        raise ConfigurationError(
            f"limit={limit} would never run anything. Pass at least 1, or leave it out for pool_size."
        )
    for each in work:
        if not callable(each):
            raise TypeError(
                f"gather() got a {type(each).__name__}: each argument is a function that gets a session "
                "of its own, 'database.gather(load)', not the result of calling one."
            )
