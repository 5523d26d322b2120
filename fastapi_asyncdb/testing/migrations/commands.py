"""Alembic's commands on a test database: they cannot reach another one, nor change logging."""

from __future__ import annotations

import logging
import logging.config
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from alembic.config import Config
from pydantic import SecretStr
from sqlalchemy import make_url
from sqlalchemy.engine.interfaces import Dialect

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.dialects import parse_url
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.testing.databases.settings import settings_for
from fastapi_asyncdb.testing.engine_events import listening_on_engines
from fastapi_asyncdb.testing.threads import in_own_thread

# Arguments of drivers: of asyncpg, of psycopg, of those for MySQL.
_NAMES_DATABASE = ("database", "dbname", "db")


def run_alembic(
    file: Path,
    url: SecretStr,
    command: Callable[..., object],
    *arguments: Any,
    database: Database[Any] | None = None,
) -> None:
    """Run a command such as ``alembic.command.upgrade`` on the database at ``url``.

    ``env.py`` may take the URL from ``DATABASE_URL``, from ``sqlalchemy.url``, or from a ``Database``.

    Args:
        file: The project's alembic.ini.
        url: The test database.
        command: Called with the configuration and the arguments, in a thread without an event loop.
        *arguments: For the command: a revision.
        database: The ``Database`` that ``env.py`` may use.

    Raises:
        ConfigurationError: ``env.py`` connects to another database.
    """
    config = alembic_config(file, url)
    with ExitStack() as stack:
        stack.enter_context(_logging_kept())
        stack.enter_context(mock.patch.dict(os.environ, {"DATABASE_URL": url.get_secret_value()}))
        stack.enter_context(_refuse_other_databases(url, file))
        if database is not None:
            stack.enter_context(database.override_settings(settings_for(url, database)))
        try:
            in_own_thread(lambda: command(config, *arguments))
        except ConfigurationError as error:
            # Without the driver's frames: their variables contain the password, and reports show them.
            raise error.with_traceback(None) from None


def alembic_config(file: Path, url: SecretStr) -> Config:
    """Return the project's configuration, whose ``sqlalchemy.url`` is the test database."""
    config = Config(file)
    target = parse_url(url).url
    configured = config.get_main_option("sqlalchemy.url")
    if configured and make_url(configured).get_backend_name() == target.get_backend_name():
        # An env.py that is not asynchronous has its own driver.
        target = target.set(drivername=make_url(configured).drivername)
    config.set_main_option(
        "sqlalchemy.url", target.render_as_string(hide_password=False).replace("%", "%%")
    )
    return config


def _refuse_other_databases(url: SecretStr, file: Path) -> AbstractContextManager[None]:
    """Refuse each connection to another database, before anything is sent through it."""
    wanted = parse_url(url).url.database

    def check(
        dialect: Dialect, record: object, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        named = (options[name] for name in _NAMES_DATABASE if options.get(name))
        found = next(named, None) or next(iter(arguments), None)
        if found != wanted:
            raise ConfigurationError(
                f"The migrations of {file} were about to run on the database {found!r}, which is not "
                "the test database: env.py takes its URL from somewhere else. Let it read "
                "DATABASE_URL or config.get_main_option('sqlalchemy.url') whenever it runs."
            )

    # env.py makes its engine itself, so that the check is for every engine.
    return listening_on_engines({"do_connect": check})


@contextmanager
def _logging_kept() -> Iterator[None]:
    """Undo changes that ``env.py`` makes to logging.

    Alembic's template calls ``fileConfig``, which closes all handlers and disables all loggers.
    """
    root = logging.getLogger()
    known = [
        root,
        *(it for it in root.manager.loggerDict.values() if isinstance(it, logging.Logger)),
    ]
    before = [(it, it.level, it.disabled, it.propagate, list(it.handlers)) for it in known]
    try:
        with mock.patch.object(logging.config, "fileConfig"):
            yield
    finally:
        for logger, level, disabled, propagate, handlers in before:
            logger.setLevel(level)
            logger.disabled, logger.propagate = disabled, propagate
            logger.handlers[:] = handlers
