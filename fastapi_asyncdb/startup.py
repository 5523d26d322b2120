"""The first connection: tries until it is there, or says in one error why it is not."""

from __future__ import annotations

import asyncio
import random
import time

from fastapi_asyncdb.dialects import Diagnosis, causes
from fastapi_asyncdb.engine import Engines
from fastapi_asyncdb.errors import ConfigurationError, DatabaseUnavailable
from fastapi_asyncdb.settings import DatabaseSettings

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0


async def connect(engines: Engines, settings: DatabaseSettings) -> None:
    """Open the first connection, and leave it in the pool.

    Raises:
        DatabaseUnavailable: a cause that waiting cannot cure, at once; any other after
            ``startup_timeout``. Its chain is cut: drivers keep the password in their frames, and
            some loggers print local variables.
    """
    started = time.monotonic()
    attempts = 0
    while True:
        attempts += 1
        failure = await _attempt(engines, settings)
        if failure is None:
            return
        waited = time.monotonic() - started
        delay = backoff(attempts)
        if failure.diagnosis.permanent or waited + delay > settings.startup_timeout:
            break
        await asyncio.sleep(delay)
    tries = (
        f"after {attempts} attempts in {waited:.1f} s" if attempts > 1 else "at the first attempt"
    )
    raise DatabaseUnavailable(
        f"Cannot connect to {engines.target.url!r} {tries}: {failure.words}. "
        f"{failure.diagnosis.advice}."
    )


def backoff(attempt: int) -> float:
    """Return the seconds to wait after an attempt: doubling, capped, half of it random.

    https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/
    """
    ceiling = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(attempt - 1, 16))
    return random.uniform(ceiling / 2, ceiling)  # noqa: S311 - jitter, no secret


class _Failure:
    """What went wrong in one attempt, in words, without the exception and its frames."""

    def __init__(self, error: Exception, engines: Engines) -> None:
        cause = _innermost(error)
        words = " ".join(str(cause).split()).rstrip(".") or "no answer in time"
        password = engines.target.url.password
        if password:
            words = words.replace(str(password), "***")
        self.words = f"{type(cause).__name__}: {words}"
        self.diagnosis: Diagnosis = engines.preset.diagnose(error, engines.target)


async def _attempt(engines: Engines, settings: DatabaseSettings) -> _Failure | None:
    try:
        # The driver has its own timeout; this one is for drivers and proxies that ignore it.
        async with asyncio.timeout(settings.connect_timeout + 1):
            async with engines.write.connect():
                return None
    except ConfigurationError:
        raise
    except Exception as error:
        return _Failure(error, engines)


def _innermost(error: Exception) -> BaseException:
    """Return what the driver said, below SQLAlchemy's wrapping."""
    return list(causes(error))[-1] if getattr(error, "orig", None) else error
