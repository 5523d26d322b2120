"""The tables that all applications find, and a way to look into them from outside."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import (
    Column,
    Connection,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    func,
    make_url,
    select,
)
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

ADDRESS = make_url(os.environ["ADOPTION_DATABASE_URL"])
POSTGRESQL = ADDRESS.get_backend_name() == "postgresql"
ASYNC, SYNC = (
    ("postgresql+asyncpg", "postgresql+psycopg") if POSTGRESQL else ("sqlite+aiosqlite", "sqlite")
)
URL = ADDRESS.set(drivername=ASYNC).render_as_string(hide_password=False)

metadata = MetaData()
authors = Table(
    "authors",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String, nullable=False, unique=True),
)
# A deferred constraint is checked by COMMIT: a way to make that fail.
author = ForeignKey("authors.id", deferrable=True, initially="DEFERRED")
books = Table(
    "books",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("title", String, nullable=False),
    Column("author_id", Integer, author, nullable=False),
)
engine = create_engine(ADDRESS.set(drivername=SYNC), poolclass=NullPool)


@event.listens_for(Engine, "connect")
def enforce_foreign_keys(connection, record) -> None:
    """SQLite checks them only where a connection asks for it."""
    if not POSTGRESQL:
        connection.execute("PRAGMA foreign_keys = ON")


@contextmanager
def looking() -> Iterator[Connection]:
    """Connect beside the application."""
    with engine.connect() as connection:
        yield connection


def stored(title: str) -> bool:
    """Return whether a book of this title was committed."""
    with looking() as connection:
        count = select(func.count()).select_from(books).where(books.c.title == title)
        return bool(connection.scalar(count))
