"""Ends a worker whose test goes on after its timeout.

The timeout raises in the test. An event loop passes that on to a task or to its exception handler,
either of which may swallow it, and then the whole run waits for this one test.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import sys
import threading
from typing import Any

import pytest

GRACE = 30.0
"""Seconds after the timeout for the test to end."""

_timer = pytest.StashKey[threading.Timer]()


def watch(item: pytest.Item, timeout: float | None) -> None:
    """End the process ``GRACE`` seconds after the test's timeout, unless ``forget()`` comes first."""
    if timeout:
        timer = threading.Timer(timeout + GRACE, _end, [item])
        timer.daemon = True
        timer.start()
        item.stash[_timer] = timer


def forget(item: pytest.Item) -> None:
    """Let the process go on: the test has ended."""
    if _timer in item.stash:
        item.stash[_timer].cancel()


def _end(item: pytest.Item) -> None:
    """Print what every thread and task is doing, and exit: pytest-xdist reports the test as failed."""
    try:
        capture: Any = item.config.pluginmanager.getplugin("capturemanager")
        capture.suspend_global_capture(in_=True)
        print(f"\n{item.nodeid} goes on after its timeout:", file=sys.stderr, flush=True)
        faulthandler.dump_traceback(sys.stderr, all_threads=True)
        for task in gc.get_objects():
            if isinstance(task, asyncio.Task) and not task.done():
                task.print_stack(file=sys.stderr)
        sys.stderr.flush()
    finally:
        os._exit(1)
