"""Requests at 16 clients through a PgBouncer in transaction mode with 5 connections to the server."""

from __future__ import annotations

from benchmarks.contenders import Contender
from benchmarks.load import Load, send_requests
from benchmarks.pgbouncer import pgbouncer
from benchmarks.run import Numbers, Run
from benchmarks.server import Server

CLIENTS = 16
KINDS = {"read": ("GET", "/items/1"), "write": ("POST", "/items")}


def measure(run: Run) -> Numbers:
    """Return the share of requests that fail, with the URL and the settings that all others use."""
    numbers: Numbers = {}
    for contender in run.main_contenders:
        run.progress(contender.name)
        with run.tolerate(contender.name):
            numbers[contender.name] = _measure(run, contender)
    return numbers


def _measure(run: Run, contender: Contender) -> dict[str, float]:
    values = {}
    with (
        pgbouncer(run.server.port) as port,
        Server(contender, run.url_at(port)) as server,
    ):
        for kind, (method, path) in KINDS.items():
            outcome = send_requests(Load(server.port, method, path, CLIENTS, run.effort.seconds))
            sent = len(outcome.answered) + len(outcome.failed)
            values[f"{kind}s failed, %"] = 100 * len(outcome.failed) / sent
            values[f"{kind}s/s"] = outcome.rate
    return values
