"""Requests for each second at 16 clients, with the default pool, and the connections that they open."""

from __future__ import annotations

from benchmarks.contenders import Contender
from benchmarks.load import Load, percentile, send_requests
from benchmarks.run import DATABASE, Numbers, Run, with_ratios
from benchmarks.server import Server

CLIENTS = 16
CONNECTIONS = "connections opened per 1,000"
KINDS = {"read": ("GET", "/items/1"), "write": ("POST", "/items")}


def measure(run: Run) -> Numbers:
    """Let clients read, then write, under uvicorn."""

    def open_subject(contender: Contender) -> Server:
        return Server(contender, run.url)

    def sample(server: Server) -> dict[str, float]:
        before = _connections(run)
        values: dict[str, float] = {}
        requests = 0
        for kind, (method, path) in KINDS.items():
            outcome = send_requests(Load(server.port, method, path, CLIENTS, run.effort.seconds))
            values |= {
                f"{kind}s/s": outcome.rate,
                f"{kind} p99 ms": percentile(outcome.answered, 99) * 1e3,
            }
            requests += len(outcome.answered)
        opened = _connections(run) - before
        return values | {CONNECTIONS: opened * 1e3 / requests}

    return with_ratios(
        run.interleave(run.main_contenders, open_subject, sample, rounds=run.effort.rounds)
    )


def _connections(run: Run) -> int:
    """Return how many connections to the database there have ever been."""
    # https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-PG-STAT-DATABASE-VIEW
    query = f"SELECT sessions FROM pg_stat_database WHERE datname = '{DATABASE}'"  # noqa: S608
    return int(run.server.psql(query))
