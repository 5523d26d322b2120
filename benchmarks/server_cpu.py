"""The CPU time that PostgreSQL spends for its clients."""

from __future__ import annotations

from pathlib import Path

import psutil

from fastapi_asyncdb.testing import PostgresServer

BACKENDS = """
SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


def backends(server: PostgresServer) -> list[int]:
    """Return the processes that serve the connections of clients which are open."""
    return [int(line) for line in server.psql(BACKENDS).split()]


def cpu_of(processes: list[int]) -> float:
    """Return the seconds of CPU that processes have used; those that have ended count nothing."""
    return sum(map(_cpu, processes))


def _cpu(process: int) -> float:
    # Nanoseconds, where the times of processes are counted in hundredths of a second.
    # https://docs.kernel.org/scheduler/sched-stats.html
    precise = Path(f"/proc/{process}/schedstat")
    try:
        if precise.exists():
            return int(precise.read_text().split()[0]) / 1e9
        times = psutil.Process(process).cpu_times()
    except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
        return 0.0
    return float(times.user + times.system)
