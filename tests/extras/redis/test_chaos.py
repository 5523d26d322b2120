"""Processes that are killed around their commits: the cache serves what is committed and current."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import insert, select

from fastapi_asyncdb import Database, DatabaseSettings
from tests.extras.redis.chaos import KEYS, Base, Committed, Known, Row

ROOT = Path(__file__).parents[3]
ROUNDS = int(os.environ.get("CACHE_CHAOS_ROUNDS", "2"))
PROCESSES = 2


@pytest.mark.timeout(ROUNDS * 20 + 60)
async def test_nothing_but_what_is_committed_and_current_is_served(
    postgres_url: str, redis_url: str, tmp_path: Path, raw: Redis
):
    """Two processes, random rollbacks, SIGKILL at random and between mark, COMMIT and unmark.

    Each process is killed and started again; ``CACHE_CHAOS_ROUNDS`` says how often.
    """
    prefix = f"test-{uuid4().hex[:12]}"
    Known.create(tmp_path / "known")
    database = Database(DatabaseSettings(url=postgres_url))
    await database.start(create_tables=Base.metadata)
    try:
        async with database.session() as session:
            for key in range(KEYS):
                session.add(Row(id=key, version=0, text=f"first {key}"))
                await session.execute(insert(Committed).values(text=f"first {key}"))
        arguments = (postgres_url, redis_url, prefix, str(tmp_path))
        dead = await keep_running(arguments)
        async with database.session() as session:
            committed = set(await session.scalars(select(Committed.text)))
            versions = sum(await session.scalars(select(Row.version)))
    finally:
        async with database.engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
        await database.stop()
        async for name in raw.scan_iter(f"{prefix}:*"):
            await raw.delete(name)
    reads = seen(tmp_path.glob("seen-*"))
    stored = sum(kind == "stored" for kind, _ in reads)
    print(f"{len(reads)} reads, {stored} of stored values; {versions} commits; {dead} died in one")
    assert len(reads) > 20
    assert versions > 0
    assert {text for _, text in reads} <= committed


def seen(files: Iterable[Path]) -> list[list[str]]:
    """Return the texts that were read; a line that was cut off by a kill is left out."""
    return [line.split(" ", 1) for file in files for line in file.read_text().split("\n")[:-1]]


async def keep_running(arguments: tuple[str, ...]) -> int:
    """Run the processes and kill them at random; return how many have died by their own hand.

    Raises:
        AssertionError: one has ended by itself, since it was served what is old.
    """
    return sum(await asyncio.gather(*(run_one(arguments, each) for each in range(PROCESSES))))


async def run_one(arguments: tuple[str, ...], number: int) -> int:
    """Start a process again and again."""
    deaths = 0
    for _ in range(ROUNDS):
        seed = str(random.randrange(2**32))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.extras.redis.chaos", *arguments, str(number), seed),
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        await process.stdout.readline()  # it has begun
        talk = asyncio.create_task(process.communicate())
        done, _ = await asyncio.wait([talk], timeout=random.uniform(0.5, 2))
        deaths += len(done)
        if not done:
            process.kill()
        _, errors = await talk
        assert process.returncode == -signal.SIGKILL, errors.decode()
    return deaths
