"""What the promises are tested with: two tables, an application, a witness, an ASGI client."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI
from sqlalchemy import ForeignKey, ForeignKeyConstraint, MetaData, String, event, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.pool import Pool
from sqlalchemy.sql.compiler import DDLCompiler

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.engine.seam import runs_of
from fastapi_asyncdb.testing import async_client


class Base(DeclarativeBase):
    # MySQL has no text column without a length that can be compared and indexed like this one.
    type_annotation_map = {str: String(200)}  # noqa: RUF012 - SQLAlchemy's own


class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


class Reply(Base):
    """A reply to nothing is refused at COMMIT, and not before: the constraint is deferred.

    MySQL has no such constraints, and refuses the INSERT.
    """

    __tablename__ = "reply"
    id: Mapped[int] = mapped_column(primary_key=True)
    note_id: Mapped[int] = mapped_column(
        ForeignKey("note.id", deferrable=True, initially="DEFERRED")
    )


@compiles(ForeignKeyConstraint, "mysql", "mariadb")
def immediate(constraint: ForeignKeyConstraint, compiler: DDLCompiler, **options: Any) -> str:
    """Leave out what MySQL does not have."""
    written = compiler.visit_foreign_key_constraint(constraint, **options)
    return written.removesuffix(" DEFERRABLE INITIALLY DEFERRED")


class Counter(Base):
    __tablename__ = "counter"
    id: Mapped[int] = mapped_column(primary_key=True)
    value: Mapped[int]


def client(app: FastAPI) -> httpx.AsyncClient:
    """Return an HTTP client that talks to the application and sees its errors as responses."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


def running(app: FastAPI) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    """Run the application's lifespan and hand out a client that sees its errors as responses."""
    return async_client(app, raise_app_exceptions=False)


async def stored(database: Database) -> list[str]:
    """Return the texts that everybody can see, read on a connection of its own."""
    async with database.read_session() as session:
        return list(await session.scalars(select(Note.text).order_by(Note.id)))


@asynccontextmanager
async def with_tables(url: str, metadata: MetaData | None) -> AsyncIterator[Database]:
    """Run a database with tables; in the end every connection must be back in its pool."""
    database = Database(DatabaseSettings(url=url))
    await database.start(create_tables=metadata)
    try:
        yield database
        assert checked_out(database) == 0
    finally:
        await database.stop()


def pools_of(database: Database[Any]) -> set[Pool]:
    """Return the pools of a started database: two where readers have one of their own."""
    return runs_of(database).required().pools()


def checked_out(database: Database[Any]) -> int:
    """Return how many connections are in use."""
    return sum(pool.checkedout() for pool in pools_of(database))  # type: ignore[attr-defined]


def count_connects(database: Database) -> list[object]:
    """Collect the attempts to connect."""
    attempts: list[object] = []

    @event.listens_for(database.engine.sync_engine, "do_connect")
    def count(*arguments: object) -> None:
        attempts.append(arguments)

    return attempts


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds; thirty seconds are forever, on a busy machine too."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.01)


@dataclass
class Request:
    """One request, spoken in ASGI, for what no HTTP client shows: order, and leaving early."""

    app: FastAPI
    path: str
    method: str = "GET"
    spec_version: str = "2.3"
    """From 2.4 on, ``send`` raises when the client is gone; before, only ``receive`` tells."""
    on_send: Callable[[dict[str, Any]], Awaitable[None]] | None = None
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set it, and the client is gone."""
    sent: list[dict[str, Any]] = field(default_factory=list)

    async def run(self) -> None:
        await self.app(self._scope(), self._receive, self._send)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    def _scope(self) -> dict[str, Any]:
        path, _, query = self.path.partition("?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": self.spec_version},
            "http_version": "1.1",
            "method": self.method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [],
            "client": ("127.0.0.1", 1),
            "server": ("test", 80),
            "state": {},
        }

    async def _receive(self) -> dict[str, Any]:
        if not getattr(self, "_asked", False):
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if self.left.is_set() and self.spec_version >= "2.4":
            raise OSError("The client has left.")
        if self.on_send is not None:
            await self.on_send(message)
        self.sent.append(message)
