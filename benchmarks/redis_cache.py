"""What a hit of the cache costs beside cashews, and how often a stampede runs its loader.

Interleaved, on a private Redis. cashews' own ``get`` returns what its JSON serializer has read; in the
second comparison both sides validate a pydantic model.
``python -m benchmarks.redis_cache [ROUNDS]``
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from cashews import Cache as Cashews
from pydantic import BaseModel, TypeAdapter

from fastapi_asyncdb.extras.redis import RedisCache, RedisSettings
from fastapi_asyncdb.testing import redis_server

LIMIT = 1.15
HITS = 300
WAITERS = 1000


class User(BaseModel):
    """A value as applications have it."""

    id: int
    name: str
    email: str
    roles: list[str]


USER = User(id=7, name="Ada", email="ada@example.org", roles=["admin", "author"])


async def load() -> User:
    """Load slowly."""
    await asyncio.sleep(0.05)
    return USER


async def microseconds(work: Callable[[], Awaitable[object]]) -> float:
    """Return what one call takes, of many."""
    started = time.perf_counter()
    for _ in range(HITS):
        await work()
    return (time.perf_counter() - started) / HITS * 1e6


async def hits(url: str, rounds: int) -> None:
    """Print the medians of a hit, and the median ratio within a round."""
    cashews = Cashews()
    cashews.setup(url, pickle_type="json", client_side=False)
    await cashews.set("plain", USER.model_dump(), expire=300)
    adapter = TypeAdapter(User)
    settings = RedisSettings(url=url, command_timeout=5)
    async with RedisCache(settings) as cache:
        subjects: dict[str, Callable[[], Awaitable[Any]]] = {
            "cashews: get": lambda: cashews.get("plain"),
            "cashews: get, and a model": lambda: _validated(cashews, adapter),
            "get_or_load": lambda: cache.get_or_load("user:7", load, model=User),
            "get_or_load, two tags": lambda: cache.get_or_load(
                "user:8", load, model=User, tags=("users", "team:3")
            ),
        }
        runs = [
            {name: await microseconds(work) for name, work in subjects.items()}
            for _ in range(rounds + 1)
        ]
        base = next(iter(subjects))
        for name in subjects:
            median = statistics.median(run[name] for run in runs[1:])
            ratio = statistics.median(run[name] / run[base] for run in runs[1:])
            print(f"{median:8.1f} us {ratio:6.2f}  {name}")
    await cashews.close()
    print(f"the limit is {LIMIT}")


async def _validated(cashews: Cashews, adapter: TypeAdapter[User]) -> User:
    return adapter.validate_python(await cashews.get("plain"))


async def stampede(url: str) -> int:
    """Return how often the loader ran for all that wait at once in this process."""
    calls = 0

    async def counted() -> User:
        nonlocal calls
        calls += 1
        return await load()

    async with RedisCache(RedisSettings(url=url, command_timeout=5, wait_timeout=10)) as cache:
        waiting = (cache.get_or_load("stampede", counted, model=User) for _ in range(WAITERS))
        await asyncio.gather(*waiting)
    return calls


def stampedes(url: str, processes: int) -> int:
    """Return how often the loader ran in several processes at once."""
    command = [sys.executable, "-m", "benchmarks.redis_cache", "stampede", url]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(processes)]
    return sum(int(process.communicate()[0]) for process in running)


def main(rounds: int) -> None:
    """Print everything."""
    with redis_server() as server:
        asyncio.run(hits(server.url(), rounds))
        for number, processes in enumerate((1, 2), 1):
            calls = stampedes(server.url(number), processes)
            print(f"{calls:8d}     calls of the loader: {WAITERS} waiters in {processes} processes")


if __name__ == "__main__":
    if sys.argv[1:2] == ["stampede"]:
        print(asyncio.run(stampede(sys.argv[2])))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 15)
