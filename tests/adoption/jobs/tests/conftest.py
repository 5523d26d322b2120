import os

import pytest

os.environ["DATABASE_URL"] = os.environ["ADOPTION_DATABASE_URL"]
os.environ["DATABASE_ENVIRONMENT"] = "test"

from fastapi_asyncdb import Base
from shop.database import database


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def create_tables() -> None:
    await database.start(create_tables=Base.metadata)
    await database.stop()


@pytest.fixture(scope="session", autouse=True)
def _tables() -> None:
    database.run(create_tables)
