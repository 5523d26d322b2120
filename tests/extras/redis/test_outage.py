"""Redis away or slow: requests go on without it, and it is used again when it is back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from redis.asyncio import Redis

from fastapi_asyncdb import Database
from fastapi_asyncdb.extras.redis import RedisCache, RedisSettings, invalidation, link
from fastapi_asyncdb.extras.redis.connections import connect
from fastapi_asyncdb.testing import RedisServer
from tests.extras.redis.conftest import read_name
from tests.extras.redis.test_invalidation import Counted, name_of, rename
from tests.support.tcp_proxy import tcp_proxy

NewSettings = Callable[..., RedisSettings]
pytestmark = pytest.mark.databases("sqlite")


async def one() -> int:
    """Load what is stored."""
    return 1


async def until_back(cache: RedisCache) -> None:
    """Wait until the cache uses Redis again."""
    async with asyncio.timeout(30):
        while cache.is_away:
            await asyncio.sleep(0.01)


async def get_until_away(cache: RedisCache) -> None:
    """Call until no more commands are sent."""
    async with asyncio.timeout(30):
        while not cache.is_away:
            assert await cache.get_or_load("k", one, model=int) == 1


@pytest.fixture
def quick(new_settings: NewSettings) -> NewSettings:
    """Settings for outages: a failing attempt is soon over."""
    return lambda **values: new_settings(
        **{"breaker_pause": 0.05, "command_timeout": 0.1, "connect_timeout": 5} | values
    )


async def test_killed_server(redis: RedisServer, quick: NewSettings, caplog: Any):
    """Requests go on; there is one warning, and one when it is back."""
    async with RedisCache(quick(url=redis.url(), command_timeout=5)) as cache:
        assert await cache.get_or_load("k", one, model=int) == 1
        await asyncio.to_thread(redis.kill)
        for _ in range(20):
            assert await cache.get_or_load("k", one, model=int) == 1
        assert cache.is_away
        assert repr(cache) == "<RedisCache away>"
        assert not await cache.ping()
        await asyncio.to_thread(redis.start)
        await until_back(cache)
        assert await cache.ping()
        assert await cache.get_or_load("k", one, model=int) == 1
    messages = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert [message.partition(":")[0] for message in messages] == [
        "Redis does not answer",
        "Redis answers again, and the cache is used.",
    ]


async def test_restart_between_two_commands(redis: RedisServer, quick: NewSettings):
    """The connections are dead: a few requests go without the cache, none fails."""
    async with RedisCache(quick(url=redis.url(), command_timeout=5)) as cache:
        await asyncio.gather(*(cache.get_or_load(f"k{n}", one, model=int) for n in range(20)))
        await asyncio.to_thread(redis.restart)
        for number in range(20):
            assert await cache.get_or_load(f"k{number}", one, model=int) == 1
        await until_back(cache)


async def test_application_starts_without_the_server(unused_port: int, quick: NewSettings):
    """And uses it once it is there."""
    url = f"redis://127.0.0.1:{unused_port}/0"
    async with RedisCache(quick(url=url)) as cache:
        assert cache.is_away
        assert await cache.get_or_load("k", one, model=int) == 1


async def test_silent_server_costs_no_more_than_the_budget(
    silent_port: int, quick: NewSettings, monkeypatch: pytest.MonkeyPatch
):
    """A few commands wait for ``command_timeout``; then none is sent."""
    waited: list[float] = []
    timeout = asyncio.timeout

    def noted(seconds: float) -> Any:
        waited.append(seconds)
        return timeout(seconds)

    async with RedisCache(
        quick(url=f"redis://127.0.0.1:{silent_port}/0", connect_timeout=0.2, breaker_pause=60)
    ) as cache:
        monkeypatch.setattr(asyncio, "timeout", noted)
        for _ in range(10):
            assert await cache.get_or_load("k", one, model=int) == 1
        await cache.invalidate("k")
    assert waited == []


async def test_stalled_server(redis: RedisServer, quick: NewSettings):
    """It accepts and does not answer; three commands wait, and then none until it answers again."""
    async with RedisCache(quick(url=redis.url(), connect_timeout=0.2)) as cache:
        await cache.get_or_load("k", one, model=int)
        redis.pause()
        await get_until_away(cache)
        redis.resume()
        await until_back(cache)


async def test_network_that_is_cut(redis: RedisServer, quick: NewSettings):
    """Packets are swallowed; afterwards the same address works."""
    async with tcp_proxy(redis.port) as proxy:
        settings = quick(url=f"redis://127.0.0.1:{proxy.port}/0", connect_timeout=0.3)
        async with RedisCache(settings) as cache:
            await cache.get_or_load("k", one, model=int)
            proxy.silent = True
            await get_until_away(cache)
            proxy.silent = False
            await until_back(cache)
            assert await cache.get_or_load("k", one, model=int) == 1


async def test_slow_connect_is_used_in_the_end(redis: RedisServer, quick: NewSettings):
    """It takes longer than a command may; the attempt goes on without the command."""
    async with tcp_proxy(redis.port) as proxy:
        proxy.held = 1
        settings = quick(url=f"redis://127.0.0.1:{proxy.port}/0", pool_size=1)
        client = connect(settings)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.execute_command("PING")
        await proxy.holding.wait()
        proxy.released.set()
        assert await client.execute_command("PING")
        assert len(proxy.links) == 1
        await client.aclose()
        await client.connection_pool.disconnect()


async def test_full_server_is_an_outage(redis: RedisServer, quick: NewSettings, caplog: Any):
    """Its errors are no errors of requests."""
    options = {"maxmemory": "1mb", "maxmemory-policy": "noeviction"}
    async with Redis.from_url(redis.url()) as client:
        for name, value in options.items():
            await client.config_set(name, value)
    async with RedisCache(quick(url=redis.url(), command_timeout=5)) as cache:
        for number in range(20):
            assert await cache.get_or_load(f"k{number}", one, model=int) == 1
    assert caplog.text.count("Redis does not answer: OutOfMemoryError") == 1


# --- Invalidation ---------------------------------------------------------------------------------


async def test_commit_goes_on_and_is_made_up_for(
    things: Database, redis: RedisServer, quick: NewSettings
):
    """What is written during an outage is invalidated before Redis is used again."""
    async with tcp_proxy(redis.port) as proxy:
        settings = quick(
            url=f"redis://127.0.0.1:{proxy.port}/0", invalidation_timeout=0.1, connect_timeout=0.3
        )
        async with RedisCache(settings) as cache:
            await name_of(cache, things)
            proxy.silent = True
            async with things.session() as session:
                cache.invalidate_on_commit(session, "thing:1")
                await rename(session, "new")
            assert cache.is_away, "or this process would serve what it could not remove"
            assert await name_of(cache, things) == await read_name(things) == "new"
            proxy.silent = False
            await until_back(cache)
            assert await name_of(cache, things) == "new"


async def test_too_many_invalidations_empty_the_cache(
    redis: RedisServer, quick: NewSettings, monkeypatch: pytest.MonkeyPatch
):
    """They are kept in bounded memory."""
    monkeypatch.setattr(invalidation, "_MOST", 10)
    async with tcp_proxy(redis.port) as proxy:
        settings = quick(url=f"redis://127.0.0.1:{proxy.port}/0", connect_timeout=0.3)
        async with RedisCache(settings) as cache:
            await cache.get_or_load("kept", one, model=int)
            proxy.silent = True
            await get_until_away(cache)
            for number in range(100):
                await cache.invalidate(f"k{number}")
                assert len(cache._running.invalidations._left) <= 10
            proxy.silent = False
            await until_back(cache)
            assert await cache.get_or_load("kept", two, model=int) == 2


async def two() -> int:
    """Load another value."""
    return 2


async def test_invalidations_that_are_lost_are_logged(
    unused_port: int, quick: NewSettings, caplog: Any
):
    """The process ends before Redis is back."""
    async with RedisCache(quick(url=f"redis://127.0.0.1:{unused_port}/0")) as cache:
        await cache.invalidate("a", tags=["b"])
    assert "2 keys and tags were written while Redis was away" in caplog.text


async def test_request_waits_for_one_command(
    redis: RedisServer, quick: NewSettings, monkeypatch: pytest.MonkeyPatch
):
    """Not for a second one, once the first has had no answer; and waiters share their loader."""
    attempts = 0
    attempt = link.Link.attempt

    async def counted(self: link.Link, *args: Any) -> Any:
        nonlocal attempts
        attempts += 1
        return await attempt(self, *args)

    async with RedisCache(quick(url=redis.url(), connect_timeout=0.2, breaker_pause=60)) as cache:
        await cache.get_or_load("k", one, model=int)
        redis.pause()
        monkeypatch.setattr(link.Link, "attempt", counted)
        for expected in (1, 2, 3, 3, 3):
            assert await cache.get_or_load("k", one, model=int) == 1
            assert attempts == expected
        loader = Counted()
        await asyncio.gather(*(cache.get_or_load("k", loader, model=int) for _ in range(100)))
        assert loader.calls == 1
        redis.resume()
