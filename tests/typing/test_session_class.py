"""A Database is generic over its session class; run by pytest only so that it imports."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, assert_type

from fastapi import Depends
from sqlalchemy.ext.asyncio import AsyncSession

from fastapi_asyncdb import Database, DatabaseSettings
from fastapi_asyncdb.testing import sandbox


class AuditedSession(AsyncSession):
    """A user's own session class."""

    def audit(self) -> int:
        return 1


async def note(session: AuditedSession, connection: Any) -> None:
    """An on_begin for it."""
    session.audit()


async def note_plain(session: AsyncSession, connection: Any) -> None:
    """An on_begin for any session."""


plain = Database()
audited = Database(session_class=AuditedSession, on_begin=note)

DB = Annotated[AsyncSession, Depends(plain.get_db)]
AuditedDB = Annotated[AuditedSession, Depends(audited.get_db)]


async def endpoint(db: DB, own: AuditedDB) -> None:
    """Aliases have the type that they name."""
    assert_type(db, AsyncSession)
    assert_type(own.audit(), int)


async def work(session: AuditedSession, number: int) -> str:
    """Work that run_in_transaction runs."""
    return str(number + session.audit())


@audited.transactional(attempts=2, isolation_level="SERIALIZABLE")
async def decorated(session: AuditedSession, number: int) -> str:
    """Work with a transaction of its own."""
    return str(number + session.audit())


@audited.transactional()
async def for_any(session: AsyncSession) -> bytes:
    """Work for any session."""
    return b""


async def sessions() -> None:
    """Sessions have the class that the Database was made with, AsyncSession by default."""
    assert_type(plain, Database)
    assert_type(plain, Database[AsyncSession])
    assert_type(audited, Database[AuditedSession])
    assert_type(plain.session(), AbstractAsyncContextManager[AsyncSession])
    async with audited.session(read_only=False) as session, audited.read_session() as reader:
        assert_type(session, AuditedSession)
        assert_type(reader, AuditedSession)
    async with sandbox(audited) as own:
        assert_type(own, AuditedSession)
    async with audited as entered:
        assert_type(entered, Database[AuditedSession])
    assert_type(await audited.run_in_transaction(work, 1), str)
    assert_type(await decorated(1), str)
    assert_type(await for_any(), bytes)
    assert_type(audited.get_db, Callable[[AuditedSession], Awaitable[AuditedSession]])
    assert_type(
        audited.dependency(isolation_level="SERIALIZABLE"),
        Callable[[AuditedSession], Awaitable[AuditedSession]],
    )
    assert_type(plain.get_db, Callable[[AsyncSession], Awaitable[AsyncSession]])


async def mistakes() -> None:
    """Other classes and other arguments are errors."""
    Database(session_class=int)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
    await plain.run_in_transaction(work, 1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await decorated("one")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def takes_plain(database: Database) -> None:
    """A function for a Database of plain sessions."""


def takes_any(database: Database[Any]) -> None:
    """A function for each Database."""


class OwnDatabase(Database[AuditedSession]):
    """A user's own subclass."""


def test_types() -> None:
    """The plain forms need no parameter, and a subclass names its own."""
    takes_plain(plain)
    takes_plain(Database(DatabaseSettings(url="sqlite://"), on_begin=note_plain))
    takes_any(audited)
    assert_type(OwnDatabase(session_class=AuditedSession).settings, DatabaseSettings | None)
