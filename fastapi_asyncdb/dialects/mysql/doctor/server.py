"""Checks of a server of MySQL or MariaDB: its version, its clock, its modes."""

from __future__ import annotations

import re
from datetime import date, timedelta

from sqlalchemy import Connection, text

from fastapi_asyncdb.dialects.doctor import Deployment, Result, compare_clocks, fail, ok, warn
from fastapi_asyncdb.dialects.mysql.doctor.variables import read
from fastapi_asyncdb.dialects.mysql.server_settings import is_mariadb

# The releases that get fixes for years. https://mariadb.org/about/#maintenance-policy
_MARIADB = {
    (10, 5): date(2025, 6, 24),
    (10, 6): date(2026, 7, 6),
    (10, 11): date(2028, 2, 16),
    (11, 4): date(2029, 5, 29),
    (11, 8): date(2028, 6, 4),
}
# https://www.mysql.com/support/supportedplatforms/database.html
_MYSQL = {(8, 0): date(2026, 4, 30), (8, 4): date(2032, 4, 30)}

_VERSION = text("SELECT VERSION(), UTC_DATE()")
_CLOCK = text("SELECT UNIX_TIMESTAMP(SYSDATE(6))")
_ZONE = text("""
SELECT @@GLOBAL.time_zone, @@system_time_zone,
  TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), CONVERT_TZ(UTC_TIMESTAMP(), '+00:00', @@GLOBAL.time_zone))
""")


def version(connection: Connection, deployment: Deployment) -> Result:
    """Return whether the server still gets security fixes."""
    full, today = connection.execute(_VERSION).one()
    return support(full, today)


def support(full: str, today: date) -> Result:
    """Return whether a version gets fixes on a day; one that is newer than the tables does."""
    name, ends = ("MariaDB", _MARIADB) if is_mariadb(full) else ("MySQL", _MYSQL)
    numbers = re.match(r"(\d+)\.(\d+)", full)
    release = (int(numbers[1]), int(numbers[2])) if numbers else max(ends)
    newest = max(ends)
    cure = f"Upgrade to a release with long support, such as {name} {newest[0]}.{newest[1]}."
    if release < min(ends):
        return fail(f"{name} {full} is no longer supported.", cure)
    end = ends.get(release)
    if end is None and release < newest:
        return warn(
            f"{name} {full} is a release with short support, and there are newer ones.", cure
        )
    if end is not None and end < today:
        return warn(f"{name} {full} has had no security fixes since {end}.", cure)
    until = f", which gets fixes until {end}" if end else ""
    return ok(f"{name} {full}{until}.")


def clock(connection: Connection, deployment: Deployment) -> Result:
    """Compare the clock of the server with that of this machine."""
    return compare_clocks(connection, _CLOCK, deployment)


def time_zone(connection: Connection, deployment: Deployment) -> Result:
    """Return whether sessions that name no time zone have UTC, as those of the application."""
    zone, system, seconds = connection.execute(_ZONE).one()
    name = f"{system}, that of its system" if zone == "SYSTEM" else zone
    if seconds == 0:
        return ok(f"The server's time zone is {name}.")
    offset = "another" if seconds is None else f"{timedelta(seconds=abs(seconds))} from UTC"
    return warn(
        f"The server's time zone is {name} ({offset}).",
        "The application's sessions have UTC, others see and store other times in DATETIME columns. "
        "Set default_time_zone = '+00:00' in the server's configuration.",
    )


def sql_mode(connection: Connection, deployment: Deployment) -> Result:
    """Return whether sessions that set no mode refuse values that do not fit."""
    modes = read(connection, "GLOBAL VARIABLES", "sql_mode")["sql_mode"].split(",")
    if {"STRICT_TRANS_TABLES", "STRICT_ALL_TABLES"} & set(modes):
        return ok("The server is strict: a value that does not fit its column is an error.")
    return warn(
        "The server is not strict: other clients than this application store values that were cut "
        "off, or 0 instead of what is no number.",
        "Run SET GLOBAL sql_mode = CONCAT(@@GLOBAL.sql_mode, ',STRICT_TRANS_TABLES'), and set it in "
        "the server's configuration.",
    )
