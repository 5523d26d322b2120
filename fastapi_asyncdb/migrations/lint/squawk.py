"""Runs squawk, the linter for PostgreSQL's SQL, on the statements of revisions.

https://squawkhq.com/docs
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fastapi_asyncdb.errors import ConfigurationError, MissingExtra
from fastapi_asyncdb.migrations.lint.statements import Statement


@dataclass(frozen=True, slots=True)
class Complaint:
    """What squawk says about one statement."""

    rule: str
    statement: Statement
    message: str
    help: str | None


def run_squawk(revisions: Sequence[Sequence[Statement]], folder: Path) -> list[list[Complaint]]:
    """Return the complaints about each revision.

    Args:
        revisions: The statements of each.
        folder: Where the project is: its ``.squawk.toml`` counts.

    Raises:
        MissingExtra: squawk is not installed.
        ConfigurationError: squawk fails.
    """
    if not any(revisions):
        return [[] for _ in revisions]
    program = find_squawk()
    with TemporaryDirectory(prefix="asyncdb-lint-") as temporary:
        scripts = [_Script.of(statements) for statements in revisions]
        files = [str(Path(temporary, f"{number}.sql")) for number in range(len(scripts))]
        for file, script in zip(files, scripts, strict=True):
            Path(file).write_text(script.text, encoding="utf-8")
        found = _reports(program, files, folder)
    return [
        [script.complaint(report) for report in found if report["file"] == file]
        for file, script in zip(files, scripts, strict=True)
    ]


def find_squawk() -> str:
    """Return the program of the wheel, which is beside the interpreter, or one on ``PATH``."""
    beside = shutil.which("squawk", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("squawk")
    if found is None:
        raise MissingExtra(
            "The check of migrations runs squawk, which is not installed. Run: pip install "
            "'fastapi-asyncdb[lint]'. It has wheels for Linux with glibc, macOS, and Windows on x86."
        )
    return found


def _reports(program: str, files: list[str], folder: Path) -> list[dict[str, Any]]:
    done = subprocess.run(  # noqa: S603 - a program of this environment, and files of ours
        [program, "--reporter", "json", *files],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    try:
        reports: list[dict[str, Any]] = json.loads(done.stdout)
    except ValueError:
        said = (done.stderr or done.stdout).strip()
        raise ConfigurationError(
            f"squawk failed with exit code {done.returncode}: {said}. Its configuration is wrong, most "
            f"likely: look at the .squawk.toml of {folder}."
        ) from None
    return reports


@dataclass(frozen=True, slots=True)
class _Script:
    """The text of a revision, and the line at which each statement starts, counted from 0."""

    text: str
    statements: Sequence[Statement]
    starts: list[int]

    @classmethod
    def of(cls, statements: Sequence[Statement]) -> _Script:
        lines: list[str] = []
        starts: list[int] = []
        for statement, before in _with_ends(statements):
            lines += before
            starts.append(len(lines))
            lines += f"{statement.sql};".split("\n")
        return cls("\n".join([*lines, ""]), statements, starts)

    def complaint(self, report: dict[str, Any]) -> Complaint:
        number = max(bisect_right(self.starts, report["line"]) - 1, 0)
        return Complaint(
            report["rule_name"], self.statements[number], report["message"], report.get("help")
        )


def _with_ends(statements: Sequence[Statement]) -> Iterator[tuple[Statement, list[str]]]:
    """Return each statement with the ends and the begin of transactions before it."""
    current: int | None = None
    for statement in statements:
        before = []
        if statement.transaction != current:
            before += ["COMMIT;"] if current is not None else []
            before += ["BEGIN;"] if statement.transaction is not None else []
            current = statement.transaction
        yield statement, before
