"""Checked by mypy and pyright; run by pytest only so that it imports."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import assert_type

from fastapi import APIRouter, FastAPI
from pydantic import SecretStr
from sqlalchemy import URL, select
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
    install_read_your_writes,
    on_commit,
    on_rollback,
)
from fastapi_asyncdb.pool.status import ReplicaStatus


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
    settings = DatabaseSettings(host="localhost", port=5432, user="u", password="p", name="n")
    assert_type(settings.sqlalchemy_url("sync"), URL)
    database = Database(DatabaseSettings(url="sqlite://", pool_size=1))
    database.configure(settings)
    async with database as handle:
        assert_type(handle, Database)
        assert_type(handle.engine, AsyncEngine)
        assert_type(handle.read_engine, AsyncEngine)
        async with handle.sessionmaker() as made, handle.sessionmaker.begin() as begun:
            assert_type(made, AsyncSession)
            assert_type(begun, AsyncSession)
        async with handle.session() as session, handle.read_session() as reader:
            assert_type(session, AsyncSession)
            assert_type(reader, AsyncSession)


def read_your_writes(app: FastAPI, database: Database) -> None:
    """One secret or several, of any type that a setting may have; the options of a cookie by name."""
    install_read_your_writes(app, secret="s" * 16)
    install_read_your_writes(app, secret=SecretStr("s" * 16), cookie=None, header="X-Written")
    install_read_your_writes(app, secret=["s" * 16, b"s" * 16], database=database, samesite="none")


async def how_many(session: AsyncSession) -> int:
    """A read."""
    return 1


async def title(session: AsyncSession) -> str:
    """Another one."""
    return ""


async def side_by_side() -> None:
    """Each result keeps its type: one by one up to five, together beyond."""
    database = Database()
    assert_type(await database.gather(how_many), tuple[int])
    assert_type(await database.gather(how_many, title, limit=2), tuple[int, str])
    assert_type(
        await database.gather(how_many, title, how_many, title, how_many),
        tuple[int, str, int, str, int],
    )
    assert_type(await database.gather(*[how_many] * 9), tuple[int, ...])
    await database.gather(how_many(AsyncSession()))  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    assert_type(await database.ping(timeout=1), float)
    assert_type(database.pool_status().replicas, tuple[ReplicaStatus, ...])
    assert_type([replica.serves for replica in database.pool_status().replicas], list[bool])


async def set_tenant(session: AsyncSession, connection: HTTPConnection | None) -> None:
    """A user's on_begin."""


async def options() -> None:
    """Levels are checked by name, on_begin by its signature."""
    database = Database(on_begin=set_tenant)
    database.dependency(isolation_level="SERIALIZABLE", read_only=True, deferrable=True)
    async with database.session(isolation_level="REPEATABLE READ", lock_timeout=1) as session:
        assert_type(session, AsyncSession)
    database.dependency(isolation_levl="SERIALIZABLE")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    database.session(statement_timeout="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    database.transactional(isolation_level="SERIALIZABLE", deadline=None)
    database.transactional(isolation_levl="SERIALIZABLE")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    database.transactional(isolation_level="NONSENSE")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    async with database.session(isolation_level="SERIALISABLE"):  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        pass


async def send(address: str, *, urgent: bool = False) -> int:
    """A hook."""
    return len(address)


async def hooks(db: DB) -> None:
    """Hooks take any session, and what their function takes."""
    on_commit(db, send, "ada@example.org", urgent=True)
    on_rollback(db, print, "undone")
    await db.run_sync(lambda session: on_commit(session, print, "done"))
    on_commit(db, send, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    on_commit(db, send)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def rename(session: AsyncSession, thing_id: int, name: str) -> Thing:
    """Work that run_in_transaction runs."""
    return await session.get_one(Thing, thing_id)


@default_database.transactional(attempts=3, deadline=None)
async def count(session: AsyncSession, name: str, *, strict: bool = False) -> int:
    """Work with a transaction of its own."""
    return len(name)


def command() -> None:
    """The function of a script: its arguments and its result."""
    assert_type(default_database.run(count, "ada", strict=True), int)
    default_database.run(count, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    default_database.run(count)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def transactions() -> None:
    """Arguments are checked, and the result is what the work returns."""
    run = default_database.run_in_transaction
    assert_type(await run(rename, 1, "ada", attempts=3, deadline=2.5), Thing)
    assert_type(await count("ada", strict=True), int)
    await run(rename, 1, "ada", isolation_level="SERIALIZABLE", lock_timeout=0.5)
    await run(rename, 1, "ada", isolation_levl="SERIALIZABLE")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await run(rename, 1, "ada", isolation_level="NONSENSE")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await run(rename, "one", "ada")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await count(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


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
