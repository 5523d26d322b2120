"""CPU time of one call of a repository, in the process, without a web server."""

from __future__ import annotations

import asyncio

from benchmarks.data_access import BY_HAND, DataAccess
from benchmarks.data_access.products import generate_products
from benchmarks.data_access.worker import DataWorker
from benchmarks.run import Numbers, Run, medians

ROWS = 10_000
VERBS = {"get": "get", "page of 50": "page", "create": "create", "update": "update"}
"""For each column, the method."""


def measure(run: Run) -> Numbers:
    """Call each repository in turns with the same statements by hand; microseconds, and ratios."""
    asyncio.run(generate_products(run.url, ROWS))

    def open_subject(access: DataAccess) -> DataWorker:
        return DataWorker(access, run.url)

    def sample(worker: DataWorker) -> dict[str, float]:
        values, ratios = {}, {}
        for column, verb in VERBS.items():
            own, by_hand = worker.sample("cpu", verb, run.effort.requests)
            values[column] = own * 1e6
            ratios[f"{column} / {BY_HAND.name}"] = own / by_hand
        return values | ratios

    return medians(run.interleave(run.repositories, open_subject, sample, rounds=run.effort.rounds))
