"""Checks of a PostgreSQL server: its version, its clock, its extensions."""

from __future__ import annotations

from datetime import date

from sqlalchemy import Connection, text

from fastapi_asyncdb.dialects.doctor import (
    Deployment,
    Result,
    compare_clocks,
    fail,
    listed,
    ok,
    warn,
)

# The date of the last minor release: https://www.postgresql.org/support/versioning/
_END_OF_LIFE = {
    13: date(2025, 11, 13),
    14: date(2026, 11, 12),
    15: date(2027, 11, 11),
    16: date(2028, 11, 9),
    17: date(2029, 11, 8),
    18: date(2030, 11, 14),
}

_VERSION = text(
    "SELECT current_setting('server_version_num')::int / 10000, current_setting('server_version'), "
    "current_date"
)
_CLOCK = text("SELECT extract(epoch FROM clock_timestamp())::float8")
_EXTENSIONS = text("""
SELECT name, installed_version, default_version FROM pg_available_extensions
WHERE installed_version IS NOT NULL ORDER BY name
""")


def version(connection: Connection, deployment: Deployment) -> Result:
    """Return whether the server still gets security fixes."""
    major, full, today = connection.execute(_VERSION).one()
    return support(major, full, today)


def support(major: int, full: str, today: date) -> Result:
    """Return whether a version gets fixes on a day; one that is newer than the table does."""
    end = _END_OF_LIFE.get(major)
    cure = "Upgrade to a supported version: https://www.postgresql.org/docs/current/upgrading.html."
    if major < min(_END_OF_LIFE):
        return fail(f"PostgreSQL {full} is no longer supported.", cure)
    if end is not None and end < today:
        return warn(f"PostgreSQL {full} has had no security fixes since {end}.", cure)
    until = f", which gets fixes until {end}" if end else ""
    return ok(f"PostgreSQL {full}{until}.")


def clock(connection: Connection, deployment: Deployment) -> Result:
    """Compare the clock of the server with that of this machine."""
    connection.execute(_CLOCK)  # what the driver prepares is no part of the next round trip
    return compare_clocks(connection, _CLOCK, deployment)


def extensions(connection: Connection, deployment: Deployment) -> Result:
    """Return which extensions have a newer version on the server's disk.

    https://www.postgresql.org/docs/current/view-pg-available-extensions.html
    """
    installed = connection.execute(_EXTENSIONS).all()
    old = [row for row in installed if row.installed_version != row.default_version]
    if not old:
        names = listed([f"{row.name} {row.installed_version}" for row in installed])
        return ok(f"Installed: {names}." if installed else "None is installed.")
    found = [f"{row.name} {row.installed_version} (there is {row.default_version})" for row in old]
    return warn(
        f"Older than what the server has: {listed(found)}.",
        f'Read its release notes, then run: ALTER EXTENSION "{old[0].name}" UPDATE.',
    )
