"""An event loop for one call, with the database started on it: what ``Database.run()`` does."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def run(
    started: AbstractAsyncContextManager[object],
    main: Callable[P, Coroutine[Any, Any, T]],
    *args: P.args,
    **kwargs: P.kwargs,
) -> T:
    """Await ``main(*args, **kwargs)`` inside of ``started``, on an event loop that ends with it.

    Raises:
        RuntimeError: an event loop runs in this thread, as for ``asyncio.run()``.
        TypeError: ``main`` is a coroutine.
    """
    _refuse_coroutine(main)
    _refuse_running_loop()

    async def inside() -> T:
        async with started:
            return await main(*args, **kwargs)

    return asyncio.run(inside())


def _refuse_coroutine(main: object) -> None:
    if inspect.iscoroutine(main):
        name = main.__qualname__
        main.close()  # otherwise Python warns that it was never awaited
        raise TypeError(
            f"database.run() was given the coroutine of {name}(). It takes the function and its "
            f"arguments, because it calls the function when the database has started: "
            f"database.run({name}, ...)."
        )


def _refuse_running_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        "database.run() was called in a running event loop, and starts one of its own. Most likely the "
        "caller is a coroutine, a notebook or an async test. Await the function there: "
        "'async with database: await main()', or 'await main()' where the database runs already, as in "
        "an application. Synchronous code that a coroutine calls runs in a thread: asyncio.to_thread()."
    )
