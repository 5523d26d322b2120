"""``Migrator``: runs Alembic's commands on the database of a project, one process at a time."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from os import PathLike
from pathlib import Path
from shutil import copyfile
from time import monotonic
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory

from fastapi_asyncdb.errors import MigrationError, SchemaNotMigrated
from fastapi_asyncdb.migrations.command_runner import CommandRunner
from fastapi_asyncdb.migrations.config import OWN_ENVIRONMENT, MigrationConfig, config_of
from fastapi_asyncdb.migrations.differences import (
    after_env,
    lines_of,
    missed_by_alembic,
    without_empty,
)
from fastapi_asyncdb.migrations.engines import Source, source_of
from fastapi_asyncdb.migrations.progress import AppliedRevision, Progress, steps_between
from fastapi_asyncdb.migrations.revisions import pending, scripts_of


class Migrator:
    """The migrations of one database.

    Args:
        config: Which revisions, and whose models.
        source: Where the database is; by default as the configuration's ``Database`` says.
        progress: Called for each revision that was applied.
    """

    def __init__(
        self,
        config: MigrationConfig | None = None,
        *,
        source: Source | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.config = MigrationConfig.load() if config is None else config
        self._source = source
        self._progress = progress

    @cached_property
    def scripts(self) -> ScriptDirectory:
        """Alembic's view of the revisions."""
        return scripts_of(self.config)

    @cached_property
    def _runner(self) -> CommandRunner:
        return CommandRunner(self.config, self.scripts, self._source)

    @property
    def connects_itself(self) -> bool:
        """Whether ``env.py`` opens a connection of its own, to a database that is not known here."""
        return not self._runner.takes_a_connection

    async def upgrade(
        self, revision: str = "head", *, wait: float | None = None
    ) -> list[AppliedRevision]:
        """Apply the revisions up to this one that the database lacks.

        One process at a time: others wait, and find nothing left to do. Each revision is a
        transaction. One that waits for a lock for longer than ``migration_lock_timeout`` is rolled back
        and tried again, five times altogether.

        Args:
            revision: A revision, ``head``, ``heads``, or ``+1``.
            wait: Seconds to wait for another process that migrates; ``None`` is no limit.

        Returns:
            The revisions that were applied, in their order.

        Raises:
            ConfigurationError: the configuration is wrong, or there is a pooler in between.
            DatabaseUnavailable: there is no connection.
            MigrationFailed: a revision failed; those before it stay.
            MigrationError: there is no such revision, or the lock is not free in time.
        """
        if revision == "head":
            self._refuse_several_heads()
        if revision in ("head", "heads") and not await self.pending():
            return []
        return await self._change(partial(command.upgrade, revision=revision), wait)

    async def downgrade(self, revision: str, *, wait: float | None = None) -> list[AppliedRevision]:
        """Undo the revisions after this one; as ``upgrade()`` otherwise.

        Args:
            revision: A revision, ``base``, or ``-1``.
            wait: Seconds to wait for another process that migrates; ``None`` is no limit.
        """
        return await self._change(partial(command.downgrade, revision=revision), wait)

    async def stamp(self, revision: str, *, purge: bool = False, wait: float | None = None) -> None:
        """Note that the database is at a revision, without running any.

        Args:
            revision: A revision, ``head``, ``heads`` or ``base``.
            purge: Forget what was noted before, for a database whose revisions are gone.
            wait: Seconds to wait for another process that migrates; ``None`` is no limit.
        """
        await self._change(partial(command.stamp, revision=revision, purge=purge), wait)

    async def current(self) -> tuple[str, ...]:
        """Return the revisions at which the database is: one, none, or one of each branch."""
        found: list[str] = []

        def look(heads: tuple[str, ...], context: Any) -> list[Any]:
            found.extend(heads)
            return []

        def run(config: Config) -> None:
            scripts = ScriptDirectory.from_config(config)
            with EnvironmentContext(config, scripts, fn=look, dont_mutate=True):
                scripts.run_env()

        await self._runner.look(run)
        return tuple(found)

    async def pending(self) -> str | None:
        """Return what the database lacks, for a message; ``None`` if it lacks no revision."""
        return pending(await self.current(), self.scripts)

    async def require(self) -> None:
        """Check that the database has every revision.

        Raises:
            SchemaNotMigrated: it lacks some.
        """
        lacks = await self.pending()
        if lacks:
            raise SchemaNotMigrated(
                f"The schema of the database is behind the code: {lacks} Run 'asyncdb upgrade' before "
                "the start, or start with create_lifespan(migrate=True)."
            )

    async def differences(self) -> list[str]:
        """Return the differences between the models and the database, a line for each.

        Raises:
            MigrationError: the database lacks revisions, or no models are configured.
        """
        tables = self.config.load_metadata()
        found: list[str] = []

        def note(directives: list[Any]) -> None:
            for operations in (each for script in directives for each in script.upgrade_ops_list):
                found.extend(lines_of(operations.as_diffs()))
            directives.clear()  # so that none is written

        process = after_env(note)
        await self._runner.look(
            partial(command.revision, autogenerate=True, process_revision_directives=process)
        )
        async with self._runner.connection() as connection:
            for metadata in tables:
                found += await connection.run_sync(missed_by_alembic, metadata)
        return list(dict.fromkeys(found))

    async def revision(
        self, message: str = "", *, autogenerate: bool = True, **options: Any
    ) -> Path | None:
        """Write a new revision.

        Args:
            message: Its first line, and a part of the file's name.
            autogenerate: Compare the models with the database, which has to be at the newest revision.
            **options: For ``alembic.command.revision``: ``head``, ``splice``, ``branch_label``,
                ``rev_id``, ``depends_on``.

        Returns:
            Its file; ``None`` if there is no difference to write.
        """
        written: list[Any] = []

        def run(config: Config) -> None:
            made = command.revision(
                config,
                message or None,
                autogenerate=autogenerate,
                process_revision_directives=after_env(without_empty) if autogenerate else None,
                **options,
            )
            written.extend(made if isinstance(made, list) else [made])

        self._provide_template()
        if autogenerate:
            await self._runner.look(run)
        else:
            self._runner.run_offline(run)
        del self.scripts, self._runner  # which do not know the new one
        paths = [Path(script.path) for script in written if script is not None]
        return paths[0] if paths else None

    def sql(self, revision: str = "head", *, start: str | None = None) -> str:
        """Return the SQL of an upgrade, without a connection.

        Args:
            revision: Up to this one.
            start: From this one; by default from an empty database.
        """
        buffer = io.StringIO()
        target = f"{start}:{revision}" if start else revision
        run = partial(command.upgrade, revision=target, sql=True)
        self._runner.run_offline(run, output_buffer=buffer)
        return buffer.getvalue()

    async def _change(
        self, run: Callable[[Config], object], wait: float | None
    ) -> list[AppliedRevision]:
        if self._runner.calls_run_env:
            return await self._runner.change(run, progress=self._progress, wait=wait)
        before, since = await self.current(), monotonic()
        await self._runner.change(run, progress=None, wait=wait)
        steps = steps_between(self.scripts, before, await self.current(), monotonic() - since)
        if self._progress is not None:
            for each in steps:
                self._progress(each)
        return steps

    def _provide_template(self) -> None:
        """Copy the template of revisions into a folder that has an ``env.py`` alone."""
        path = Path(self.scripts.dir, "script.py.mako")
        if not path.exists():
            copyfile(OWN_ENVIRONMENT / path.name, path)

    def _refuse_several_heads(self) -> None:
        heads: Sequence[str] = self.scripts.get_heads()
        if len(heads) > 1:
            raise MigrationError(
                f"The migrations have {len(heads)} heads: {', '.join(sorted(heads))}. Two branches have "
                "each added a revision: join them with 'asyncdb merge', or upgrade to 'heads'."
            )


def migrator_of(database: object, *, file: str | PathLike[str] | None = None) -> Migrator:
    """Return the migrations of a ``Database``, on the database that it uses.

    Args:
        database: The ``Database``.
        file: As in ``MigrationConfig.load()``.
    """
    return Migrator(config_of(database, file=file), source=source_of(database))
