"""Requests use the test's session, by FastAPI's own overrides or by override_db."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import DB, Database, ReadDB, SnapshotDB, on_commit
from fastapi_asyncdb.testing import async_client, override_db
from tests.support.application import Note, stored
from tests.support.databases import ONE_DRIVER

pytestmark = pytest.mark.databases(*ONE_DRIVER)


def notes_app(database: Database) -> FastAPI:
    """An application that tells which session each kind of route has."""
    Writing = Annotated[AsyncSession, Depends(database.get_db)]
    Reading = Annotated[AsyncSession, Depends(database.get_read_db)]
    Snapshot = Annotated[AsyncSession, Depends(database.get_snapshot_db)]
    app = FastAPI()

    @app.get("/ids")
    async def ids(db: Writing, reader: Reading, report: Snapshot) -> list[int]:
        return [id(db), id(reader), id(report)]

    @app.post("/notes")
    async def write(db: Writing) -> None:
        db.add(Note(text="written"))

    return app


async def test_plain_override_is_enough(notes: Database):
    """A lambda, a function or an async generator: FastAPI's own way keeps working."""
    app = notes_app(notes)
    async with notes.session() as session:

        async def function() -> AsyncSession:
            return session

        async def generator() -> AsyncIterator[AsyncSession]:
            yield session

        for override in (lambda: session, function, generator):
            app.dependency_overrides[notes.get_db] = override
            async with async_client(app) as client:
                assert (await client.post("/notes")).status_code == 200
            assert len(session.new) == 1
            session.expunge_all()
    assert await stored(notes) == []


async def test_all_three_are_overridden_and_nothing_is_committed(notes: Database):
    """Writing, reading and snapshot routes share the session, whose end is the test's."""
    app = notes_app(notes)
    sent: list[str] = []
    async with notes.session() as session, async_client(app) as client:
        with override_db(app, session, database=notes):
            assert (await client.get("/ids")).json() == [id(session)] * 3
            on_commit(session, sent.append, "mail")
            await client.post("/notes")
            assert [note.text for note in session.new] == ["written"]
            assert sent == []
        assert id(session) not in (await client.get("/ids")).json()
        await session.rollback()
    assert await stored(notes) == []


async def test_default_handle_is_the_default():
    """DB, ReadDB and SnapshotDB need no argument, and no database."""
    app = FastAPI()

    @app.get("/ids")
    async def ids(db: DB, reader: ReadDB, report: SnapshotDB) -> list[int]:
        return [id(db), id(reader), id(report)]

    async with AsyncSession() as session, async_client(app) as client:
        with override_db(app, session):
            assert (await client.get("/ids")).json() == [id(session)] * 3
    assert app.dependency_overrides == {}


async def test_what_was_there_is_put_back():
    """Nested blocks, an exception, and an override that the user had set."""
    database = Database()
    app = FastAPI()
    own: dict[Any, Any] = {database.get_db: lambda: None, print: lambda: None}
    app.dependency_overrides.update(own)
    async with AsyncSession() as outer, AsyncSession() as inner:
        with override_db(app, outer, database=database):
            around = dict(app.dependency_overrides)
            with (
                pytest.raises(ZeroDivisionError),
                override_db(app, inner, database=database),
            ):
                assert app.dependency_overrides != around
                app.dependency_overrides.clear()
                raise ZeroDivisionError
            assert around.items() - app.dependency_overrides.items() == {(print, own[print])}
            app.dependency_overrides[print] = own[print]
    assert app.dependency_overrides == own


async def test_handle_without_autocommit_reads_has_two_of_them():
    """With on_begin there is no get_read_db to override."""

    async def on_begin(session: AsyncSession, connection: object) -> None:
        """Set nothing."""

    database = Database(on_begin=on_begin)
    app = FastAPI()
    async with AsyncSession() as session:
        with override_db(app, session, database=database):
            assert set(app.dependency_overrides) == {database.get_db, database.get_snapshot_db}
