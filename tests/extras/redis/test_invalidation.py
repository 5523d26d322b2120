"""Invalidation around the commit: what a reader can see, and when."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from fastapi_asyncdb import Database
from fastapi_asyncdb.errors import CommitOutcomeUnknown
from fastapi_asyncdb.extras.redis import RedisCache, RedisSettings
from fastapi_asyncdb.extras.redis.store import Store
from tests.extras.redis.conftest import ONE_DRIVER, Thing, read_name

pytestmark = pytest.mark.databases(*ONE_DRIVER)

NewSettings = Callable[..., RedisSettings]


async def rename(session: AsyncSession, name: str) -> None:
    """Change the row, in the session's transaction."""
    thing = await session.get_one(Thing, 1)
    thing.name = name


async def name_of(cache: RedisCache, database: Database, **options: Any) -> str | None:
    """Read through the cache."""
    return await cache.get_or_load(
        "thing:1", lambda: read_name(database), model=str, tags=["things"], **options
    )


class Slow:
    """A loader that reads, and returns only when the test lets it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.has_read = asyncio.Event()
        self.may_return = asyncio.Event()

    async def __call__(self) -> str | None:
        name = await read_name(self._database)
        self.has_read.set()
        await self.may_return.wait()
        return name


async def test_commit_invalidates(things: Database, cache: RedisCache, other_cache: RedisCache):
    """By key or by tag; readers see the new value in every process."""
    for number, (keys, tags) in enumerate(((["thing:1"], []), ([], ["things"]))):
        await name_of(cache, things)
        async with things.session() as session:
            cache.invalidate_on_commit(session, *keys, tags=tags)
            await rename(session, f"new {number}")
        for each in (cache, other_cache):
            assert await name_of(each, things) == f"new {number}"


async def test_rollback_invalidates_nothing(
    things: Database, cache: RedisCache, monkeypatch: pytest.MonkeyPatch
):
    """Neither one of the whole, nor one of a savepoint; and no command is sent."""
    steps: list[str] = []
    await name_of(cache, things)
    with monkeypatch.context() as patch:
        note_steps(steps, patch, things)
        with pytest.raises(ZeroDivisionError):
            async with things.session() as session:
                cache.invalidate_on_commit(session, "thing:1")
                await rename(session, "never")
                raise ZeroDivisionError
        async with things.session() as session:
            with pytest.raises(ZeroDivisionError):
                async with session.begin_nested():
                    cache.invalidate_on_commit(session, tags=["things"])
                    raise ZeroDivisionError
    assert {"mark", "unmark"}.isdisjoint(steps)
    await rename_past_the_cache(things)
    assert await name_of(cache, things) == "old"


async def rename_past_the_cache(database: Database) -> None:
    """Change the row and invalidate nothing: what is stored is found."""
    async with database.engine.begin() as connection:
        await connection.execute(text("UPDATE things SET name = 'past the cache'"))


async def test_savepoint_that_is_released_invalidates(things: Database, cache: RedisCache):
    """With the outermost commit, not before."""
    await name_of(cache, things)
    async with things.session() as session, session.begin_nested():
        cache.invalidate_on_commit(session, "thing:1")
        await rename(session, "new")
    assert await name_of(cache, things) == "new"


@pytest.mark.parametrize("way", ["commit", "begin", "run_sync"])
async def test_every_way_to_commit_invalidates_before_it(
    things: Database, cache: RedisCache, way: str, monkeypatch: pytest.MonkeyPatch
):
    """An explicit commit, a block of ``begin()``, a commit in ``run_sync``: mark, COMMIT, unmark."""
    steps: list[str] = []
    note_steps(steps, monkeypatch, things)
    async with things.session() as session:
        if way == "begin":
            async with session.begin():
                cache.invalidate_on_commit(session, "thing:1")
                await rename(session, "new")
        else:
            cache.invalidate_on_commit(session, "thing:1")
            await rename(session, "new")
            if way == "commit":
                await session.commit()
            else:
                await session.run_sync(lambda sync: sync.commit())
        assert steps == ["flushed", "mark", "COMMIT", "unmark"]
    assert steps[4:] == []


def note_steps(steps: list[str], patch: pytest.MonkeyPatch, database: Database) -> None:
    """Note what happens around a commit, in order."""

    def noted(method: Callable[..., Awaitable[None]], step: str) -> Any:
        async def note(*args: Any, **kwargs: Any) -> None:
            steps.append(step)
            await method(*args, **kwargs)

        return note

    patch.setattr(Store, "mark", noted(Store.mark, "mark"))
    patch.setattr(Store, "unmark", noted(Store.unmark, "unmark"))
    engine = database.engine.sync_engine
    event.listen(engine, "commit", lambda connection: steps.append("COMMIT"))
    event.listen(
        engine,
        "after_cursor_execute",
        lambda *args: steps.append("flushed") if args[2].startswith("UPDATE") else None,
    )


async def test_calls_of_one_transaction_share_the_commands(
    things: Database, cache: RedisCache, monkeypatch: pytest.MonkeyPatch
):
    """One before the COMMIT and one after it, however many keys were named."""
    steps: list[str] = []
    note_steps(steps, monkeypatch, things)
    async with things.session() as session:
        for number in range(5):
            cache.invalidate_on_commit(session, f"k{number}", tags=["things", f"t{number}"])
        await rename(session, "new")
    assert steps == ["flushed", "mark", "COMMIT", "unmark"]


# --- The race -------------------------------------------------------------------------------------


async def naive_get_or_load(
    raw: Redis, key: str, loader: Callable[[], Awaitable[str | None]]
) -> str:
    """Read as is often written: GET, load, SET."""
    stored = await raw.get(key)
    if stored is None:
        stored = (await loader() or "").encode()
        await raw.set(key, stored, px=60_000)
    return str(stored, "utf-8") if isinstance(stored, bytes) else stored


async def test_without_a_lease_the_old_value_is_put_back(
    things: Database, raw: Redis, new_settings: NewSettings
):
    """The race that the cache closes: delete after the commit, while a reader is on its way."""
    key = f"{new_settings().prefix}:naive"
    slow = Slow(things)
    reader = asyncio.create_task(naive_get_or_load(raw, key, slow))
    await slow.has_read.wait()
    async with things.session() as session:
        await rename(session, "new")
    await raw.delete(key)
    slow.may_return.set()
    assert await reader == "old"
    assert await naive_get_or_load(raw, key, lambda: read_name(things)) == "old", "stale"
    await raw.delete(key)


@pytest.mark.parametrize("tags", [(), ("things",)])
async def test_reader_on_its_way_cannot_put_the_old_value_back(
    things: Database, cache: RedisCache, other_cache: RedisCache, tags: tuple[str, ...]
):
    """The same with the lease: its holder has lost it."""
    slow = Slow(things)
    reader = asyncio.create_task(cache.get_or_load("thing:1", slow, model=str, tags=["things"]))
    await slow.has_read.wait()
    async with things.session() as session:
        other_cache.invalidate_on_commit(session, *([] if tags else ["thing:1"]), tags=tags)
        await rename(session, "new")
    late = asyncio.create_task(name_of(cache, things))
    await asyncio.sleep(0)
    slow.may_return.set()
    assert await reader == "old", "it began before the commit"
    assert await late == "new", "it began after the commit, and must not share what is older"
    assert await name_of(other_cache, things) == "new"


async def test_reader_between_mark_and_commit_stores_nothing(
    things: Database, cache: RedisCache, other_cache: RedisCache, monkeypatch: pytest.MonkeyPatch
):
    """It reads the old value, past the cache, in another process and in this one."""
    seen: list[str | None] = []
    mark = Store.mark

    async def mark_and_read(self: Store, *args: Any) -> None:
        await mark(self, *args)
        for each in (cache, other_cache):
            seen.append(await name_of(each, things))

    monkeypatch.setattr(Store, "mark", mark_and_read)
    async with things.session() as session:
        cache.invalidate_on_commit(session, "thing:1")
        await rename(session, "new")
    assert seen == ["old", "old"]
    assert await name_of(other_cache, things) == "new"


async def test_own_write_is_not_stored_before_it_is_committed(
    things: Database, cache: RedisCache, other_cache: RedisCache
):
    """A loader in the writing session reads what may be rolled back: it is not stored."""
    with pytest.raises(ZeroDivisionError):
        async with things.session() as session:
            cache.invalidate_on_commit(session, "thing:1")
            await rename(session, "never")
            await session.flush()

            async def load() -> str:
                return (await session.get_one(Thing, 1)).name

            assert await cache.get_or_load("thing:1", load, model=str, tags=["things"]) == "never"
            raise ZeroDivisionError
    for each in (cache, other_cache):
        assert await name_of(each, things) == "old"


# --- Two writers, and ends that are unusual -------------------------------------------------------


async def test_writers_do_not_remove_each_others_marker(
    cache: RedisCache, new_settings: NewSettings, raw: Redis
):
    """The first one ends; nothing is stored until the second has ended too."""
    run = cache._running
    names = run.naming.of(["k"], ["t"])
    loads = Counted()
    await run.store.mark("one", names)
    await run.store.mark("two", names)
    await run.store.unmark("one", names, committed=True)
    for _ in range(2):
        await cache.get_or_load("k", loads, model=int, tags=["t"])
    assert loads.calls == 2
    await run.store.unmark("two", names, committed=True)
    for _ in range(2):
        await cache.get_or_load("k", loads, model=int, tags=["t"])
    assert loads.calls == 3


class Counted:
    """A loader that counts its calls."""

    calls = 0

    async def __call__(self) -> int:
        self.calls += 1
        return self.calls


async def test_marker_of_a_dead_process_expires(new_settings: NewSettings, raw: Redis):
    """Until then the key is read past the cache; afterwards it is stored again."""
    settings = new_settings(write_marker_ttl=0.3)
    async with RedisCache(settings) as cache:
        loads, run = Counted(), cache._running
        await cache.get_or_load("k", loads, model=int)
        await run.store.mark("dead", run.naming.of(["k"], []))
        for calls in (2, 3):
            assert await cache.get_or_load("k", loads, model=int) == calls
        while await raw.exists(f"{settings.prefix}:m:v:k"):
            await asyncio.sleep(0.02)
        for _ in range(2):
            assert await cache.get_or_load("k", loads, model=int) == 4


async def test_commit_that_outlasts_its_marker_invalidates_again(
    things: Database, new_settings: NewSettings, monkeypatch: pytest.MonkeyPatch, raw: Redis
):
    """What a reader has stored after the marker expired is removed with the end of the commit."""
    settings = new_settings()
    async with RedisCache(settings) as cache, RedisCache(settings) as other:
        mark = Store.mark

        async def marker_is_lost(self: Store, *args: Any) -> None:
            await mark(self, *args)
            await raw.delete(f"{settings.prefix}:m:v:thing:1")
            assert await name_of(other, things) == "old"  # and stores it

        monkeypatch.setattr(Store, "mark", marker_is_lost)
        async with things.session() as session:
            cache.invalidate_on_commit(session, "thing:1")
            await rename(session, "new")
        assert await name_of(other, things) == "new"


async def test_commit_that_fails_removes_its_marker(
    things: Database, cache: RedisCache, raw: Redis, new_settings: NewSettings
):
    """And values are stored again at once."""

    def fail(session: Any) -> None:
        raise ZeroDivisionError

    engine = things.engine.sync_engine
    async with things.session() as session:
        cache.invalidate_on_commit(session, "thing:1", tags=["things"])
        await rename(session, "never")
        event.listen(engine, "commit", fail)
        with pytest.raises(ZeroDivisionError):
            await session.commit()
        event.remove(engine, "commit", fail)
        await session.rollback()
    assert await raw.keys(f"{new_settings().prefix}:m:*") == []
    await name_of(cache, things)
    await rename_past_the_cache(things)
    assert await name_of(cache, things) == "old"


async def test_unknown_outcome_leaves_the_marker(
    things: Database, cache: RedisCache, raw: Redis, new_settings: NewSettings
):
    """Nothing is stored until it expires, since either value may be the current one."""

    def lost(session: Session) -> None:
        raise CommitOutcomeUnknown("The connection was lost.", OSError())

    with pytest.raises(CommitOutcomeUnknown):
        async with things.session() as session:
            cache.invalidate_on_commit(session, "thing:1")
            await rename(session, "new")
            event.listen(session.sync_session, "after_commit", lost)
    assert await raw.exists(f"{new_settings().prefix}:m:v:thing:1") == 1
    assert not cache._running.invalidations.is_written(cache._running.naming.of(["k"], []))


async def test_invalidation_needs_a_session_of_the_library(cache: RedisCache):
    """Another one has no hooks."""
    async with AsyncSession() as session:
        with pytest.raises(TypeError, match="runs no hooks"):
            cache.invalidate_on_commit(session, "k")


async def test_error_before_the_commit_is_logged_and_the_commit_goes_on(
    things: Database,
    cache: RedisCache,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    """The cache never fails a commit."""

    async def fail(self: Store, *args: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Store, "mark", fail)
    with caplog.at_level(logging.ERROR):
        async with things.session() as session:
            cache.invalidate_on_commit(session, "thing:1")
            await rename(session, "new")
    assert "failed; the commit goes on" in caplog.text
    assert await read_name(things) == "new"
    assert await name_of(cache, things) == "new"
