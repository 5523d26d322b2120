"""What it costs to answer with rows and their relations: CPU of both sides, memory, and throughput."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from benchmarks.caller import Caller
from benchmarks.contenders import OURS, RAW, TEXTBOOK, Contender
from benchmarks.contenders.posts import create_posts
from benchmarks.load import Load, send_requests
from benchmarks.run import Numbers, Run, medians, ratios, with_ratios
from benchmarks.server import Server
from benchmarks.server_cpu import backends, cpu_of

ANSWERS = Contender(OURS.name, "answers:create_app")
OBJECTS = Contender(f"{OURS.name}, ORM", OURS.factory)
RAW_ANSWERS = Contender(RAW.name, "raw_answers:create_app")
STREAMING = (TEXTBOOK, OBJECTS, ANSWERS, RAW_ANSWERS)
"""Those whose routes have a stream with the session of the request."""
KINDS = {"one row": "/posts/1", "100 rows": "/posts", "with relations": "/full-posts"}
STREAM = "/all-posts"
RATE = "with relations/s"
CLIENTS = 16


def measure(run: Run) -> Numbers:
    """Take CPU, requests per second and memory; ratios within each round."""
    asyncio.run(create_posts(run.url))
    numbers: Numbers = defaultdict(dict)
    for part in (_cpu(run), _rates(run), _memory(run)):
        for name, values in part.items():
            numbers[name] |= values
    return dict(numbers)


def contenders(run: Run) -> list[Contender]:
    """Return those that take part, this library with objects and with answers."""
    own = {OURS.name: (OBJECTS, ANSWERS), RAW.name: (RAW_ANSWERS,)}
    others = [each for each in run.main_contenders if not each.name.startswith(f"{OURS.name},")]
    return [each for other in others for each in own.get(other.name, (other,))]


def _cpu(run: Run) -> Numbers:
    """Return microseconds of a request: of the application, of PostgreSQL, and the sum as a ratio."""

    def open_subject(contender: Contender) -> Caller:
        return Caller(contender, run.url)

    def sample(caller: Caller) -> dict[str, float]:
        values: dict[str, float] = {}
        for kind, path in KINDS.items():
            caller.call("GET", path, 1)
            processes = backends(run.server)
            before = cpu_of(processes)
            values[kind] = caller.call("GET", path, run.effort.requests).cpu * 1e6
            server = (cpu_of(processes) - before) / run.effort.requests * 1e6
            values[f"{kind}, PostgreSQL"] = server
            values[f"{kind}, both"] = values[kind] + server
        return values

    samples = run.interleave(contenders(run), open_subject, sample, rounds=run.effort.rounds)
    values, shares = medians(samples), ratios(samples)
    return {
        name: {column: value for column, value in values[name].items() if "both" not in column}
        | {column: value for column, value in shares[name].items() if "PostgreSQL" not in column}
        for name in samples
    }


def _rates(run: Run) -> Numbers:
    """Return requests per second, of posts with relations."""

    def open_subject(contender: Contender) -> Server:
        return Server(contender, run.url)

    def sample(server: Server) -> dict[str, float]:
        path = KINDS["with relations"]
        load = Load(server.port, "GET", path, CLIENTS, run.effort.seconds * 2)
        return {RATE: send_requests(load).rate}

    return with_ratios(
        run.interleave(contenders(run), open_subject, sample, rounds=run.effort.rounds)
    )


def _memory(run: Run) -> Numbers:
    """Return the MB of a stream of all rows."""
    numbers: Numbers = {}
    for contender in contenders(run):
        if contender in STREAMING:
            run.progress(f"memory: {contender.name}")
            with run.tolerate(contender.name), Caller(contender, run.url) as caller:
                numbers[contender.name] = {"MB, stream": caller.peak("GET", STREAM)}
    return numbers
