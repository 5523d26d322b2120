"""What tests of answers need of the database."""

import pytest

from fastapi_asyncdb import Database
from fastapi_asyncdb.dialects import json_of


@pytest.fixture
async def _builds_json(database: Database) -> None:
    """Skip a test on a database that builds no JSON: MySQL, of those that tests may run on."""
    if json_of(database.engine.dialect) is None:
        pytest.skip(f"{database!r} builds no JSON")
