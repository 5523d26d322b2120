import os

import pytest
from sqlalchemy import make_url

url = make_url(os.environ["ADOPTION_DATABASE_URL"])
os.environ["DATABASE_URL"] = url.render_as_string(hide_password=False)
os.environ["DATABASE_ENVIRONMENT"] = "test"

from fastapi_asyncdb import Base  # noqa: E402
from fastapi_asyncdb.testing import async_client, sandbox  # noqa: E402
from shop.app import app  # noqa: E402
from shop.database import database  # noqa: E402


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def client():
    await database.start(create_tables=Base.metadata)
    try:
        async with async_client(app) as client, sandbox(database):
            yield client
        assert database.pool_status().in_use == 0
    finally:
        await database.stop()
