"""Forked processes: they leave alone the connections that the process before them has opened.

A fork copies the engines. Two processes that use one socket mix up their statements and answers.
https://docs.sqlalchemy.org/en/20/core/pooling.html#using-connection-pools-with-multiprocessing-or-os-fork
"""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class _Runs(Protocol):
    def leave(self) -> object: ...


_all_runs: WeakSet[_Runs] = WeakSet()
_left: list[object] = []
"""What a forked process does not use. Deleted objects would close connections on the server."""


def leave_when_forked(runs: _Runs) -> None:
    """Call ``runs.leave()`` in each process that is forked from this one, and keep its result."""
    _all_runs.add(runs)


def _leave_all() -> None:
    _left.extend([runs.leave() for runs in _all_runs])


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_leave_all)
