"""Settings that are sent to PostgreSQL, timeouts among them: at connect, and for one transaction."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

from sqlalchemy import Connection, func, select

from fastapi_asyncdb.dialects.deadlines import KEEPS_STATEMENT_TIMEOUT
from fastapi_asyncdb.settings import DatabaseSettings

# Backslashes escape, quotes mean nothing: the rule of PostgreSQL's pg_split_opts.
_WORD = re.compile(r"(?:[^\s\\]|\\.)+", re.ASCII | re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SPECIAL = re.compile(r"([\s\\])", re.ASCII)
_ESCAPE = r"\\\1"
_SETTING = re.compile(r"(?:-c|--)([\w.-]+)=(.*)", re.DOTALL)
# https://www.postgresql.org/docs/current/config-setting.html#CONFIG-SETTING-NAMES-VALUES
_TIME = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?)\s*(us|ms|s|min|h|d)?\s*", re.ASCII)
_TIMEOUTS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
_UNITS = {"us": 1e-6, None: 1e-3, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


def timeouts(settings: DatabaseSettings) -> dict[str, str]:
    """Return the server's settings for the timeouts of ours, in milliseconds."""
    seconds = {
        "statement_timeout": settings.statement_timeout,
        "lock_timeout": settings.lock_timeout,
        "idle_in_transaction_session_timeout": settings.idle_in_transaction_timeout,
    }
    return {name: str(milliseconds(value)) for name, value in seconds.items() if value is not None}


def split_timeouts(settings: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Split settings into other ones and timeouts; one that cannot be read is left to the server."""
    timeouts = {
        name: value
        for name, value in settings.items()
        if name in _TIMEOUTS and _TIME.fullmatch(value)
    }
    return {name: value for name, value in settings.items() if name not in timeouts}, timeouts


def set_local(timeouts: Mapping[str, str]) -> str:
    """Return the statements that set timeouts until the transaction ends.

    https://www.postgresql.org/docs/current/sql-set.html

    Args:
        timeouts: The second result of ``split_timeouts``, which contains no quotes.
    """
    return "; ".join(f"SET LOCAL {name} = '{value}'" for name, value in timeouts.items())


def set_in_transaction(timeouts: dict[str, float]) -> Callable[[Connection], None]:
    """Return a listener that sets timeouts until the transaction ends, in one statement.

    https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-SET

    Args:
        timeouts: The server's names for them, and seconds.
    """
    local = True
    settings = (
        func.set_config(name, str(milliseconds(value)), local) for name, value in timeouts.items()
    )
    statement = select(*settings).execution_options(**{KEEPS_STATEMENT_TIMEOUT: True})

    def set_timeouts(connection: Connection) -> None:
        connection.execute(statement)

    return set_timeouts


def milliseconds(seconds: float) -> int:
    """Return PostgreSQL's unit, rounded up: 0 is no limit."""
    return math.ceil(seconds * 1000)


def seconds_of(text: str) -> float:
    """Return the seconds of a server's timeout, whose unit is milliseconds; 0 if it cannot be read."""
    time = _TIME.fullmatch(text)
    return float(time[1]) * _UNITS[time[2]] if time else 0.0


def split_options(options: str) -> tuple[dict[str, str], str]:
    """Split libpq's ``options`` into settings, ``-c name=value``, and other words.

    ``endpoint=...`` (Neon) and ``--cluster=...`` (CockroachDB) are for the provider's proxy, which
    needs them unchanged.

    Returns:
        The settings, under the server's names for them, and the other words.
    """
    settings: dict[str, str] = {}
    others: list[str] = []
    words = _WORD.findall(options)
    while words:
        word = words.pop(0)
        if word == "-c" and words:
            word += words.pop(0)
        setting = _SETTING.fullmatch(_ESCAPED.sub(r"\1", word))
        if setting is None or setting[1] == "cluster":
            others.append(word)
        else:
            settings[setting[1].replace("-", "_").lower()] = setting[2]
    return settings, " ".join(others)


def join_options(settings: Mapping[str, str], others: str) -> str:
    """Write libpq's ``options`` from what ``split_options`` returns."""
    words = (f"{name}={value}" for name, value in settings.items())
    return " ".join([*(f"-c {_SPECIAL.sub(_ESCAPE, word)}" for word in words), *others.split()])
