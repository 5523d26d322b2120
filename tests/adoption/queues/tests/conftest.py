import os

import asyncpg
import pytest
from pgqueuer import AsyncpgDriver, Queries
from sqlalchemy import make_url

url = make_url(os.environ["ADOPTION_DATABASE_URL"]).set(drivername="postgresql")
os.environ["DATABASE_URL"] = url.render_as_string(hide_password=False)
os.environ["DATABASE_ENVIRONMENT"] = "test"

from fastapi_asyncdb import Base, DatabaseSettings  # noqa: E402
from shop.database import database, dsn  # noqa: E402
from shop.procrastinate_jobs import queue  # noqa: E402


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def create_tables() -> None:
    await database.start(create_tables=Base.metadata)
    await database.stop()
    async with queue.open_async():
        await queue.schema_manager.apply_schema_async()
    connection = await asyncpg.connect(dsn)
    await Queries(AsyncpgDriver(connection)).install()
    await connection.close()


@pytest.fixture(scope="session", autouse=True)
def _tables() -> None:
    database.run(create_tables)


@pytest.fixture(params=["asyncpg", "psycopg"])
async def _driver(request: pytest.FixtureRequest):
    drivername = f"postgresql+{request.param}"
    driver_url = url.set(drivername=drivername).render_as_string(hide_password=False)
    with database.override_settings(DatabaseSettings(url=driver_url)):
        yield
