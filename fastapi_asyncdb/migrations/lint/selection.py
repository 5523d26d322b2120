"""Which revisions are new: since a revision, or since a branch or commit of git."""

from __future__ import annotations

import subprocess
from pathlib import Path

from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError

from fastapi_asyncdb.errors import ConfigurationError

_MAIN_BRANCHES = ("origin/HEAD", "origin/main", "origin/master", "main", "master")


def new_revisions(scripts: ScriptDirectory, since: str | None) -> list[Script]:
    """Return the revisions to check, from the oldest.

    Args:
        scripts: The directory of the revisions.
        since: A revision, whose followers are new; or a branch or commit of git, for the revisions whose
            files were added after the work left it. ``None`` is all.

    Raises:
        ConfigurationError: ``since`` is neither.
    """
    revisions = list(scripts.walk_revisions())[::-1]
    if since is None:
        return revisions
    old = _up_to(scripts, since)
    if old is not None:
        return [script for script in revisions if script.revision not in old]
    folders = {Path(script.path).resolve().parent for script in revisions}
    added = {file for folder in folders for file in _added_files(folder, since)}
    return [script for script in revisions if Path(script.path).resolve() in added]


def main_branch_of(config: Config) -> str | None:
    """Return the main branch of the repository that the revisions are in: the server's, or one here.

    Args:
        config: The project's Alembic configuration.

    Returns:
        ``origin/HEAD``, ``origin/main``, ``origin/master``, ``main`` or ``master``, the first that there
        is; ``None`` if there is none of them, no repository, or no revision.
    """
    newest = next(ScriptDirectory.from_config(config).walk_revisions(), None)
    if newest is None:
        return None
    folder = Path(newest.path).parent
    return next((name for name in _MAIN_BRANCHES if _commit(folder, name) is not None), None)


def _up_to(scripts: ScriptDirectory, name: str) -> set[str] | None:
    """Return a revision and those before it; ``None`` if there is no such revision."""
    if name == "base":
        return set()
    try:
        known = any(scripts.get_revisions(name)) if name else False
    except CommandError:
        return None
    return {it.revision for it in scripts.iterate_revisions(name, "base")} if known else None


def _added_files(folder: Path, since: str) -> set[Path]:
    commit = _commit(folder, since)
    if commit is None:
        raise ConfigurationError(
            f"There is no revision {since!r}, nor a branch or commit of that name in the repository of "
            f"{folder}. A checkout of one branch only has no other, most likely: fetch it "
            f"('git fetch origin {since.removeprefix('origin/')}'; fetch-depth: 0 of actions/checkout), "
            "or name a revision."
        )
    base = _git(folder, "merge-base", commit, "HEAD")
    if base is None:
        raise ConfigurationError(
            f"{since} and HEAD of the repository of {folder} have no commit in common that is here. A "
            "shallow clone ends before it, most likely: run 'git fetch --unshallow', or name a revision."
        )
    # From the working tree's point of view: committed, staged, or not yet known to git.
    added = (
        _git(folder, "diff", "--name-only", "-z", "--diff-filter=A", "--find-renames", base) or ""
    )
    unknown = _git(folder, "ls-files", "-z", "--others", "--exclude-standard", "--full-name") or ""
    top = Path(_git(folder, "rev-parse", "--show-toplevel") or folder)
    return {(top / name).resolve() for name in (added + "\0" + unknown).split("\0") if name}


def _commit(folder: Path, name: str) -> str | None:
    return _git(
        folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"
    )


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints; ``None`` if it fails or is not installed."""
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program; names follow --end-of-options
            ["git", "-C", folder, *arguments],  # noqa: S607 - git is where PATH says
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip("\n") if done.returncode == 0 else None
