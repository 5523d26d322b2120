"""The commands that run revisions: ``upgrade``, ``downgrade``, ``stamp`` and ``sql``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fastapi_asyncdb.cli.console import console, counted, fail, note, say, write_json
from fastapi_asyncdb.cli.project import load_migrator, run

if TYPE_CHECKING:
    from fastapi_asyncdb.migrations import AppliedRevision, Migrator

Target = Annotated[
    str,
    typer.Argument(help="A revision or the beginning of one; head, heads, +1.", metavar="REVISION"),
]
Earlier = Annotated[
    str, typer.Argument(help="A revision or the beginning of one; base, -1.", metavar="REVISION")
]
Wait = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="How long to wait for another process that migrates."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def upgrade(
    context: typer.Context,
    revision: Target = "head",
    wait: Wait = None,
    *,
    as_json: Json = False,
) -> None:
    """Apply the revisions that the database lacks.

    One process migrates at a time: the others wait, and find nothing left to do. Each revision is a
    transaction; if one fails, those before it stay.
    """
    migrator = load_migrator(context, None if as_json else _show_revision)
    with _working(as_json):
        applied, current = run(_upgraded(migrator, revision, wait))
    _report(applied, current, as_json=as_json)


def downgrade(
    context: typer.Context, revision: Earlier, wait: Wait = None, *, as_json: Json = False
) -> None:
    """Undo the revisions after one; what their tables and columns contain is lost."""
    migrator = load_migrator(context, None if as_json else _show_revision)
    with _working(as_json):
        applied, current = run(_downgraded(migrator, revision, wait))
    _report(applied, current, as_json=as_json)


def stamp(
    context: typer.Context,
    revision: Annotated[
        str, typer.Argument(help="A revision, head, heads or base.", metavar="REVISION")
    ],
    wait: Wait = None,
    *,
    purge: Annotated[
        bool, typer.Option("--purge", help="Forget revisions that this code does not have.")
    ] = False,
) -> None:
    """Note that the database is at a revision, without running any."""
    migrator = load_migrator(context)
    run(migrator.stamp(revision, purge=purge, wait=wait))
    say(f"The database is noted to be at {revision}.")


def sql(
    context: typer.Context,
    revision: Target = "head",
    start: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="REVISION", help="Start after this one, not from an empty database."
        ),
    ] = None,
) -> None:
    """Print the SQL of an upgrade, without a connection."""
    typer.echo(load_migrator(context).sql(revision, start=start), nl=False)


async def _upgraded(
    migrator: Migrator, revision: str, wait: float | None
) -> tuple[Sequence[AppliedRevision], Sequence[str]]:
    return await migrator.upgrade(revision, wait=wait), await migrator.current()


async def _downgraded(
    migrator: Migrator, revision: str, wait: float | None
) -> tuple[Sequence[AppliedRevision], Sequence[str]]:
    return await migrator.downgrade(revision, wait=wait), await migrator.current()


@contextmanager
def _working(as_json: bool) -> Iterator[None]:  # noqa: FBT001 - private
    """Show on a terminal that a revision runs; say what an interrupt has left."""
    shown = nullcontext() if as_json or not sys.stderr.isatty() else _spinner()
    try:
        with shown:
            yield
    except KeyboardInterrupt:
        fail(
            "Interrupted. The revision that ran is rolled back, but for what it commits itself; those "
            "before it stay. Run the command again to go on."
        )
        raise


def _spinner() -> AbstractContextManager[object]:
    return console(stderr=True).status("Migrating")


def _show_revision(applied: AppliedRevision) -> None:
    say(f"  {applied.revision:<14}{applied.seconds:>8.2f} s  {applied.doc}")


def _report(applied: Sequence[AppliedRevision], current: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        result: dict[str, Any] = {
            "revisions": [asdict(each) for each in applied],
            "current": current,
        }
        write_json(result)
        return
    seconds = sum(each.seconds for each in applied)
    place = ", ".join(current) or "base: no revision is applied"
    if applied:
        note(f"{counted(len(applied), 'revision')} in {seconds:.2f} s.")
    say(
        f"The database is at {place}." if applied else f"Nothing to do: the database is at {place}."
    )
