"""The command ``init``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastapi_asyncdb.cli.console import confirm, counted, fail, note, say
from fastapi_asyncdb.cli.options import options_of

if TYPE_CHECKING:
    from fastapi_asyncdb.cli.init.plan import Plan, Project
    from fastapi_asyncdb.cli.init.scripts import Scripts


def init(
    context: typer.Context,
    app: Annotated[
        str | None,
        typer.Option(metavar="MODULE:NAME", help="The FastAPI instance, or its factory()."),
    ] = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODULE",
            help="The module or package of the models, or MODULE:Base.metadata. May be repeated.",
        ),
    ] = None,
    *,
    tests: Annotated[bool, typer.Option(help="Configure the pytest plugin.")] = True,
    verify: Annotated[
        bool, typer.Option(help="Import the application and the models before anything is written.")
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the diff and stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Add migrations to an application that exists.

    Finds the FastAPI instance and the models in the sources, shows what it would add to
    pyproject.toml, the folder of the migrations and the configuration of pytest, and asks. Files that
    exist are extended, never overwritten; a folder of migrations that exists is adopted as it is.
    """
    # Imported with the command: the help of the others does not pay for it.
    from fastapi_asyncdb.cli.init.choice import choose
    from fastapi_asyncdb.cli.init.scripts import find_scripts

    options = options_of(context)
    project = choose(_folder(options.config), app, tuple(metadata or ()), options.database)
    if verify:
        _verify(project)
    scripts = find_scripts(project)
    plan = _plan(project, scripts, tests=tests)
    _show(plan)
    if not plan.edits:
        say("Nothing to write: everything is there.")
    elif not dry_run:
        confirm(f"Write {counted(len(plan.edits), 'file')}?", yes=yes)
        _write(plan)
        _say_what_follows(project, scripts)


def _folder(config: Path | None) -> Path:
    """Return the folder of the project: of the nearest pyproject.toml, inside of the repository."""
    if config is not None:
        return config.absolute().parent
    for folder in (here := Path.cwd(), *here.parents):
        if (folder / "pyproject.toml").is_file():
            return folder
        if (folder / ".git").exists():
            break
    return here


def _verify(project: Project) -> None:
    from fastapi_asyncdb.cli.init.verification import verify

    found = verify(project)
    for problem in found.problems:
        fail(problem)
    if found.problems:
        note("Nothing was written. Correct this, or skip the imports with --no-verify.")
        raise typer.Exit(1)
    models = ", ".join(project.metadata)
    note(
        f"Models: {models} ({counted(found.tables, 'table')}). Application: {project.app or 'none'}.",
        style="",
    )


def _plan(project: Project, scripts: Scripts, *, tests: bool) -> Plan:
    from fastapi_asyncdb.cli.init.plan import Plan
    from fastapi_asyncdb.cli.init.pytest import configure_pytest

    plan = Plan(project.folder)
    metadata = list(project.metadata)
    lines = project.objects | scripts.lines
    one_or_more = metadata[0] if len(metadata) == 1 else metadata
    plan.extend("pyproject.toml", project.table, {**lines, "metadata": one_or_more})
    scripts.add_to(plan)
    if tests and project.name is None:
        configure_pytest(plan, project, scripts)
    return plan


def _show(plan: Plan) -> None:
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for edit in plan.edits:
        for line in edit.diff(plan.folder):
            bold = line.startswith(("+++", "---"))
            say(line, "bold" if bold else styles.get(line[:1], ""))
    for text in plan.by_hand:
        note(text, "yellow")


def _write(plan: Plan) -> None:
    for edit in plan.edits:
        edit.write()
        verb = "Wrote" if edit.before is None else "Extended"
        note(f"{verb} {edit.path.relative_to(plan.folder)}.")


def _say_what_follows(project: Project, scripts: Scripts) -> None:
    database = f" --database {project.name}" if project.name else ""
    if scripts.adopted:
        say(f"The migrations of {scripts.ini or scripts.folder} are adopted. Now run:")
        say(f"  asyncdb{database} check")
        return
    say("Now run:")
    say(f'  asyncdb{database} revision -m "first tables"')
    say(f"  asyncdb{database} upgrade")
