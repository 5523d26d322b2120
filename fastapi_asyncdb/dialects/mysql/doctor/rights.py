"""Checks of what the user may do on MySQL or MariaDB, and what the doctor may not see."""

from __future__ import annotations

import re
from urllib.parse import quote_plus

from pydantic import SecretStr
from sqlalchemy import Connection

from fastapi_asyncdb.dialects.doctor import Deployment, Result, ok, skipped, warn
from fastapi_asyncdb.dialects.mysql.errors import LOCK_TIMEOUT, number_of
from fastapi_asyncdb.dialects.parse import parse_url
from fastapi_asyncdb.settings import DatabaseSettings

# ER_DBACCESS_DENIED_ERROR, ER_TABLEACCESS_DENIED_ERROR, ER_COLUMNACCESS_DENIED_ERROR,
# ER_SPECIFIC_ACCESS_DENIED_ERROR
_DENIED = {1044, 1142, 1143, 1227}
_TIMEOUTS = {1969, 3024}
# What an application does not need, and an injected statement does.
# https://dev.mysql.com/doc/refman/8.4/en/privileges-provided.html
_MIGHTY = ("ALL PRIVILEGES", "SUPER", "FILE", "SHUTDOWN", "CREATE USER")
# "you need (at least one of) the SUPER, SLAVE MONITOR privilege(s)": the last one is the smallest.
_NEEDED = re.compile(r"\bthe (?:[A-Z ]+, )*([A-Z ]+) privilege")
_GLOBAL = re.compile(r"GRANT (.+?) ON \*\.\* TO ")


_READ_ONLY = quote_plus("SET SESSION TRANSACTION READ ONLY")


def reader(settings: DatabaseSettings) -> DatabaseSettings:
    """Return settings whose sessions cannot write, unless the URL has an ``init_command`` of its own.

    In a transaction that reads, MariaDB commits before it changes the schema, and then changes it.
    """
    if "init_command" in parse_url(settings.url).connect_args:
        return settings
    url = settings.url.get_secret_value()
    url += f"{'&' if '?' in url else '?'}init_command={_READ_ONLY}"
    return settings.model_copy(update={"url": SecretStr(url)})


def rights(connection: Connection, deployment: Deployment) -> Result:
    """Return whether the user may administer the server."""
    # Nothing but the names of privileges may leave this function: a line has the hash of the password.
    grants = connection.exec_driver_sql("SHOW GRANTS").scalars().all()
    granted = {
        name for line in grants if (all_ := _GLOBAL.match(line)) for name in all_[1].split(", ")
    }
    found = [name for name in _MIGHTY if name in granted]
    if not found:
        return ok("The user may not administer the server.")
    return warn(
        f"The user has {', '.join(found)} on the whole server: so has an injected statement.",
        "Give the application a user with SELECT, INSERT, UPDATE and DELETE on its database, and "
        "DATABASE_MIGRATION_URL another one with CREATE, ALTER, DROP, INDEX and REFERENCES too.",
    )


def explain(error: BaseException) -> Result | None:
    """Return why a check has no result, by the number of its error."""
    number = number_of(error)
    if number in _DENIED:
        words = str(getattr(error, "orig", error).args[-1])
        needed = _NEEDED.search(words)
        cure = f"Run, as root: GRANT {needed[1]} ON *.* TO the user." if needed else ""
        return skipped(f"The user may not see it: {words.rstrip('.')}.", cure)
    if number in _TIMEOUTS:
        return skipped("The check took longer than 5 s.", "Examine the database again later.")
    if number == LOCK_TIMEOUT:
        return skipped(
            "A table is locked, by a migration for example.", "Examine the database again later."
        )
    return None
