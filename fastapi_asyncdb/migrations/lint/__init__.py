"""The linter of migrations: steps of new revisions that block requests, break code, or lose data."""

from fastapi_asyncdb.migrations.lint.finding import Finding, Level
from fastapi_asyncdb.migrations.lint.linter import lint
from fastapi_asyncdb.migrations.lint.selection import main_branch_of

__all__ = ["Finding", "Level", "lint", "main_branch_of"]
