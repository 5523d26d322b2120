"""Nothing needs ``Base``: dataclasses, SQLModel, plain declarative classes, and all mixins at once."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import pytest
import sqlmodel
from fastapi import Depends, FastAPI
from sqlalchemy import MetaData, String, event, func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, mapped_column
from sqlalchemy.orm.exc import StaleDataError
from sqlmodel import Field, SQLModel
from sqlmodel.ext.asyncio.session import AsyncSession as SQLModelSession

from fastapi_asyncdb import (
    Base,
    Database,
    DatabaseSettings,
    Repository,
    SoftDeleteMixin,
    TimestampMixin,
    UUIDMixin,
    VersionMixin,
)
from fastapi_asyncdb.concurrency import await_only
from fastapi_asyncdb.errors import ConcurrentSessionUse, RollbackTimeout
from fastapi_asyncdb.models import UTCDateTime, uuid7
from tests.models.tables import create
from tests.support.application import checked_out, eventually, running
from tests.support.grace import shorten


class Everything(UUIDMixin, TimestampMixin, SoftDeleteMixin, VersionMixin):
    """All mixins at once."""


class WithBase(Everything, Base):
    __tablename__ = "with_base"
    metadata = MetaData()
    name: Mapped[str] = mapped_column(String(200))


class Plain(DeclarativeBase):
    type_annotation_map = {str: String(200)}  # noqa: RUF012 - SQLAlchemy's own


class WithPlain(Everything, Plain):
    __tablename__ = "with_plain"
    name: Mapped[str]


class Data(MappedAsDataclass, DeclarativeBase):
    type_annotation_map = {str: String(200)}  # noqa: RUF012 - SQLAlchemy's own


class WithData(Everything, Data):
    __tablename__ = "with_data"
    name: Mapped[str]


class WithSQLModel(Everything, SQLModel, table=True):
    metadata = MetaData()
    name: str


class Hero(SQLModel, TimestampMixin, SoftDeleteMixin, VersionMixin, table=True):
    """As docs/models.md writes it: what Pydantic is to know is a field of the class itself."""

    metadata = MetaData()
    id: UUID = Field(default_factory=uuid7, primary_key=True)
    name: str
    born: datetime | None = Field(default=None, sa_type=UTCDateTime)


CLASSES: list[Any] = [WithBase, WithPlain, WithData, WithSQLModel]


@pytest.mark.parametrize("class_", CLASSES, ids=lambda class_: class_.__name__)
async def test_all_mixins_at_once(database: Database, class_: Any):
    """Each does its work in each kind of class."""
    await create(database, class_.metadata)
    async with database.session() as session:
        thing = class_(name="new")
        session.add(thing)
        await session.flush()
        assert (thing.id.version, thing.version, thing.deleted_at) == (7, 1, None)
        created, updated = thing.created_at, thing.updated_at
        thing.name = "changed"
        await session.flush()
        assert thing.created_at == created <= updated < thing.updated_at
        thing.mark_deleted()
        await session.commit()
        assert (thing.version, thing.is_deleted) == (3, True)
        assert await session.scalar(select(func.count()).select_from(class_)) == 0
        thing.restore()
        await session.commit()
    async with database.read_session() as reader:
        stale = await reader.get_one(class_, thing.id)
        reader.expunge(stale)
    async with database.session() as session:
        (await session.get_one(class_, thing.id)).name = "first"
    with pytest.raises(StaleDataError):
        async with database.session() as session:
            session.add(stale)
            stale.name = "second"


def test_columns_of_mixins_are_no_fields():
    """Of a dataclass or a SQLModel: they are not given, and not part of ``repr`` or of a response."""
    assert repr(WithData(name="x")).endswith("WithData(name='x')")
    assert WithSQLModel(name="x").model_dump() == {"name": "x"}
    assert set(WithSQLModel.model_fields) == {"name"}


@pytest.mark.databases("sqlite")
async def test_repository_refuses_a_name_that_sqlmodel_would_ignore(database: Database):
    """A misspelt attribute is an error on every base."""
    async with database.session() as session:
        for class_ in CLASSES:
            with pytest.raises(TypeError, match="nmae"):
                await Repository[class_](session).create(nmae="x")  # type: ignore[valid-type]


# --- SQLModel's session ---------------------------------------------------------------------------


@pytest.fixture
async def heroes(database_url: str):
    """A ``Database`` with SQLModel's session class, and one hero."""
    database = Database(DatabaseSettings(url=database_url), session_class=SQLModelSession)
    async with database:
        await create(database, Hero.metadata)
        async with database.session() as session:
            session.add(Hero(name="Ada", born=datetime(1815, 12, 10, tzinfo=UTC)))
        yield database
        assert checked_out(database) == 0


async def read(session: SQLModelSession) -> list[str]:
    """Read the names of the heroes."""
    return list((await session.exec(sqlmodel.select(Hero.name))).all())


async def test_exec_reads_and_writes(heroes: Database[SQLModelSession]):
    """In sessions of all kinds; nothing of ours is deprecated, since warnings are errors here."""
    async with heroes.session() as session:
        hero = (await session.exec(sqlmodel.select(Hero))).one()
        assert hero.born == datetime(1815, 12, 10, tzinfo=UTC)
        hero.name = "Grace"
        assert await read(session) == ["Grace"]
        hero.mark_deleted()
        assert await read(session) == []
        hero.restore()
    async with heroes.read_session() as reader:
        assert await read(reader) == ["Grace"]


async def test_exec_in_requests(heroes: Database[SQLModelSession]):
    """``DB`` and ``ReadDB`` of such a ``Database``."""
    app = FastAPI()

    @app.post("/heroes")
    async def add(name: str, db: Annotated[SQLModelSession, Depends(heroes.get_db)]) -> Hero:
        hero = Hero(name=name)
        db.add(hero)
        await db.flush()
        return hero

    @app.get("/heroes")
    async def names(db: Annotated[SQLModelSession, Depends(heroes.get_read_db)]) -> list[str]:
        return sorted(await read(db))

    async with running(app) as http:
        posted = (await http.post("/heroes", params={"name": "Grace"})).json()
        assert UUID(posted["id"]).version == 7
        assert (await http.get("/heroes")).json() == ["Ada", "Grace"]


@pytest.mark.promise("T15")
@pytest.mark.parametrize("begun", [False, True], ids=["first", "later"])
async def test_two_tasks_in_exec(heroes: Database[SQLModelSession], begun: bool):
    """The second one is refused, as with SQLAlchemy's own methods."""
    async with heroes.session() as session:
        if begun:
            await read(session)
        results = await asyncio.gather(read(session), read(session), return_exceptions=True)
        assert [type(result) for result in results] == [list, ConcurrentSessionUse]
        assert await read(session) == ["Ada"]


@pytest.mark.promise("T15")
async def test_exec_beside_another_method(heroes: Database[SQLModelSession]):
    """Whichever comes first."""

    async def count(session: AsyncSession) -> int:
        return await session.scalar(select(func.count()).select_from(Hero)) or 0

    async with heroes.session() as session:
        for first, second in ((read, count), (count, read)):
            results = await asyncio.gather(first(session), second(session), return_exceptions=True)
            assert isinstance(results[1], ConcurrentSessionUse)
        assert await read(session) == ["Ada"]


@pytest.mark.promise("T17", "T19")
async def test_reading_exec_returns_its_connection(heroes: Database[SQLModelSession]):
    """Before the caller goes on with anything else; also after an error."""
    async with heroes.read_session() as reader:
        assert await read(reader) == ["Ada"]
        assert checked_out(heroes) == 0
        with pytest.raises(DBAPIError):
            await reader.exec(sqlmodel.text("SELECT nothing_there"))  # type: ignore[call-overload]
        assert checked_out(heroes) == 0


async def test_failed_exec_lets_the_session_go_on(heroes: Database[SQLModelSession]):
    """Its turn ends with it: the same task rolls back and goes on."""
    async with heroes.session() as session:
        try:
            await session.exec(sqlmodel.text("SELECT nothing_there"))  # type: ignore[call-overload]
        except DBAPIError:
            await session.rollback()
        assert await read(session) == ["Ada"]
        session.add(Hero(name="Grace"))
    async with heroes.read_session() as reader:
        assert len(await read(reader)) == 2


@pytest.mark.promise("T2")
async def test_exec_that_outlives_its_session(
    heroes: Database[SQLModelSession], monkeypatch: pytest.MonkeyPatch
):
    """A rollback that cannot wait for it leaves the connection to the end of the statement."""
    shorten(monkeypatch, ending=0.2)
    others: list[asyncio.Task[list[str]]] = []
    may_end = asyncio.Event()
    event.listen(
        heroes.engine.sync_engine,
        "after_cursor_execute",
        lambda *_: await_only(may_end.wait()),
        once=True,
    )
    with pytest.raises(RollbackTimeout, match="other"):
        async with heroes.session() as session:
            others.append(asyncio.create_task(read(session), name="other"))
            await eventually(lambda: checked_out(heroes) == 1)
            raise ZeroDivisionError
    may_end.set()
    await asyncio.wait(others)
    assert checked_out(heroes) == 0
