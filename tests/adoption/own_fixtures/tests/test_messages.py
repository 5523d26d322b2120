"""What starts too early is told by name; unittest runs without pytest."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent.parent


def test_fixtures_that_come_too_early_are_named(capsys):
    pytest.main(
        ["-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "--tb=short", str(PROJECT / "wrong")]
    )
    said = capsys.readouterr().out
    assert "4 errors" in said, said
    place = f"wrong{os.sep}conftest.py:15"
    assert f"The fixture 'started' ({place}) was about to start a Database on" in said
    assert "postgresql://nowhere.invalid/shop, which is not labelled" in said
    assert "Add asyncdb_session to the parameters of 'started'" in said
    assert "Add asyncdb_sync_sandbox to the parameters of 'client'" in said
    assert "and remove its scope 'module'" in said
    assert "to pytest.ini: asyncdb_allow_urls = postgresql://nowhere.invalid/shop" in said
    assert "by the fixture 'early'" in said
    assert "Add asyncdb_session to the parameters of 'early'" in said
    assert "Add asyncdb_sync_sandbox to the parameters of 'early_too'" in said


def test_unittest_runs_without_pytest():
    ended = subprocess.run(
        [sys.executable, "-m", "unittest", "-q", "unit.test_tags"],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert "Ran 4 tests" in ended.stdout
