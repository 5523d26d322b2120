"""Examines a database, and picks what a test looks at."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi_asyncdb import DatabaseSettings
from fastapi_asyncdb.doctor import Finding, Report, examine


async def report_of(url: str, options: dict[str, Any] | None = None, **examined: Any) -> Report:
    """Return the report on a database, whose settings have these options."""
    settings = DatabaseSettings(url=url, _env_file=None, **(options or {}))
    report = await examine(settings, **examined)
    assert all(finding.cure for finding in report.findings if finding.status in ("warn", "fail"))
    return report


async def found(url: str, check: str, **examined: Any) -> Finding:
    """Return what one check has found."""
    report = await report_of(url, **examined)
    (finding,) = [each for each in report.findings if each.check == check]
    return finding


async def until_blocked(connection: Any, kind: str) -> None:
    """Wait until a session waits for a lock of that kind, as a connection of asyncpg sees it."""
    waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND locktype = $1)"
    async with asyncio.timeout(5):
        while not await connection.fetchval(waits, kind):
            await asyncio.sleep(0.01)
