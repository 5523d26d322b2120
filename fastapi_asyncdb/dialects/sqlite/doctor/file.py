"""Checks of SQLite's file: who may write it, its unused pages, its write-ahead log."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import quote, urlencode

from pydantic import SecretStr
from sqlalchemy import Connection

from fastapi_asyncdb.dialects.doctor import Deployment, Result, fail, ok, size, skipped, warn
from fastapi_asyncdb.dialects.parse import parse_url
from fastapi_asyncdb.errors import DatabaseUnavailable
from fastapi_asyncdb.settings import DatabaseSettings

_IN_MEMORY = skipped("The database is in memory.")


def reader(settings: DatabaseSettings) -> DatabaseSettings:
    """Return settings that open the file with ``mode=ro``; a database in memory stays as it is.

    https://sqlite.org/uri.html#recognized_query_parameters

    Raises:
        DatabaseUnavailable: there is no such file, which a reader does not create.
    """
    target = parse_url(settings.url)
    path, query = target.url.database or ":memory:", dict(target.url.query)
    if path in (":memory:", "file::memory:") or query.get("mode") == "memory":
        return settings
    if not path.startswith("file:"):
        if not Path(path).is_file():
            raise DatabaseUnavailable(
                f"There is no file {path}. Migrations or the first start of the application create it, "
                "in a folder that exists: run them first, or correct the path in the database settings."
            )
        path = f"file:{quote(path)}"
    options = urlencode({**target.connect_args, **query, "mode": "ro"})
    url = SecretStr(f"sqlite+{target.url.get_driver_name()}:///{path}?{options}")
    return settings.model_copy(update={"url": url})


def path_of(connection: Connection) -> Path | None:
    """Return the path of the file; ``None`` for a database in memory."""
    rows = connection.exec_driver_sql("PRAGMA database_list").all()
    name = next((row[2] for row in rows if row[1] == "main"), "")
    return Path(name) if name else None


def file_rights(connection: Connection, deployment: Deployment) -> Result:
    """Return whether this process may write the file and its folder, and whether all others may."""
    path = path_of(connection)
    if path is None:
        return _IN_MEMORY
    for place in (path, path.parent):
        if not os.access(place, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            return fail(
                f"This process may not write {place}.",
                "Run the application as the owner of the file, or chown the file and its folder: WAL "
                "keeps two more files beside it.",
            )
    if os.name == "posix" and path.stat().st_mode & stat.S_IWOTH:
        return warn(f"Every user of this machine may write {path}.", f"chmod o-w {path}.")
    return ok(f"This process may write {path} and its folder.")


def free_pages(connection: Connection, deployment: Deployment) -> Result:
    """Return how much of the file is unused: https://sqlite.org/pragma.html#pragma_freelist_count."""
    limits = deployment.thresholds
    free, pages, page = (
        connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
        for name in ("freelist_count", "page_count", "page_size")
    )
    fact = f"{size(free * page)} of {size(pages * page)} are unused."
    if free * page < limits.free_bytes or free < limits.free_share * pages:
        return ok(fact)
    return warn(
        fact,
        "VACUUM, which needs as much free space on the disk as the database has, and its lock.",
    )


def wal_size(connection: Connection, deployment: Deployment) -> Result:
    """Return the size of the write-ahead log: https://sqlite.org/wal.html#avoiding_excessively_large_wal_files."""
    path = path_of(connection)
    if path is None:
        return _IN_MEMORY
    wal = path.with_name(f"{path.name}-wal")
    bytes_ = wal.stat().st_size if wal.exists() else 0
    fact = f"The write-ahead log has {size(bytes_)}."
    if bytes_ < deployment.thresholds.wal_bytes:
        return ok(fact)
    return warn(
        fact,
        "Readers that are open for long keep it from being emptied: end them, then run "
        "PRAGMA wal_checkpoint(TRUNCATE).",
    )
