"""``Run``: the client of one event loop, from settings; its first connection and its end."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any

import pymongo
from pymongo import AsyncMongoClient
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConfigurationError, PyMongoError

from fastapi_asyncdb import finishing
from fastapi_asyncdb.concurrency import backoff
from fastapi_asyncdb.errors import DatabaseUnavailable
from fastapi_asyncdb.extras.mongo.codecs import CODEC_OPTIONS
from fastapi_asyncdb.extras.mongo.errors import reason_of
from fastapi_asyncdb.extras.mongo.settings import MongoSettings
from fastapi_asyncdb.extras.mongo.target import Target, target_of
from fastapi_asyncdb.tracebacks import forget_locals

logger = logging.getLogger(__name__)

_FIRST_DELAY = 0.1
_LONGEST_DELAY = 5.0
# https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
_PERMANENT = (13, 18)
"""Unauthorized, AuthenticationFailed."""


@dataclass(slots=True)
class Run:
    """The client of one event loop."""

    client: AsyncMongoClient[dict[str, Any]]
    settings: MongoSettings
    target: Target
    starts: int = 1

    @property
    def database(self) -> AsyncDatabase[dict[str, Any]]:
        """PyMongo's database."""
        return self.client.get_database(self.target.database, codec_options=CODEC_OPTIONS)

    @property
    def max_time_ms(self) -> int | None:
        """The limit of a query, as PyMongo takes it."""
        seconds = self.settings.operation_timeout
        return None if seconds is None else max(1, round(seconds * 1000))

    def __repr__(self) -> str:
        return f"<Run on {self.target!r}>"


def create_run(settings: MongoSettings) -> Run:
    """Make the client, which connects with its first operation.

    Raises:
        InvalidDatabaseURL: the URL cannot be parsed.
        InsecureConnectionError: in production, the connection would not be verified.
    """
    target = target_of(settings)
    options = {
        name: value
        for name, value in _options(settings).items()
        if name.lower() not in target.options
    }
    client: AsyncMongoClient[dict[str, Any]] = AsyncMongoClient(
        settings.url.get_secret_value(), tz_aware=True, uuidRepresentation="standard", **options
    )
    return Run(client, settings, target)


def _options(settings: MongoSettings) -> dict[str, Any]:
    """Return the options of the client; one in the URL comes first."""
    options: dict[str, Any] = {
        "maxPoolSize": settings.pool_size,
        "minPoolSize": min(settings.min_pool_size, settings.pool_size),
        "waitQueueTimeoutMS": settings.pool_timeout * 1000,
        "connectTimeoutMS": settings.connect_timeout * 1000,
        "serverSelectionTimeoutMS": settings.server_selection_timeout * 1000,
    }
    if settings.operation_timeout is not None:
        limit = settings.operation_timeout + finishing.GRACE.answer
        options["socketTimeoutMS"] = limit * 1000
    return options


async def first_connection(run: Run, *, required: bool) -> bool:
    """Try until the server answers, or until ``startup_timeout`` is over.

    Args:
        run: The client.
        required: ``False`` tries once; if that fails, the cause is logged.

    Returns:
        Whether the server has answered.

    Raises:
        DatabaseUnavailable: no answer, and one is required.
    """
    started, attempts = time.monotonic(), 0
    while True:
        attempts += 1
        error = await _attempt(run)
        if error is None:
            return True
        left = run.settings.startup_timeout - (time.monotonic() - started)
        if not required or left <= 0 or _is_permanent(error):
            break
        if attempts == 1:
            logger.warning(
                "Cannot connect to MongoDB at %r yet: %s. Trying for another %.0f s.",
                run.target,
                reason_of(error),
                left,
            )
        await asyncio.sleep(min(backoff(attempts, base=_FIRST_DELAY, cap=_LONGEST_DELAY), left))
    if required:
        raise unavailable(run, error)
    logger.warning(
        "Started without a connection to MongoDB at %r: %s. Requests that need one are answered "
        "with 503 until it can be made; no restart is needed.",
        run.target,
        reason_of(error),
    )
    return False


async def ping(run: Run, seconds: float) -> None:
    """Wait for an answer of the server.

    Raises:
        PyMongoError: there was none in time.
    """
    with pymongo.timeout(seconds):
        await run.client.admin.command("ping")


def unavailable(run: Run, error: BaseException) -> DatabaseUnavailable:
    """Return the error of a server that does not answer."""
    return DatabaseUnavailable(
        f"MongoDB at {run.target!r} is not available: {reason_of(error)}. It is down, the network "
        "is cut, or the user or the password is wrong. Check MONGO_URL, and the log of the server."
    )


def _is_permanent(error: PyMongoError) -> bool:
    """Return whether waiting cannot cure it: a wrong password, a server that is too old."""
    return isinstance(error, ConfigurationError) or getattr(error, "code", None) in _PERMANENT


async def _attempt(run: Run) -> PyMongoError | None:
    try:
        await ping(run, run.settings.connect_timeout)
    except PyMongoError as error:
        forget_locals(error)
        return error
    return None
