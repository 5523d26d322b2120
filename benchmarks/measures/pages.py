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
        for order, suffix in ORDERS.items():
            after, cursor = f"after{suffix}", f"cursor_at{suffix}"
            times = {
                f"first {order}": worker.sample("latency", after, None, calls),
                f"far {order}": worker.sample("latency", after, far, calls, cursor),
                f"far by offset, {order}": worker.sample("latency", f"rows{suffix}", far, OFFSETS),
            }
            values |= {column: time * 1e3 for column, time in times.items() if time is not None}
        return values

    samples = run.interleave(run.repositories, open_subject, sample, rounds=run.effort.rounds)
    return medians({name: [_with_ratios(each) for each in own] for name, own in samples.items()})


def _with_ratios(values: dict[str, float]) -> dict[str, float]:
    return values | {
        f"far / first {order}": values[f"far {order}"] / values[f"first {order}"]
        for order in ORDERS
        if f"first {order}" in values
    }
