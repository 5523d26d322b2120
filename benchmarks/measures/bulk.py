"""Rows for each second of imports, and the memory that they need."""

from __future__ import annotations

import asyncio
import math
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.data_access import BY_HAND
from benchmarks.data_access.products import create_products
from benchmarks.data_access.registry import OURS
from benchmarks.data_access.worker import DataWorker
from benchmarks.run import Numbers, Run, with_ratios

KINDS = ("create", "upsert")
WARM_UP = 2_000
"""Rows that come before."""
SECONDS = 3.0
"""Those that would take longer for all rows get fewer: what comes after a batch does not change it."""
FEW = 0.1
"""The share of rows whose memory is compared with that of all."""


def measure(run: Run) -> Numbers:
    """Import into PostgreSQL and SQLite; ratios to statements by hand; the peak of memory."""
    rates: Numbers = defaultdict(dict)
    peaks: Numbers = defaultdict(dict)
    with databases(run.url) as urls:
        for database, url in urls.items():
            for access in run.data_access:
                run.progress(f"{database}: {access.name}")
                with run.tolerate(access.name), DataWorker(access, url) as worker:
                    rates[access.name] |= _rates(worker, run.effort.bulk_rows, database)
                    if access == OURS:
                        peaks[access.name] |= _peaks(worker, run.effort.bulk_rows, database)
    numbers = with_ratios({name: [values] for name, values in rates.items()}, BY_HAND.name)
    return {name: values | peaks[name] for name, values in numbers.items()}


@contextmanager
def databases(url: str) -> Iterator[dict[str, str]]:
    """Create the table in PostgreSQL, and in a file of SQLite; yield their URLs."""
    with tempfile.TemporaryDirectory() as folder:
        urls = {"PostgreSQL": url, "SQLite": f"sqlite+aiosqlite:///{folder}/benchmark.db"}
        for each in urls.values():
            asyncio.run(create_products(each))
        yield urls


def _rates(worker: DataWorker, rows: int, database: str) -> dict[str, float]:
    rates = {kind: _rate(worker, f"{kind}_many", rows) for kind in KINDS}
    return {f"{kind}s/s, {database}": rate for kind, rate in rates.items() if rate is not None}


def _rate(worker: DataWorker, verb: str, rows: int) -> float | None:
    """Return rows for each second."""
    warm_up = min(rows, WARM_UP)
    seconds = worker.sample("seconds", verb, warm_up)
    if seconds is None:
        return None
    count = max(warm_up, min(rows, int(warm_up / seconds * SECONDS)))
    return count / (worker.sample("seconds", verb, count) or math.nan)


def _peaks(worker: DataWorker, rows: int, database: str) -> dict[str, float]:
    few = worker.sample("peak", "create_many", int(rows * FEW))
    peak = worker.sample("peak", "create_many", rows)
    return {f"MB, {database}": peak, f"MB more, {database}": peak - few}
