"""The application and its folders of migrations, on the database that .env names."""

import pytest
from alembic.config import main
from alembic.util import CommandError
from fastapi_asyncdb import default_database
from fastapi_asyncdb.migrations import Migrator
from fastapi_asyncdb.testing import async_client

from shop.database import settings
from shop.main import app


@pytest.fixture(params=["alembic", "async"])
def alembic(request):
    """Run Alembic's own command with one of the two env.py; leave the database as it was."""

    def run(*arguments: str) -> None:
        main(argv=["-n", request.param, *arguments])

    yield run
    run("downgrade", "base")


def test_env_py_migrates(alembic, capsys) -> None:
    """Either env.py connects where the application does, and finds the schema as the models have it."""
    with pytest.raises((SystemExit, CommandError)):
        alembic("check")
    alembic("upgrade", "head")
    alembic("check")
    alembic("upgrade", "head", "--sql")
    assert "CREATE TABLE items" in capsys.readouterr().out


async def test_asyncdb_migrates_the_same_database() -> None:
    """Without a line of alembic.ini that names a URL; an env.py of one's own runs as it is."""
    migrator = Migrator()
    await migrator.upgrade()
    try:
        async with default_database, async_client(app) as client:
            assert (await client.post("/items", params={"name": "pen"})).status_code == 201
            assert (await client.get("/items")).json() == ["pen"]
            assert default_database.settings is settings
    finally:
        await migrator.downgrade("base")
