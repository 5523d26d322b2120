"""Answers for each second when there are more clients than the pool can serve in time."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.contenders import OURS, Contender, Pool
from benchmarks.load import Load, Outcome, percentile, send_requests
from benchmarks.run import Numbers, Run
from benchmarks.server import Server

CAPACITY = 200
"""Clients that 5 connections serve within 0.8 s each, at 20 ms for a statement."""
LOADS = (1, 2, 4, 10)
"""As many times the capacity."""
POOL = Pool(size=5, overflow=0, timeout=2.0)
LIMITED = replace(OURS, name=f"{OURS.name}, max_waiting")
FACTOR = 4
"""As much longer than other loads: one request may wait for the whole timeout."""


def measure(run: Run) -> Numbers:
    """Let more and more clients send requests; a refused client pauses for a second."""
    numbers: Numbers = {}
    limited = [LIMITED] if OURS in run.contenders else []
    for contender in [*run.main_contenders, *limited]:
        with run.tolerate(contender.name):
            numbers[contender.name] = _measure(run, contender)
    return numbers


def _measure(run: Run, contender: Contender) -> dict[str, float]:
    pool = replace(POOL, max_waiting=CAPACITY) if contender is LIMITED else POOL
    with Server(contender, run.url, pool) as server:
        outcomes = {}
        for load in LOADS:
            run.progress(f"{load} times the capacity: {contender.name}")
            outcomes[load] = _send(server, load, run.effort.seconds * FACTOR)
    rates = {f"{load}x": outcome.rate for load, outcome in outcomes.items()}
    peak = max(rates.values())
    refused = outcomes[4].failed
    return rates | {
        "4x / peak": rates["4x"] / peak,
        "10x / peak": rates["10x"] / peak,
        "refusal p50 ms at 4x": percentile(refused, 50) * 1e3,
        "refusal p99 ms at 4x": percentile(refused, 99) * 1e3,
    }


def _send(server: Server, load: int, seconds: float) -> Outcome:
    return send_requests(Load(server.port, "GET", "/slow", CAPACITY * load, seconds))
