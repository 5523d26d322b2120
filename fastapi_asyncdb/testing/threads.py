"""Event loops in a thread of their own, for calls from code that runs on another event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def in_own_thread(work: Callable[[], T]) -> T:
    """Call a function in a thread without an event loop, where ``asyncio.run`` works."""
    with ThreadPoolExecutor(1, "asyncdb") as pool:
        return pool.submit(work).result()


def run_async(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function on an event loop in another thread."""
    return in_own_thread(lambda: asyncio.run(work()))
