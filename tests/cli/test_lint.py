"""``asyncdb lint``: what it prints, and how it ends."""

import json
import subprocess

import pytest

from tests.cli.conftest import Command, Project


@pytest.fixture(autouse=True)
def configured(project: Project) -> None:
    """The project has a configuration, and a revision that is safe."""
    project.configure()
    project.revise()


def test_says_what_blocks_and_the_safe_way(asyncdb: Command, project: Project):
    """An error ends it with 1; --since a revision looks at those after it."""
    project.revise(
        id="0002",
        after="0001",
        upgrade='op.create_index("products_name", "products", ["name"])',
        downgrade='op.drop_index("products_name")',
    )
    ended = asyncdb("lint", "--all", "--dialect", "postgresql")
    assert ended.code == 1
    assert "0002.py:11: error" in ended.words
    assert "postgresql_concurrently=True" in ended.words
    findings = json.loads(asyncdb("lint", "--all", "--dialect", "postgresql", "--json").out)
    assert {each["revision"] for each in findings} == {"0002"}
    clean = asyncdb("lint", "--since", "0002", "--dialect", "postgresql")
    assert (clean.code, clean.out) == (0, "Nothing was found.\n")


def test_looks_at_what_the_main_branch_lacks(asyncdb: Command, project: Project):
    """Without options: what git's main branch does not have."""
    for command in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-qm", "first"],
        ["switch", "-qc", "work"],
    ):
        subprocess.run(["git", *command], cwd=project.folder, check=True)
    project.revise(id="0002", after="0001", upgrade='op.drop_table("products")', downgrade="pass")
    findings = json.loads(asyncdb("lint", "--json").out)
    assert {each["revision"] for each in findings} == {"0002"}
