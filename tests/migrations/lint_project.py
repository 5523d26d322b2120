"""Writes the revisions of a project, and lints them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from alembic.config import Config
from sqlalchemy import MetaData

from fastapi_asyncdb.migrations.lint import Finding, lint

_HEAD = """\
import sqlalchemy as sa
from alembic import op
from fastapi_asyncdb.migrations import backfill
revision, down_revision = {revision!r}, {before!r}
"""
_DOWNGRADE = """
def downgrade():
    raise NotImplementedError
"""


class LintProject:
    """A folder of revisions, without an env.py.

    Args:
        folder: Where to write them.
    """

    def __init__(self, folder: Path) -> None:
        self.versions = folder / "migrations" / "versions"
        self.versions.mkdir(parents=True)
        self.config = Config()
        self.config.set_main_option("script_location", str(folder / "migrations"))

    def write(self, revision: str, body: str, *, after: str | None = None) -> Path:
        """Write a revision; ``body`` is its functions, or the statements of its upgrade only."""
        body = textwrap.dedent(body).strip()
        if "def upgrade" not in body:
            body = "def upgrade():\n" + textwrap.indent(body, "    ")
        if "def downgrade" not in body:
            body += _DOWNGRADE
        path = self.versions / f"{revision}_step.py"
        path.write_text(_HEAD.format(revision=revision, before=after) + body + "\n")
        return path

    def lint(
        self,
        *,
        since: str | None = None,
        dialect: str = "postgresql",
        metadata: Sequence[MetaData] = (),
    ) -> list[Finding]:
        """Lint the revisions."""
        return lint(self.config, since=since, dialect=dialect, metadata=metadata)

    def rules(
        self,
        body: str,
        *,
        dialect: str = "postgresql",
        metadata: Sequence[MetaData] = (),
    ) -> list[str]:
        """Return the names of the rules that find something in one revision."""
        self.write("a", body)
        return [finding.rule for finding in self.lint(dialect=dialect, metadata=metadata)]
