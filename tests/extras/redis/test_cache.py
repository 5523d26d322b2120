"""Values: one loader, types, times, sizes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, Field
from redis.asyncio import Redis

from fastapi_asyncdb.errors import CacheNotStarted, ConfigurationError
from fastapi_asyncdb.extras.redis import RedisCache, RedisSettings
from fastapi_asyncdb.extras.redis.loads import Loads
from fastapi_asyncdb.extras.redis.store import Store

NewSettings = Callable[..., RedisSettings]


class User(BaseModel):
    id: int
    name: str = Field(alias="fullName", default="Ada")


class Loader:
    """Counts its calls, and returns what it is given."""

    def __init__(self, value: Any, seconds: float = 0.0) -> None:
        self.value = value
        self.seconds = seconds
        self.calls = 0

    async def __call__(self) -> Any:
        self.calls += 1
        await asyncio.sleep(self.seconds)
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


class Gate:
    """A loader that waits until the test lets it go on."""

    def __init__(self, *values: Any) -> None:
        self.values = list(values)
        self.calls = 0
        self.entered = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self) -> Any:
        self.calls += 1
        value = self.values.pop(0)
        self.entered.set()
        await self.open.wait()
        if isinstance(value, Exception):
            raise value
        return value


async def test_second_call_is_a_hit_of_the_same_type(cache: RedisCache):
    """The value is the model's on a miss and on a hit, whatever the loader returns."""
    loader = Loader({"id": 1, "fullName": "Bob"})
    for _ in range(2):
        user = await cache.get_or_load("user:1", loader, model=User)
        assert user == User(id=1, fullName="Bob")
    assert loader.calls == 1


async def test_hit_is_one_round_trip(cache: RedisCache, monkeypatch: pytest.MonkeyPatch):
    """One GET, or one MGET with tags."""
    commands: list[tuple[Any, ...]] = []
    execute = Redis.execute_command

    async def noted(self: Any, *args: Any, **options: Any) -> Any:
        commands.append(args)
        return await execute(self, *args, **options)

    for tags, name in (((), "GET"), (("users", "a"), "MGET")):
        await cache.get_or_load(f"user:{name}", Loader(1), model=int, tags=tags)
        with monkeypatch.context() as patch:
            patch.setattr(Redis, "execute_command", noted)
            assert await cache.get_or_load(f"user:{name}", Loader(2), model=int, tags=tags) == 1
        assert [args[0] for args in commands] == [name]
        commands.clear()


async def test_thousand_waiters_share_one_loader(cache: RedisCache, other_cache: RedisCache):
    """In two processes too: here they are two caches of one application."""
    loader = Loader([1, 2], seconds=0.02)
    found = await asyncio.gather(
        *(
            each.get_or_load("list", loader, model=list[int])
            for _ in range(500)
            for each in (cache, other_cache)
        )
    )
    assert loader.calls == 1
    assert all(value == [1, 2] for value in found)
    assert len({id(value) for value in found}) == len(found), "a value is the caller's own"


async def test_loader_that_fails_fails_for_all_that_wait(cache: RedisCache):
    """Instead of one failure after the other; and nothing is stored."""
    gate = Gate(*[LookupError("gone")] * 100)
    gate.open.set()
    calls = [asyncio.create_task(cache.get_or_load("l", gate, model=int)) for _ in range(100)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {LookupError}
    assert gate.calls < 20
    assert await cache.get_or_load("l", Loader(3), model=int) == 3


async def test_waiters_take_over_when_the_first_is_cancelled(cache: RedisCache):
    """A client that leaves takes no other one with it, and no lease either."""
    gate = Gate(1, 2)
    first = asyncio.create_task(cache.get_or_load("k", gate, model=int))
    await gate.entered.wait()
    others = [asyncio.create_task(cache.get_or_load("k", gate, model=int)) for _ in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    gate.open.set()
    assert await asyncio.gather(*others) == [2, 2, 2]
    assert gate.calls == 2


async def test_process_that_waits_in_vain_loads_itself(new_settings: NewSettings):
    """The holder of the lease hangs: another process waits for ``wait_timeout``, and stores nothing."""
    gate, loader = Gate(1), Loader(2)
    async with (
        RedisCache(new_settings()) as one,
        RedisCache(new_settings(wait_timeout=0.05)) as two,
    ):
        slow = asyncio.create_task(one.get_or_load("k", gate, model=int))
        await gate.entered.wait()
        assert await two.get_or_load("k", loader, model=int) == 2
        gate.open.set()
        assert await slow == 1
        assert await two.get_or_load("k", loader, model=int) == 1


async def test_lease_of_a_dead_process_expires(new_settings: NewSettings):
    """The next process gets it, and stores."""
    gate, loader = Gate(1), Loader(2)
    async with (
        RedisCache(new_settings(lease_ttl=0.1)) as dead,
        RedisCache(new_settings(wait_timeout=30)) as living,
    ):
        dying = asyncio.create_task(dead.get_or_load("k", gate, model=int))
        await gate.entered.wait()
        assert await living.get_or_load("k", loader, model=int) == 2
        gate.open.set()
        assert await dying == 1  # of its own loader; and it could not store it
        assert await living.get_or_load("k", Loader(3), model=int) == 2


async def test_no_value_is_remembered_only_on_request(cache: RedisCache):
    """``None`` is stored for ``negative_ttl``."""
    loader = Loader(None)
    for _ in range(2):
        assert await cache.get_or_load("a", loader, model=int) is None
    assert loader.calls == 2
    for _ in range(2):
        assert await cache.get_or_load("b", loader, model=int, negative_ttl=60) is None
    assert loader.calls == 3


async def test_value_of_another_model_is_a_miss(cache: RedisCache):
    """After a release that has changed the model; and nothing but JSON is stored."""
    await cache.get_or_load("k", Loader("text"), model=str)
    loader = Loader(7)
    for _ in range(2):
        assert await cache.get_or_load("k", loader, model=int) == 7
    assert loader.calls == 1


async def test_damaged_entry_is_a_miss(cache: RedisCache, raw: Redis, new_settings: NewSettings):
    """Whatever has written it."""
    loader = Loader(1)
    name = f"{new_settings().prefix}:v:k"
    for damage in (b"", b"x", b"x" * 100, b"\x80\x04N."):
        await raw.set(name, damage)
        assert await cache.get_or_load("k", loader, model=int) == 1
    assert loader.calls == 4


async def test_what_the_loader_returns_has_to_fit_the_model(cache: RedisCache):
    """Else it would be stored, and be a miss each time."""
    with pytest.raises(ValueError, match="valid integer"):
        await cache.get_or_load("k", Loader("text"), model=int)


async def test_value_that_cannot_be_read_back_is_returned(
    cache: RedisCache, caplog: pytest.LogCaptureFixture
):
    """It is not stored, and the log says so once."""

    class OneWay(BaseModel):
        id: int = Field(validation_alias="in", serialization_alias="out")

    loader = Loader({"in": 1})
    for _ in range(2):
        value = await cache.get_or_load("k", loader, model=OneWay)
        assert isinstance(value, OneWay)
        assert value.id == 1
    assert loader.calls == 2
    assert caplog.text.count("cannot be read back") == 1


async def test_large_value_is_not_stored(
    new_settings: NewSettings, caplog: pytest.LogCaptureFixture
):
    """Beyond ``max_value_size`` bytes."""
    async with RedisCache(new_settings(max_value_size=10)) as cache:
        for length, calls in ((8, 1), (9, 2)):  # with two quotes
            loader = Loader("x" * length)
            for _ in range(2):
                await cache.get_or_load(f"k{length}", loader, model=str)
            assert loader.calls == calls
    assert "larger than REDIS_MAX_VALUE_SIZE" in caplog.text


async def test_long_key_is_hashed(cache: RedisCache, raw: Redis, new_settings: NewSettings):
    """Clients may choose a part of it."""
    settings = new_settings()
    loader = Loader(1)
    for key in ("x" * 5000, "x" * 5001):
        for _ in range(2):
            await cache.get_or_load(key, loader, model=int, tags=[key])
    assert loader.calls == 2
    names = await raw.keys(f"{settings.prefix}:*")
    assert len(names) == 4
    assert max(map(len, names)) < settings.max_key_length + 80


async def test_entries_expire_at_different_times(
    cache: RedisCache, raw: Redis, new_settings: NewSettings
):
    """Never later than their time, and up to a tenth earlier."""
    for number in range(20):
        await cache.get_or_load(f"k{number}", Loader(1), model=int, ttl=100)
    times = [await raw.pttl(f"{new_settings().prefix}:v:k{number}") for number in range(20)]
    assert len(set(times)) > 10
    assert all(89_000 < time <= 100_000 for time in times)


async def test_one_caller_loads_again_before_the_end(new_settings: NewSettings):
    """The others get what is stored meanwhile, in this process and in others."""
    async with (
        RedisCache(new_settings(early_refresh=1e9)) as early,
        RedisCache(new_settings()) as other,
    ):
        await early.get_or_load("k", Loader(1), model=int)
        gate = Gate(2)
        refreshing = asyncio.create_task(early.get_or_load("k", gate, model=int))
        await gate.entered.wait()
        assert await early.get_or_load("k", gate, model=int) == 1
        assert await other.get_or_load("k", gate, model=int) == 1
        gate.open.set()
        assert await refreshing == 2
        assert await other.get_or_load("k", gate, model=int) == 2
        assert gate.calls == 1


async def test_early_load_that_fails_is_no_error(
    new_settings: NewSettings, caplog: pytest.LogCaptureFixture
):
    """The value is still valid."""
    async with RedisCache(new_settings(early_refresh=1e9)) as cache:
        await cache.get_or_load("k", Loader(1), model=int)
        assert await cache.get_or_load("k", Loader(OSError("down")), model=int) == 1
    assert "is used on: OSError: down" in caplog.text


async def test_tags_invalidate_together(cache: RedisCache, other_cache: RedisCache):
    """Each key that has the tag, in every process, and no other."""
    for key, tags in (("a", ["x"]), ("b", ["x", "y"]), ("c", ["y"])):
        await cache.get_or_load(key, Loader(1), model=int, tags=tags)
    await cache.invalidate(tags=["x"])
    for key, tags, value in (("a", ["x"], 2), ("b", ["y", "x"], 2), ("c", ["y"], 1)):
        assert await other_cache.get_or_load(key, Loader(2), model=int, tags=tags) == value


async def test_key_with_other_tags_is_a_miss(cache: RedisCache):
    """A call site without the tag must not get what an invalidation of the tag would not reach."""
    await cache.get_or_load("k", Loader(1), model=int)
    assert await cache.get_or_load("k", Loader(2), model=int, tags=["x"]) == 2
    assert await cache.get_or_load("k", Loader(3), model=int) == 3


async def test_lost_version_of_a_tag_is_a_miss(
    cache: RedisCache, raw: Redis, new_settings: NewSettings
):
    """A server that is full may drop any key; the tag is then as if it was invalidated."""
    await cache.get_or_load("k", Loader(1), model=int, tags=["x"])
    await raw.delete(f"{new_settings().prefix}:t:x")
    assert await cache.get_or_load("k", Loader(2), model=int, tags=["x"]) == 2


async def test_clear_removes_what_has_the_prefix(new_settings: NewSettings, cache: RedisCache):
    """And nothing of another application."""
    async with RedisCache(new_settings(prefix="another-test")) as another:
        for each in (cache, another):
            for number in range(3):
                await each.get_or_load(f"k{number}", Loader(1), model=int)
        await cache.clear()
        assert await cache.get_or_load("k1", Loader(2), model=int) == 2
        assert await another.get_or_load("k1", Loader(2), model=int) == 1
        await another.clear()


async def test_cancelled_commands_leave_no_answer_behind(cache: RedisCache):
    """Or the next command on their connection would get it."""
    for number in range(10):
        await cache.get_or_load(f"k{number}", Loader(number), model=int)
    for _ in range(20):
        calls = [
            asyncio.create_task(cache.get_or_load(f"k{number}", Loader(number), model=int))
            for number in range(10)
        ]
        await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        values = [each for each in outcomes if not isinstance(each, asyncio.CancelledError)]
        assert set(values) <= set(range(10))
        assert outcomes[1::2] == [1, 3, 5, 7, 9]


# --- Start and stop -------------------------------------------------------------------------------


async def test_cache_that_is_not_started_says_what_to_do(new_settings: NewSettings):
    """Before the start, and after the last stop."""
    cache = RedisCache(new_settings())
    for _ in range(2):
        with pytest.raises(CacheNotStarted, match="lifespan=cache_lifespan"):
            await cache.get_or_load("k", Loader(1), model=int)
        async with cache, cache:  # two applications share it
            assert await cache.get_or_load("k", Loader(1), model=int) == 1
            assert repr(cache) == "<RedisCache running>"
    await cache.start()
    await cache.stop()


def test_cache_stays_on_its_event_loop(new_settings: NewSettings):
    """Its connections cannot move."""
    cache = RedisCache(new_settings())
    with asyncio.Runner() as runner:
        runner.run(cache.start())
        with pytest.raises(ConfigurationError, match="another event loop"):
            asyncio.run(cache.start())
        runner.run(cache.stop())


async def test_unix_socket(redis: Any):
    """Instead of TCP."""
    async with RedisCache(RedisSettings(url=redis.socket_url(), command_timeout=5)) as cache:
        for value in (1, 2):
            assert await cache.get_or_load("k", Loader(value), model=int) == 1


async def test_password_is_in_no_log_and_no_repr(
    new_settings: NewSettings, unused_port: int, caplog: pytest.LogCaptureFixture
):
    """Neither when the server refuses, nor when the URL is wrong."""
    caplog.set_level(logging.DEBUG)
    url = f"redis://me:s3cret@127.0.0.1:{unused_port}/0"
    settings = new_settings(url=url)
    async with RedisCache(settings) as cache:
        assert await cache.get_or_load("k", Loader(1), model=int) == 1
        assert "s3cret" not in repr(cache) + repr(settings) + caplog.text
        assert "Redis does not answer" in caplog.text
    for wrong in (
        "http://me:s3cret@host",
        "redis://me:s3cret@host:x/0",
        "redis://me:s3cret@host/0?db=y",
    ):
        with pytest.raises(ConfigurationError) as error:
            async with RedisCache(RedisSettings(url=wrong)):
                pass
        assert "s3cret" not in str(error.value)
        assert error.value.__cause__ is error.value.__context__ is None


async def test_early_load_that_is_given_up_is_not_shared(
    new_settings: NewSettings, monkeypatch: pytest.MonkeyPatch
):
    """One that waits for it has found no value, since a writer has removed it."""
    async with RedisCache(new_settings(early_refresh=1e9)) as cache:
        await cache.get_or_load("k", Loader(1), model=int)
        run, asked, go_on = cache._running, asyncio.Event(), asyncio.Event()
        acquire = Store.acquire

        async def late(self: Store, *args: Any, **options: Any) -> Any:
            asked.set()
            await go_on.wait()
            return await acquire(self, *args, **options)

        monkeypatch.setattr(Store, "acquire", late)
        early = asyncio.create_task(cache.get_or_load("k", Loader(2), model=int))
        await asked.wait()
        await run.store.mark("writer", run.naming.of(["k"], []))
        after = asyncio.create_task(cache.get_or_load("k", Loader(3), model=int))
        async with asyncio.timeout(10):
            while not _waits(run.loads):
                await asyncio.sleep(0.01)
        go_on.set()
        assert await early == 1
        assert await after == 3


def _waits(loads: Loads) -> bool:
    """Whether a caller waits for the load of another."""
    return any(flight.done._callbacks for flight in loads._flights.values())
