"""Memory of a server's process before and after many requests."""

from __future__ import annotations

from benchmarks.contenders import OURS, TEXTBOOK
from benchmarks.load import Load, send_requests
from benchmarks.run import Numbers, Run
from benchmarks.server import Server

CLIENTS = 16
WARM_UP = 0.1
"""The share of requests that come before."""
MEGABYTE = 1024 * 1024


def measure(run: Run) -> Numbers:
    """Send half of the requests as reads, half as writes, to this library and the textbook."""
    numbers: Numbers = {}
    for contender in (TEXTBOOK, OURS):
        run.progress(contender.name)
        with run.tolerate(contender.name), Server(contender, run.url) as server:
            _send(server, run.effort.memory_requests * WARM_UP)
            before = server.memory() / MEGABYTE
            _send(server, run.effort.memory_requests)
            after = server.memory() / MEGABYTE
            numbers[contender.name] = {
                "MB before": before,
                "MB after": after,
                "MB more": after - before,
            }
    return numbers


def _send(server: Server, requests: float) -> None:
    for method, path in (("GET", "/items/1"), ("POST", "/items")):
        outcome = send_requests(Load(server.port, method, path, CLIENTS, requests=requests / 2))
        if outcome.failed:
            raise RuntimeError(f"{len(outcome.failed)} requests failed: {method} {path}")
