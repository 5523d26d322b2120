"""Open streams on a pool of 5 connections, each with one query a second."""

from __future__ import annotations

from benchmarks.contenders import Contender, Pool
from benchmarks.load import Load, hold_streams
from benchmarks.run import Numbers, Run
from benchmarks.server import Server

POOL = Pool(size=5, overflow=0, timeout=2.0)
SECONDS = 12.0
"""More than the pool's timeout, and the second in which the streams are opened."""
PATHS = {"streams": "/stream", "streams that commit": "/stream?commit=true"}


def measure(run: Run) -> Numbers:
    """Return how many streams stay open without an error."""
    numbers: Numbers = {}
    for contender in run.main_contenders:
        for kind, path in PATHS.items():
            run.progress(f"{kind}: {contender.name}")
            with run.tolerate(contender.name):
                numbers.setdefault(contender.name, {})[kind] = _measure(run, contender, path)
    return numbers


def _measure(run: Run, contender: Contender, path: str) -> int:
    with Server(contender, run.url, POOL) as server:
        return hold_streams(Load(server.port, "GET", path, run.effort.streams, SECONDS))
