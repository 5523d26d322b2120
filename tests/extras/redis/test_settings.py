"""The settings of a cache, and the extra that it needs."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.extras.redis import (
    RedisCache,
    RedisSettings,
    cache_lifespan,
    create_cache_lifespan,
    default_cache,
)


def test_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    """Arguments win."""
    monkeypatch.setenv("REDIS_URL", "rediss://me:s3cret@cache.example.com:6380/1")
    monkeypatch.setenv("REDIS_COMMAND_TIMEOUT", "0.2")
    settings = RedisSettings(prefix="shop")
    assert settings.url.get_secret_value().endswith("/1")
    assert (settings.command_timeout, settings.prefix) == (0.2, "shop")
    assert "s3cret" not in repr(settings) + str(settings.model_dump())


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("REDIS_URL", "http://s3cret"),
        ("REDIS_URL", ""),
        ("REDIS_COMMAND_TIMEOUT", "0"),
        ("REDIS_TTL_JITTER", "1"),
        ("REDIS_PREFIX", "a*"),
        ("REDIS_PREFIX", ""),
        ("REDIS_POOL_SIZE", "many"),
    ],
)
def test_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, variable: str, value: str):
    """And not the value, which may be a secret."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=variable) as error:
        asyncio.run(RedisCache().start())
    assert "s3cret" not in str(error.value)
    assert error.value.__context__ is None


def test_wrong_argument_is_named():
    """As the argument; and one that does not exist is a mistake."""
    with pytest.raises(ConfigurationError, match="ttl: "):
        RedisSettings(ttl=-1)
    with pytest.raises(TypeError, match="no field tttl"):
        RedisSettings(tttl=1)


async def test_lifespans(redis_url: str, monkeypatch: pytest.MonkeyPatch):
    """That of the default cache, and one with settings and a lifespan inside."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    async with cache_lifespan(None):
        assert repr(default_cache) == "<RedisCache running>"
    another = RedisCache()
    lifespan = create_cache_lifespan(
        RedisSettings(url=redis_url), caches=[another], lifespan=cache_lifespan
    )
    async with lifespan(None):
        assert repr(another) == repr(default_cache) == "<RedisCache running>"
    assert repr(another) == repr(default_cache) == "<RedisCache not started>"


def test_missing_package_names_the_command(tmp_path: Path):
    """One error, with what to type."""
    script = (
        "import sys; sys.modules['redis'] = None\n"
        "from fastapi_asyncdb.errors import MissingExtra\n"
        "try:\n"
        "    import fastapi_asyncdb.extras.redis\n"
        "except MissingExtra as error:\n"
        "    print(error, isinstance(error, ImportError))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert 'pip install "fastapi-asyncdb[redis]"' in run.stdout
    assert run.stdout.strip().endswith("True")
