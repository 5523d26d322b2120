"""200 clients on 5 connections: how long they wait for a statement of 20 ms, and how many fail."""

from __future__ import annotations

from benchmarks.contenders import Contender, Pool
from benchmarks.load import Load, Outcome, percentile, send_requests
from benchmarks.run import Numbers, Run
from benchmarks.server import Server

CLIENTS = 200
POOL = Pool(size=5, overflow=0, timeout=2.0)
FACTOR = 4
"""As much longer than other loads: one request may wait for the whole timeout."""
ROUNDS = 2


def measure(run: Run) -> Numbers:
    """Let all clients send requests, each one after the other."""

    def open_subject(contender: Contender) -> Server:
        return Server(contender, run.url, POOL)

    def sample(server: Server) -> Outcome:
        seconds = run.effort.seconds * FACTOR
        return send_requests(Load(server.port, "GET", "/slow", CLIENTS, seconds))

    outcomes = run.interleave(run.main_contenders, open_subject, sample, rounds=ROUNDS, warm_up=0)
    return {name: _numbers(rounds) for name, rounds in outcomes.items()}


def _numbers(rounds: list[Outcome]) -> dict[str, float]:
    answered = [latency for outcome in rounds for latency in outcome.answered]
    return {
        "failed": sum(len(outcome.failed) for outcome in rounds),
        "answered": len(answered),
        "p50 ms": percentile(answered, 50) * 1e3,
        "p99 ms": percentile(answered, 99) * 1e3,
    }
