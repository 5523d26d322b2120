"""Checked by mypy and pyright; run by pytest only so that it imports."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import assert_type

from fastapi import APIRouter, FastAPI
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import Mapped, mapped_column
from starlette.requests import HTTPConnection

from fastapi_asyncdb import (
    DB,
    Base,
    Database,
    DatabaseSettings,
    ReadDB,
    SnapshotDB,
    create_lifespan,
    db_lifespan,
    default_database,
)


class Thing(Base):
    __tablename__ = "typed_thing"
    id: Mapped[int] = mapped_column(primary_key=True)


async def endpoint(db: DB, reader: ReadDB, report: SnapshotDB) -> None:
    """DB, ReadDB and SnapshotDB are sessions."""
    assert_type(db, AsyncSession)
    assert_type(report, AsyncSession)
    assert_type(reader, AsyncSession)
    assert_type((await db.scalars(select(Thing))).one(), Thing)
    assert_type(await reader.get_one(Thing, 1), Thing)


async def job() -> None:
    """Sessions outside requests, and the engines."""
    database = Database(DatabaseSettings(url="sqlite://", pool_size=1))
    async with database as handle:
        assert_type(handle, Database)
        assert_type(handle.engine, AsyncEngine)
        assert_type(handle.read_engine, AsyncEngine)
        async with handle.session() as session, handle.read_session() as reader:
            assert_type(session, AsyncSession)
            assert_type(reader, AsyncSession)


async def set_tenant(session: AsyncSession, connection: HTTPConnection | None) -> None:
    """A user's on_begin."""


async def options() -> None:
    """Levels are checked by name, on_begin by its signature."""
    database = Database(on_begin=set_tenant)
    database.dependency(isolation_level="SERIALIZABLE", read_only=True, deferrable=True)
    async with database.session(isolation_level="REPEATABLE READ", lock_timeout=1) as session:
        assert_type(session, AsyncSession)
    async with database.session(isolation_level="SERIALISABLE"):  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        pass


@asynccontextmanager
async def own_lifespan(app: FastAPI) -> AsyncIterator[dict[str, int]]:
    """A user's lifespan with state."""
    yield {"answer": 42}


@asynccontextmanager
async def plain_lifespan(app: FastAPI) -> AsyncIterator[None]:
    """A user's lifespan without."""
    yield


def test_lifespans_are_accepted_where_fastapi_takes_them() -> None:
    """FastAPI and APIRouter take every lifespan of the library."""
    FastAPI(lifespan=db_lifespan)
    FastAPI(lifespan=default_database.lifespan)
    FastAPI(lifespan=create_lifespan(lifespan=own_lifespan))
    FastAPI(lifespan=create_lifespan(databases=[Database()], lifespan=plain_lifespan))
    APIRouter(lifespan=Database().lifespan)
