"""What the models of advanced-alchemy leave behind in the database."""

import asyncio
import os
import shutil
from importlib import import_module
from pathlib import Path
from uuid import uuid4

import pytest
from advanced_alchemy.base import BigIntBase
from advanced_alchemy.extensions.fastapi import (
    AdvancedAlchemy,
    AlembicAsyncConfig,
    AlembicCommands,
    SQLAlchemyAsyncConfig,
)
from fastapi import FastAPI
from sqlalchemy import MetaData
from sqlalchemy.orm import Mapped

import schema
from fastapi_asyncdb import create_lifespan, default_database


class OldShelf(BigIntBase):
    __tablename__ = "shelves"
    metadata = MetaData()
    name: Mapped[str]


@pytest.mark.skipif(not schema.POSTGRESQL, reason="SQLite has no sequences")
async def test_keys_go_on_coming_from_the_sequence() -> None:
    """The column has no default of its own."""
    OldShelf.metadata.create_all(schema.engine)
    shelf = import_module("apps.advanced_alchemy.keys").Shelf(name="Novels")
    async with default_database, default_database.session() as session:
        session.add(shelf)
    assert shelf.id == 1


async def test_services_take_any_session() -> None:
    """So that routes can move before their services."""
    before = import_module("apps.advanced_alchemy.before")
    async with default_database, default_database.session() as session:
        author = await before.AuthorService(session=session).create({"name": uuid4().hex})
        await before.BookService(session=session).create(
            {"title": author.name, "author_id": author.id}
        )
    assert schema.stored(author.name)


async def test_both_start_with_one_application() -> None:
    """``AdvancedAlchemy`` wraps the lifespan of the application."""
    config = SQLAlchemyAsyncConfig(connection_string=os.environ["DATABASE_URL"])
    app = FastAPI(lifespan=create_lifespan())
    AdvancedAlchemy(config=config, app=app)
    async with app.router.lifespan_context(app):
        assert await default_database.ping() > 0


def test_its_folder_of_migrations_stays(tmp_path: Path) -> None:
    """With another ``env.py``, which knows the name of its table of versions."""
    folder, ini = tmp_path / "migrations", tmp_path / "migrations" / "alembic.ini"
    alembic = AlembicAsyncConfig(script_location=str(folder), script_config=str(ini))
    url = os.environ["DATABASE_URL"]
    commands = AlembicCommands(SQLAlchemyAsyncConfig(connection_string=url, alembic_config=alembic))
    commands.init(str(folder))
    commands.revision("first")
    commands.upgrade()
    env = import_module("apps.advanced_alchemy").__path__[0]
    shutil.copy(f"{env}/migrations/env.py", folder)
    ini.write_text(f"[alembic]\nscript_location = {folder}\n")
    assert asyncio.run(default_database.upgrade(config=ini)) == []
