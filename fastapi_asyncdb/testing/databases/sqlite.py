"""Databases for tests in SQLite files: made, copied and dropped."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from pydantic import SecretStr
from sqlalchemy import URL

from fastapi_asyncdb.dialects import Target
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.settings import DatabaseSettings

# Seconds that a client has to end its transaction before the template is copied.
_BUSY_TIMEOUT = 2.0


class SQLiteCopies:
    """Files in a temporary folder, each in a folder of its own.

    Args:
        target: Its parameters are those of every file; its own file, if any, is not touched.
    """

    def __init__(self, target: Target) -> None:
        self._drivername = target.url.drivername
        self._query = {name: str(value) for name, value in target.connect_args.items()}
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    async def open(self) -> None:
        """Make the folder."""
        self._folder = self._folder or tempfile.TemporaryDirectory(prefix="asyncdb_test_")

    async def close(self) -> None:
        """Remove the folder and what is in it."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    async def create(self, name: str, template: str | None = None) -> None:
        """Copy the file; an empty database needs none."""
        source = None if template is None else self._file(template)
        await asyncio.to_thread(_copy, source, self._file(name))

    async def freeze(self, name: str) -> None:
        """Move the pages of the log into the file: only the file is copied.

        Raises:
            ConfigurationError: a connection still reads or writes it.
        """
        if not await asyncio.to_thread(_checkpoint, self._file(name)):
            raise ConfigurationError(
                "The template database is still in use, so that its log cannot be written back: prepare "
                "left a transaction or a query open. End it before prepare returns."
            )

    async def drop(self, name: str) -> None:
        """Remove the file, its log, and the index of the log."""
        await asyncio.to_thread(_remove, self._file(name).parent)

    def url(self, name: str) -> SecretStr:
        """Return the URL of a file."""
        url = URL.create(self._drivername, database=str(self._file(name)), query=self._query)
        return SecretStr(DatabaseSettings(url=url).url.get_secret_value())

    def _file(self, name: str) -> Path:
        if self._folder is None:
            raise RuntimeError("The folder is made when it is opened.")
        return Path(self._folder.name) / name / "test.db"


def _copy(source: Path | None, file: Path) -> None:
    file.parent.mkdir()
    if source is not None:
        shutil.copyfile(source, file)


def _remove(folder: Path) -> None:
    # Renamed first: a thread that still opens a connection would make a new file of that name.
    if folder.exists():
        shutil.rmtree(folder.rename(folder.with_suffix(".dropped")))


def _checkpoint(file: Path) -> bool:
    """https://sqlite.org/pragma.html#pragma_wal_checkpoint."""
    with closing(sqlite3.connect(file, timeout=_BUSY_TIMEOUT)) as connection:
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy
