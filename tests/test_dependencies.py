"""Dependencies as users declare and override them."""

from collections.abc import AsyncIterator
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import DB, Database, DatabaseSettings, ReadDB, get_db, get_read_db
from tests.support.application import Base, Note, client
from tests.support.databases import ONE_DRIVER

pytestmark = pytest.mark.databases(*ONE_DRIVER)


async def test_override_replaces_the_session_everywhere(database_url: str):
    """app.dependency_overrides[get_db] reaches DB, whether the override returns or yields."""
    app = FastAPI()

    @app.post("/")
    async def write(db: DB, reader: ReadDB) -> bool:
        db.add(Note(text="written"))
        return db is reader

    database = Database(DatabaseSettings(url=database_url))
    await database.start(create_tables=Base.metadata)
    async with database.session() as mine:

        async def yielding() -> AsyncIterator[AsyncSession]:
            yield mine

        app.dependency_overrides[get_db] = lambda: mine
        app.dependency_overrides[get_read_db] = yielding
        async with client(app) as http:
            assert (await http.post("/")).json() is True
        assert await mine.scalar(select(func.count()).select_from(Note)) == 1
        await mine.rollback()
    await database.stop()


async def test_dependency_of_a_handle_is_always_the_same_object():
    """Overrides find it: a handle's get_db is one object."""
    database = Database()
    assert database.get_db is database.get_db
    assert database.get_db is not database.get_read_db
    assert database.dependency() is not database.dependency()


async def test_dependencies_show_no_parameters_in_the_openapi_schema(database: Database):
    """Clients see nothing of the session."""
    app = FastAPI()

    @app.get("/")
    async def endpoint(db: Annotated[AsyncSession, Depends(database.get_db)]) -> None: ...

    operation = app.openapi()["paths"]["/"]["get"]
    assert "parameters" not in operation
    assert "requestBody" not in operation
