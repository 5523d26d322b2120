"""The queue of docs/bulk.md: each job is done exactly once, by several workers."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import select, update

from fastapi_asyncdb import Base, Database
from tests.support.databases import MARIADB
from tests.test_docs import DOCS, blocks, run


@pytest.mark.databases(
    "postgresql-asyncpg", "postgresql-psycopg", "postgresql-asyncpg-pooled", *MARIADB
)
async def test_each_job_is_done_once(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Some fail at first, and are tried again; workers do not wait for each other."""
    monkeypatch.chdir(tmp_path)
    try:
        page = await asyncio.to_thread(run, blocks(DOCS / "bulk.md")[-1])
        job, work = page["Job"], page["work"]
        seen: Counter[str] = Counter()
        at_work = asyncio.Barrier(3)

        async def handle(payload: str) -> None:
            seen[payload] += 1
            if sum(seen.values()) <= 3:
                await at_work.wait()  # three have a job at the same time
            if payload == "job 1" and seen[payload] == 1:
                raise RuntimeError

        async with database.session() as session:
            connection = await session.connection()
            await connection.run_sync(job.__table__.create)
            session.add_all(job(payload=f"job {number}") for number in range(30))
        async with asyncio.timeout(20):
            done = await asyncio.gather(*(work(database, handle) for _ in range(3)))
        assert sum(done) == 30
        assert seen == Counter({f"job {n}": 1 for n in range(30)}) + Counter({"job 1": 1})
        async with database.session() as session:
            await session.execute(update(job).values(done=False, attempts=5))
        assert await work(database, handle) == 0
        async with database.read_session() as session:
            assert not any(await session.scalars(select(job.done)))
    finally:
        Base.metadata.remove(Base.metadata.tables["jobs"])
