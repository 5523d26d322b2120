"""Checks of a project's migrations, as tests: ``from fastapi_asyncdb.testing.migrations import *``.

They run on an empty database of the configured backend; ``asyncdb_alembic``, ``asyncdb_metadata`` and
``asyncdb_migrations_since`` in the configuration of pytest say what to check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.script import Script, ScriptDirectory
from pydantic import SecretStr
from sqlalchemy import Connection, MetaData

from fastapi_asyncdb.database import Database
from fastapi_asyncdb.dialects import parse_url
from fastapi_asyncdb.errors import ConfigurationError
from fastapi_asyncdb.migrations.differences import differences
from fastapi_asyncdb.migrations.lint import lint, main_branch_of
from fastapi_asyncdb.testing.databases.settings import settings_for
from fastapi_asyncdb.testing.migrations.commands import alembic_config, run_alembic
from fastapi_asyncdb.testing.migrations.reflection import Schema, changes, reflect
from fastapi_asyncdb.testing.threads import run_async

__all__ = [
    "test_migrations_are_safe",
    "test_models_match_migrations",
    "test_single_head",
    "test_up_down_up",
    "test_upgrade_from_empty",
]

T = TypeVar("T")


class Migrations:
    """The migrations of a project, and an empty database to run them on.

    Args:
        file: The project's alembic.ini.
        url: The database.
        metadata: The tables as the models have them.
        database: The ``Database`` that ``env.py`` may use.
        since: A revision, or a branch or commit of git: later revisions have to be safe. By default
            the main branch.

    Raises:
        ConfigurationError: there is no alembic.ini.
    """

    def __init__(
        self,
        file: Path | None,
        url: SecretStr,
        *,
        metadata: MetaData | None = None,
        database: Database[Any] | None = None,
        since: str | None = None,
    ) -> None:
        if file is None:
            raise ConfigurationError(
                "There are no migrations to check: the configuration of pytest has no line "
                'asyncdb_alembic. Add it: asyncdb_alembic = "alembic.ini".'
            )
        self._file = file
        self._url = url
        self._metadata = metadata
        self._database = database
        self._since = since
        self._scripts = ScriptDirectory.from_config(alembic_config(file, url))

    def check_heads(self) -> None:
        """Check that there is one newest revision.

        Raises:
            AssertionError: there are none or several.
        """
        heads = sorted(self._scripts.get_heads())
        if len(heads) != 1:
            raise AssertionError(
                f"The migrations have {len(heads)} heads{': ' if heads else ''}{', '.join(heads)}. "
                "Revisions that were made on two branches follow the same one, most likely. Let one "
                "follow the other in its down_revision, or run 'alembic merge heads'."
            )

    def check_upgrade(self) -> None:
        """Check that an empty database can be brought to the newest revision.

        Raises:
            AssertionError: a revision fails; its own error is the cause.
        """
        for revision in self._from_the_oldest():
            self._upgrade(revision, "on an empty database, after those before it")

    def check_models(self) -> None:
        """Check that the migrated tables are those of the models.

        Raises:
            AssertionError: they differ.
            ConfigurationError: no models are configured.
        """
        metadata = self._metadata
        if metadata is None:
            raise ConfigurationError(
                "There are no models to compare with: the configuration of pytest has no line "
                'asyncdb_metadata, and the Database no metadata. Add it: asyncdb_metadata = "app.models:'
                'Base.metadata".'
            )
        self._run(command.upgrade, "heads")
        found = self._ask(lambda connection: differences(connection, metadata))
        if found:
            raise AssertionError(
                "The migrated tables are not those of the models:\n"
                + "\n".join(f"  {line}" for line in found)
                + "\nA model was changed without a revision, or a revision lacks something. Run "
                "'alembic revision --autogenerate', and look at what it writes."
            )

    def check_safety(self) -> None:
        """Check that no step of a new revision blocks requests, breaks code or loses data.

        Raises:
            AssertionError: one does, and no mark in the revision says why it may.
            ConfigurationError: it is not known which revisions are new.
            MissingExtra: squawk is not installed, and the database is PostgreSQL.
        """
        config = alembic_config(self._file, self._url)
        since = self._since or main_branch_of(config)
        if since is None:
            raise ConfigurationError(
                "It is not known which migrations are new: they are in no repository of git, or in a "
                "checkout without a main branch. Fetch it ('git fetch origin main'; fetch-depth: 0 of "
                'actions/checkout), or name a revision: asyncdb_migrations_since = "base" checks all.'
            )
        found = lint(
            config,
            since=since,
            dialect=parse_url(self._url).url.get_backend_name(),
            metadata=() if self._metadata is None else (self._metadata,),
        )
        if found:
            raise AssertionError(
                f"{len(found)} steps of the migrations since {since} are unsafe:\n\n"
                + "\n\n".join(map(str, found))
                + "\n\nChange them as it says there. One that is safe here is marked in the revision, "
                "at its line: # asyncdb: safe(RULE): the reason"
            )

    def check_steps(self) -> None:
        """Check that each revision can be undone and done again, and leaves the same both times.

        Around branches and merges, where one revision cannot be undone alone, all are.

        Raises:
            AssertionError: a revision's downgrade or second upgrade fails or leaves something else.
        """
        if not self._is_linear():
            self._check_step("heads", "base", "All revisions together")
            return
        for revision in self._from_the_oldest():
            before = revision.down_revision or "base"
            self._check_step(revision.revision, str(before), _name(revision))

    def _check_step(self, above: str, below: str, name: str) -> None:
        before = self._ask(reflect)
        self._try(command.upgrade, above, f"{name}: the upgrade fails")
        after = self._ask(reflect)
        self._try(command.downgrade, below, f"{name}: the downgrade fails")
        self._compare(before, f"{name}: the downgrade does not undo the upgrade")
        self._try(command.upgrade, above, f"{name}: the upgrade fails after a downgrade")
        self._compare(after, f"{name}: the upgrade after a downgrade makes another schema")

    def _compare(self, wanted: Schema, fact: str) -> None:
        differences = changes(wanted, self._ask(reflect))
        if differences:
            raise AssertionError(
                f"{fact}:\n"
                + "\n".join(f"  {line}" for line in differences)
                + "\nUpgrade and downgrade of a revision mirror each other: correct its downgrade()."
            )

    def _upgrade(self, revision: Script, when: str) -> None:
        self._try(command.upgrade, revision.revision, f"{_name(revision)} fails {when}")

    def _try(self, step: Callable[..., object], revision: str, fact: str) -> None:
        try:
            self._run(step, revision)
        except ConfigurationError:
            raise
        except Exception as error:
            cause = str(getattr(error, "orig", None) or error)
            raise AssertionError(
                f"{fact}: {type(error).__name__}: {cause}. Its statement and the line that sent it are "
                "in the error above: correct the revision."
            ) from error

    def _run(self, step: Callable[..., object], revision: str) -> None:
        run_alembic(self._file, self._url, step, revision, database=self._database)

    def _ask(self, question: Callable[[Connection], T]) -> T:
        async def run() -> T:
            settings = settings_for(self._url, self._database)
            async with Database(settings) as database, database.engine.connect() as connection:
                return await connection.run_sync(question)

        return run_async(run)

    def _from_the_oldest(self) -> Iterator[Script]:
        return reversed(list(self._scripts.walk_revisions()))

    def _is_linear(self) -> bool:
        return not any(
            script.is_merge_point or script.is_branch_point or len(script.nextrev) > 1
            for script in self._scripts.walk_revisions()
        ) and (len(self._scripts.get_bases()) == 1)


def _name(revision: Script) -> str:
    return f"Revision {revision.revision} ({Path(revision.path).name})"


# --- The tests ------------------------------------------------------------------------------------


def test_single_head(asyncdb_migrations: Migrations) -> None:
    """There is one newest revision."""
    __tracebackhide__ = True
    asyncdb_migrations.check_heads()


def test_upgrade_from_empty(asyncdb_migrations: Migrations) -> None:
    """An empty database can be brought to the newest revision."""
    __tracebackhide__ = True
    asyncdb_migrations.check_upgrade()


def test_models_match_migrations(asyncdb_migrations: Migrations) -> None:
    """The migrated tables are those of the models."""
    __tracebackhide__ = True
    asyncdb_migrations.check_models()


def test_migrations_are_safe(asyncdb_migrations: Migrations) -> None:
    """New revisions block no requests, break no code that still runs, and lose no data."""
    __tracebackhide__ = True
    asyncdb_migrations.check_safety()


def test_up_down_up(asyncdb_migrations: Migrations) -> None:
    """Each revision can be undone and done again."""
    __tracebackhide__ = True
    asyncdb_migrations.check_steps()
