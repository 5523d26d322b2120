"""One suite for both: with ``TestClient``, as the template's own."""

from importlib import import_module
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from sqlmodel import Session, select

from fastapi_asyncdb import Database, DatabaseSettings
from models import Book, Shelf


@pytest.fixture
def shelf(db: Session) -> Shelf:
    """A shelf of this test."""
    shelf = Shelf(name=uuid4().hex)
    db.add(shelf)
    db.commit()
    db.refresh(shelf)
    return shelf


@pytest.fixture
def book(client: TestClient, shelf: Shelf) -> dict:
    """A book on it, as the client sees it."""
    body = {"title": "Emma", "shelf_id": str(shelf.id)}
    created = client.post("/books", json=body)
    assert created.status_code == 201
    return created.json()


def test_books_are_created(db: Session, shelf: Shelf, book: dict) -> None:
    """What the client got is stored."""
    stored = db.exec(select(Book).where(Book.shelf_id == shelf.id)).one()
    assert (str(stored.id), stored.title) == (book["id"], book["title"])


def test_books_are_listed(client: TestClient, shelf: Shelf, book: dict) -> None:
    """With their count."""
    listed = client.get(f"/shelves/{shelf.id}/books")
    assert listed.json() == {"data": [book], "count": 1}


def test_books_are_renamed(client: TestClient, db: Session, shelf: Shelf, book: dict) -> None:
    """The answer and the row have the new title."""
    renamed = client.put(f"/books/{book['id']}", json={"title": "Persuasion"})
    assert renamed.json() == book | {"title": "Persuasion"}
    assert db.exec(select(Book.title).where(Book.shelf_id == shelf.id)).one() == "Persuasion"


def test_shelves_are_deleted(client: TestClient, db: Session, shelf: Shelf, book: dict) -> None:
    """With their books."""
    assert client.delete(f"/shelves/{shelf.id}").status_code == 204
    assert db.exec(select(Book).where(Book.shelf_id == shelf.id)).all() == []


def test_what_is_missing_is_404(client: TestClient) -> None:
    """Shelves and books."""
    missing = uuid4()
    assert client.delete(f"/shelves/{missing}").status_code == 404
    assert client.put(f"/books/{missing}", json={"title": "None"}).status_code == 404
    body = {"title": "None", "shelf_id": str(missing)}
    assert client.post("/books", json=body).status_code == 404


def test_initial_data(side: str, db: Session) -> None:
    """The script adds the first shelf, once."""
    script = import_module(f"{side}.initial_data")
    for _ in range(2):
        script.main()
    assert len(db.exec(select(Shelf).where(Shelf.name == "Novels")).all()) == 1


async def test_the_library_reads_the_same_variables(tables: None) -> None:
    """So that ``Settings`` may lose its fields: the shelves are in this database too."""
    async with Database(DatabaseSettings()) as database, database.read_session() as session:
        assert (await session.scalars(select(Shelf))).all() is not None


async def test_the_folder_of_migrations_stays(tables: None) -> None:
    """``env.py`` has its own URL and engine; ``database.upgrade()`` runs it as it is."""
    database = import_module("after.core.db").database
    assert await database.upgrade(config="alembic.ini") == []
