import os

import pytest

# In a project of your own this is a line of the environment: TEST_DATABASE_URL, or asyncdb_backend.
if os.environ["ADOPTION_DATABASE_URL"].startswith("postgresql"):
    os.environ["TEST_DATABASE_URL"] = os.environ["ADOPTION_DATABASE_URL"]


@pytest.fixture
def anyio_backend():
    return "asyncio"
