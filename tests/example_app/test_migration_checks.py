"""The checks that the testing kit has for every project's migrations, on those of the example."""

import pytest
from pydantic import SecretStr

from fastapi_asyncdb.testing.migrations import *  # noqa: F403 - that is how a project takes them
from fastapi_asyncdb.testing.migrations import Migrations
from tests.example_app.conftest import ROOT
from tests.example_app.test_migrations import _tables
from tests.support.databases import ONE_DRIVER

pytestmark = pytest.mark.databases(*ONE_DRIVER)


@pytest.fixture
def asyncdb_migrations(database_url: str) -> Migrations:
    """The plugin has it from the configuration; here it is on both databases."""
    ini = ROOT / "example_app" / "alembic.ini"
    return Migrations(ini, SecretStr(database_url), metadata=_tables(), since="0002")
