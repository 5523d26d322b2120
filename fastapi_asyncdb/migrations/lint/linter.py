"""``lint``: checks revisions, and returns what is unsafe. Opens no connection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData

from fastapi_asyncdb.dialects.registry import family_of
from fastapi_asyncdb.migrations.lint.checks.copies import check_copies
from fastapi_asyncdb.migrations.lint.checks.downgrades import check_downgrade
from fastapi_asyncdb.migrations.lint.checks.loads import check_loads
from fastapi_asyncdb.migrations.lint.checks.old_code import check_mapped, check_plain
from fastapi_asyncdb.migrations.lint.checks.squawk_rules import check_squawk
from fastapi_asyncdb.migrations.lint.checks.transactions import check_transactions, check_updates
from fastapi_asyncdb.migrations.lint.finding import Finding
from fastapi_asyncdb.migrations.lint.marks import without_marked
from fastapi_asyncdb.migrations.lint.revision import COMMIT_EACH, Revision
from fastapi_asyncdb.migrations.lint.selection import new_revisions
from fastapi_asyncdb.migrations.lint.squawk import run_squawk


def lint(
    config: Config,
    *,
    since: str | None = None,
    dialect: str = "postgresql",
    metadata: Sequence[MetaData] = (),
) -> list[Finding]:
    """Return the unsafe steps of the revisions that are new.

    The SQL of each revision is rendered as ``alembic upgrade --sql`` does, without ``env.py`` and
    without a database. On PostgreSQL it is given to squawk as well.

    Args:
        config: The project's Alembic configuration.
        since: A revision, whose followers are checked; or a branch or commit of git, for the revisions
            whose files were added after the work left it. ``None`` checks all.
        dialect: The name of the dialect: ``postgresql``, ``sqlite``, ``mysql``, ``mariadb``,
            or one that was registered.
        metadata: The tables as the models have them: what is dropped while a model has it is found.

    Returns:
        The findings, from the oldest revision, without those that a mark in the revision answers for.

    Raises:
        ConfigurationError: ``since`` names nothing; squawk fails.
        MissingExtra: squawk is not installed, and the dialect is PostgreSQL.
    """
    scripts = ScriptDirectory.from_config(config)
    revisions = [
        Revision.of(config, scripts, script, dialect) for script in new_revisions(scripts, since)
    ]
    mapped = check_mapped(revisions, metadata)
    by_family = _by_family(revisions, family_of(dialect))
    return [
        finding
        for revision, special in zip(revisions, by_family, strict=True)
        for finding in without_marked(revision, _ordered(revision, special, mapped))
    ]


def _by_family(revisions: Sequence[Revision], family: str) -> list[list[Finding]]:
    if family == COMMIT_EACH:
        return [[*check_plain(revision), *check_copies(revision)] for revision in revisions]
    if family != "postgresql" or not revisions:
        return [list(check_plain(revision)) for revision in revisions]
    folder = revisions[-1].source.path.parent
    found = run_squawk([revision.upgrade.statements for revision in revisions], folder)
    return [
        list(check_squawk(revision, complaints))
        for revision, complaints in zip(revisions, found, strict=True)
    ]


def _ordered(
    revision: Revision, special: Sequence[Finding], mapped: Sequence[Finding]
) -> list[Finding]:
    """Return the findings of a revision by line; one of the models replaces that of the statement."""
    in_models = [it for it in mapped if it.revision == revision.id]
    replaced = {(it.line, it.statement) for it in in_models}
    kept = (
        it
        for it in special
        if not (it.rule.startswith("ban-drop-") and (it.line, it.statement) in replaced)
    )
    return sorted(chain(in_models, kept, _own(revision)), key=lambda it: it.line or 0)


def _own(revision: Revision) -> Iterator[Finding]:
    yield from check_transactions(revision)
    yield from check_updates(revision)
    yield from check_loads(revision)
    yield from check_downgrade(revision)
    failure = revision.upgrade.failure
    if failure is not None:
        yield revision.finding("not-checked", failure.line, f"There: {failure.reason}.")
