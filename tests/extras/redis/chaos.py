"""A process that reads and writes through the cache at random, until it is killed or dies by itself.

``python -m tests.extras.redis.chaos DATABASE_URL REDIS_URL PREFIX FOLDER NUMBER SEED``
"""

from __future__ import annotations

import asyncio
import mmap
import os
import random
import signal
import struct
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import insert, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.extras.redis import RedisCache, RedisSettings
from fastapi_asyncdb.extras.redis.store import Store

KEYS = 2
CLIENTS = 8
WRITES = 0.15
"""The part of what clients do; in a process that writes a row, others read it past the cache."""
SLOTS = 8
DEATHS = 0.015
"""The chance to die at each of the points around a commit."""
MARKER_TTL = 1.0


class Base(DeclarativeBase):
    """The tables of the test."""


class Row(Base):
    """What is cached: its version and a text that no other transaction has written."""

    __tablename__ = "chaos_rows"
    id: Mapped[int] = mapped_column(primary_key=True)
    version: Mapped[int]
    text: Mapped[str]


class Committed(Base):
    """Every text that a transaction has written, if that was committed."""

    __tablename__ = "chaos_committed"
    text: Mapped[str] = mapped_column(primary_key=True)


class Known:
    """The newest version of each row that any client knows of, in a file that all processes share.

    Each process writes to a slot of its own.
    """

    _SIZE = SLOTS * KEYS * 8

    def __init__(self, path: Path, slot: int) -> None:
        self._slot = slot
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), self._SIZE)

    @classmethod
    def create(cls, path: Path) -> None:
        """Make the file: no client knows anything."""
        path.write_bytes(bytes(cls._SIZE))

    def newest(self, key: int) -> int:
        """Return the newest version that any client knows of."""
        return max(self._at(slot, key) for slot in range(SLOTS))

    def learn(self, key: int, version: int) -> None:
        """Note that a client knows of a version."""
        if version > self._at(self._slot, key):
            struct.pack_into("<q", self._memory, (self._slot * KEYS + key) * 8, version)

    def _at(self, slot: int, key: int) -> int:
        (version,) = struct.unpack_from("<q", self._memory, (slot * KEYS + key) * 8)
        return int(version)


class Client:
    """Reads and writes at random."""

    def __init__(self, database: Database, cache: RedisCache, known: Known, seen: Any) -> None:
        self._database, self._cache, self._known, self._seen = database, cache, known, seen

    async def run(self) -> None:
        """Go on until the process ends."""
        while True:
            key = random.randrange(KEYS)
            await (self._write(key) if random.random() < WRITES else self._read(key))

    async def _read(self, key: int) -> None:
        before, loaded = self._known.newest(key), False

        async def load() -> tuple[int, str]:
            nonlocal loaded
            loaded = True
            async with self._database.read_session() as session:
                row = (await session.execute(select(Row).where(Row.id == key))).scalar_one()
                await asyncio.sleep(random.choice([0, 0, 0.01, 0.03]))
                return row.version, row.text

        found = await self._cache.get_or_load(
            f"row:{key}", load, model=tuple[int, str], tags=[f"tag:{key}"]
        )
        assert found is not None
        version, text = found
        if version < before:
            sys.exit(f"row {key}: version {version} was served, and a client knew of {before}")
        self._seen.write(f"{'loaded' if loaded else 'stored'} {text}\n")
        self._seen.flush()
        self._known.learn(key, version)

    async def _write(self, key: int) -> None:
        try:
            async with self._database.session() as session:
                row = await session.get_one(Row, key, with_for_update=True)
                names = ([f"row:{key}"], []) if key % 2 else ([], [f"tag:{key}"])
                self._cache.invalidate_on_commit(session, *names[0], tags=names[1])
                row.version, row.text = row.version + 1, uuid4().hex
                await session.execute(insert(Committed).values(text=row.text))
                version = row.version
                await asyncio.sleep(random.choice([0, 0.002]))
                if random.random() < 0.3:
                    raise ZeroDivisionError
        except ZeroDivisionError:
            return
        self._known.learn(key, version)


def dying(method: Callable[..., Awaitable[None]]) -> Any:
    """Let the process die before or after a step, now and then."""

    async def step(*args: Any, **kwargs: Any) -> None:
        maybe_die()
        await method(*args, **kwargs)
        maybe_die()

    return step


def maybe_die() -> None:
    """Die as by the kernel's hand, or not."""
    if random.random() < DEATHS:
        os.kill(os.getpid(), signal.SIGKILL)


async def main(url: str, redis: str, prefix: str, folder: Path, number: int) -> None:
    """Run several clients."""
    Store.mark, Store.unmark = dying(Store.mark), dying(Store.unmark)  # type: ignore[method-assign]
    settings = RedisSettings(
        url=redis,
        prefix=prefix,
        command_timeout=5,
        invalidation_timeout=5,
        connect_timeout=5,
        write_marker_ttl=MARKER_TTL,
        lease_ttl=1,
    )
    with (folder / f"seen-{uuid4().hex}").open("w") as seen:
        known = Known(folder / "known", number)
        async with Database(DatabaseSettings(url=url)) as database, RedisCache(settings) as cache:
            print("begun", flush=True)
            client = Client(database, cache, known, seen)
            await asyncio.gather(*(client.run() for _ in range(CLIENTS)))


if __name__ == "__main__":
    random.seed(int(sys.argv[6]))
    _, url, redis, prefix, folder, number, _ = sys.argv
    asyncio.run(main(url, redis, prefix, Path(folder), int(number)))
