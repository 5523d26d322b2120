"""The interface between the doctor and one database: its checks, and what their results are."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from sqlalchemy import Connection, TextClause

from fastapi_asyncdb.dialects.parse import parse_url
from fastapi_asyncdb.dialects.target import Target
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.options import TransactionOptions
from fastapi_asyncdb.settings import DatabaseSettings

Status = Literal["ok", "warn", "fail", "skipped"]

_SHOWN = 5


class Result(NamedTuple):
    """What a check has found."""

    status: Status
    fact: str
    cure: str = ""


def ok(fact: str) -> Result:
    """Return that nothing is wrong."""
    return Result("ok", fact)


def warn(fact: str, cure: str) -> Result:
    """Return that something becomes a problem, or is slow."""
    return Result("warn", fact, cure)


def fail(fact: str, cure: str) -> Result:
    """Return that something does not work, or soon will not."""
    return Result("fail", fact, cure)


def skipped(fact: str, cure: str = "") -> Result:
    """Return why a check cannot tell."""
    return Result("skipped", fact, cure)


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which values on a check warns or fails. Times are in seconds, shares from 0 to 1."""

    round_trip: float = 0.01
    """Warn: the median of the round trips."""
    clock_skew: float = 1.0
    """Warn: the difference between the clocks of this machine and the server."""
    long_transaction: float = 300.0
    """Warn: the age of an open transaction."""
    blocked: float = 1.0
    """Warn: how long a query has waited for a lock."""
    replica_lag: float = 10.0
    """Warn: how far the replay of a standby is behind."""
    replica_lag_bytes: int = 16 * 1024**2
    """Warn: likewise, in bytes of the write-ahead log; the default is one segment."""
    statistics_age: float = 7 * 86400.0
    """Judge unused indexes only by statistics that are older."""
    unused_index_bytes: int = 1024**2
    """Warn: the size of an index that no query has used."""
    dead_rows: int = 10_000
    """Warn: dead rows of a table, if they are also ``dead_share`` of its rows."""
    dead_share: float = 0.2
    """Warn: see ``dead_rows``."""
    cache_hit_rate: float = 0.95
    """Warn: a lower share of blocks was found in the server's cache."""
    cache_blocks: int = 100_000
    """Judge the cache only when so many blocks were read."""
    sequence: float = 0.7
    """Warn: the share of a sequence's numbers that is used up."""
    sequence_end: float = 0.9
    """Fail: likewise."""
    transaction_age: int = 500_000_000
    """Warn: the age of the oldest transaction ID that is not frozen."""
    transaction_age_end: int = 1_600_000_000
    """Fail: likewise; the default is that of ``vacuum_failsafe_age``."""
    free_share: float = 0.25
    """Warn: the share of a SQLite file that is unused, if it is also ``free_bytes``."""
    free_bytes: int = 16 * 1024**2
    """Warn: see ``free_share``."""
    wal_bytes: int = 64 * 1024**2
    """Warn: the size of SQLite's write-ahead log."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is examined: a database, and the processes that use it."""

    settings: DatabaseSettings
    workers: int = 1
    """Processes of one instance."""
    instances: int = 1
    thresholds: Thresholds = field(default_factory=Thresholds)

    def __post_init__(self) -> None:
        for name in ("workers", "instances"):
            if getattr(self, name) < 1:
                raise ConfigurationError(
                    f"{name}={getattr(self, name)} is not a number of processes. Pass 1 or more."
                )

    @property
    def target(self) -> Target:
        """The address of the database, as the application has it."""
        return parse_url(self.settings.url)


Check = Callable[[Connection, Deployment], Result]
"""Looks at a database on a connection that only reads, in a transaction of its own."""


@dataclass(frozen=True, slots=True)
class Doctor:
    """The checks of one database. They are in a module of their own, which only the doctor imports."""

    checks: Mapping[str, Check]
    """By their names, in the order in which they run."""
    options: TransactionOptions
    """Of the transaction of each check: it reads, for a short time."""
    reader: Callable[[DatabaseSettings], DatabaseSettings]
    """Returns settings whose connections cannot write. Raises if there is nothing to connect to."""
    explain: Callable[[BaseException], Result | None]
    """Returns why a check has no result, by its error; ``None`` if the error says it best."""
    replica_checks: Mapping[str, Check] = field(default_factory=dict)
    """Those of a read replica, which has the tables of its primary, and a load of its own."""


def compare_clocks(connection: Connection, clock: TextClause, deployment: Deployment) -> Result:
    """Compare the clock of the server with that of this machine, by the middle of a round trip.

    Args:
        connection: On which the statement runs.
        clock: Returns the server's time in seconds since 1970.
        deployment: Has the threshold.
    """
    before = time.time()
    server = float(connection.execute(clock).scalar_one())
    after = time.time()
    ahead = server - (before + after) / 2
    accuracy = (after - before) / 2
    if abs(ahead) - accuracy <= deployment.thresholds.clock_skew:
        return ok(f"The clocks differ by at most {abs(ahead) + accuracy:.3f} s.")
    direction = "ahead of" if ahead > 0 else "behind"
    return warn(
        f"The server's clock is {abs(ahead):.1f} s {direction} that of this machine.",
        "Synchronize both by NTP (chrony, systemd-timesyncd): tokens, expiry times and the order of "
        "rows compare the two.",
    )


def listed(items: Sequence[str]) -> str:
    """Join items for a sentence; of many, the first few and the number of the others."""
    shown = ", ".join(items[:_SHOWN])
    return shown if len(items) <= _SHOWN else f"{shown} and {len(items) - _SHOWN} more"


def duration(seconds: float) -> str:
    """Return a time in its largest unit, rounded down."""
    for unit, length in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.1f} s"


def size(count: float) -> str:
    """Return a number of bytes in its largest unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TB"
