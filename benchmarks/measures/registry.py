"""The list of measures, with what a reader has to know of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.measures import (
    answers,
    bulk,
    cpu,
    goodput,
    latency,
    memory,
    pages,
    poolers,
    queue,
    replicas,
    repository,
    round_trips,
    streams,
    throughput,
)
from benchmarks.run import Numbers, Run


@dataclass(frozen=True)
class Measure:
    """What is measured, and how it is shown."""

    name: str
    title: str
    take: Callable[[Run], Numbers]
    note: str
    digits: int = 0
    """After the point, of values that are no ratios."""


MEASURES = (
    Measure(
        "round_trips",
        "Round trips for one row",
        round_trips.measure,
        "Counted at a TCP proxy between application and PostgreSQL, or PgBouncer in transaction mode.",
        digits=1,
    ),
    Measure(
        "poolers",
        "16 clients through PgBouncer in transaction mode",
        poolers.measure,
        "5 connections to the server, with the settings of the other measures. Those fail that keep "
        "named prepared statements, or send startup parameters that PgBouncer refuses.",
    ),
    Measure(
        "cpu",
        "CPU for one request, microseconds",
        cpu.measure,
        "The application's process, without a web server: medians, and ratios within each round.",
    ),
    Measure(
        "latency",
        "Latency of one request at a time, milliseconds",
        latency.measure,
        "A TCP proxy before PostgreSQL delays each round trip by 0, 1 or 5 ms.",
        digits=2,
    ),
    Measure(
        "throughput",
        "Requests for each second at 16 clients, default pool (5 + 10)",
        throughput.measure,
        "One worker of uvicorn (asyncio, h11). Application, clients and PostgreSQL share the machine.",
    ),
    Measure(
        "queue",
        "200 clients on 5 connections, 20 ms for each statement, a pool timeout of 2 s",
        queue.measure,
        "The best that 5 connections can do is 800 ms for each request.",
    ),
    Measure(
        "goodput",
        "Goodput: answers for each second at 1, 2, 4 and 10 times 200 clients on 5 connections",
        goodput.measure,
        "20 ms for each statement, a pool timeout of 2 s. A client that is refused pauses for the "
        "seconds of Retry-After, or one. max_waiting is 200.",
    ),
    Measure(
        "memory",
        "Memory over 50,000 requests, after 5,000 that warm up",
        memory.measure,
        "Resident set of the server's process, half reads, half writes.",
        digits=1,
    ),
    Measure(
        "streams",
        "Open streams on 5 connections, of 1,000",
        streams.measure,
        "Each queries once a second for 12 s; those without an error. In the second column the stream "
        "commits after each query.",
    ),
    Measure(
        "replicas",
        "A primary with two replicas, all on the same machine",
        replicas.measure,
        "CPU: in one process, in turns of 20 requests; above is the application in the line above, and "
        "reads have the cookie of a write. Reads/s: two workers of uvicorn with 8 clients each, and one "
        "connection of each worker to each server, so that the connections are the bottleneck. A query "
        "that computes shares the cores with everything else: more servers on one machine do not help.",
        digits=1,
    ),
    Measure(
        "answers",
        "Answers: one row, 100 rows of 8 columns, and 100 with an author and 5 tags each",
        answers.measure,
        "Microseconds of CPU for one request: of the application's process, without a web server, and "
        "of PostgreSQL's; both is their sum. The textbook, the peers and the line ORM load objects, "
        "relations by selectinload, and have a response_model; raw asyncpg passes JSON on that "
        "statements by hand build, and is the least that there is. Requests per second: 16 clients, "
        "one worker of uvicorn. Stream: the most MB that Python allocates for a stream of 10,000 rows.",
        digits=1,
    ),
    Measure(
        "repository",
        "CPU for one call of a repository, microseconds",
        repository.measure,
        "In the process, with a plain session that has its connection already, in turns with the same "
        "calls by hand: medians, and ratios within each process. The first line, by hand beside itself, "
        "shows how exact they are. The page has 50 rows of 10,000, and the exact total: by hand and "
        "with fastcrud by a second statement, with this library by a subquery, and with "
        "advanced-alchemy by a window function. fastcrud returns dictionaries.",
    ),
    Measure(
        "bulk",
        "Many rows: rows for each second, and megabytes",
        bulk.measure,
        "100,000 rows of six columns in one transaction, with its commit; half of those of an upsert "
        "are there already. By hand: insert().values() in batches of 1,000; executemany: the same "
        "batches as parameters. Those that would take longer than 3 s get fewer rows. Memory: the peak "
        "of what Python allocates for rows from a generator, and how much more than for a tenth.",
        digits=1,
    ),
    Measure(
        "pages",
        "A page of 50 in the middle of 1,000,000 rows, milliseconds",
        pages.measure,
        "The far page is number 10,000. By key: in the order of the primary key; by time: the newest "
        "first, three rows of each time. Beside it the page at the same place by offset, without a "
        "total. advanced-alchemy has no cursors; those of fastcrud have one column.",
        digits=2,
    ),
)
