"""Latency of a page in the middle of a large table, by cursor and by offset, beside the first page."""

from __future__ import annotations

import asyncio

from benchmarks.data_access import DataAccess
from benchmarks.data_access.products import PAGE, generate_products
from benchmarks.data_access.worker import DataWorker
from benchmarks.run import Numbers, Run, medians

ORDERS = {"by key": "", "by time": "_by_time"}
"""For each order, how the names of its methods end."""
OFFSETS = 5
"""Calls for the page by offset: few, because each reads half of the table."""


def measure(run: Run) -> Numbers:
    """Return milliseconds, and the ratio of the far page to the first by cursor."""
    rows, calls = run.effort.page_rows, run.effort.requests
    asyncio.run(generate_products(run.url, rows))
    far = rows // 2 - PAGE

    def open_subject(access: DataAccess) -> DataWorker:
        return DataWorker(access, run.url)

    def sample(worker: DataWorker) -> dict[str, float]:
        values: dict[str, float] = {}
        ratios: dict[str, float] = {}
        for order, suffix in ORDERS.items():
            found = worker.sample("walk", f"after{suffix}", f"cursor_at{suffix}", far, calls)
            if found is not None:
                first, later = found
                values |= {f"first {order}": first * 1e3, f"far {order}": later * 1e3}
                ratios[f"far / first {order}"] = later / first
            offset = worker.sample("latency", f"rows{suffix}", far, OFFSETS)
            values[f"far by offset, {order}"] = offset * 1e3
        return values | ratios

    return medians(run.interleave(run.repositories, open_subject, sample, rounds=run.effort.rounds))
