"""An application whose routes meet every error that a database has for a client."""

import asyncio
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, FastAPI
from pydantic import BaseModel
from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, MetaData, String, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fastapi_asyncdb import Base as LibraryBase
from fastapi_asyncdb import Database, Repository, VersionMixin
from fastapi_asyncdb.models import UTCDateTime

SECRET = "hunter2"  # the value that must show nowhere


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=LibraryBase.metadata.naming_convention)


class Shelf(VersionMixin, Base):
    """A row that can be refused in every way."""

    __tablename__ = "shelf"
    __table_args__ = (CheckConstraint("height >= 0", name="height_not_negative"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(String(20), unique=True, nullable=False)
    height: Mapped[int] = mapped_column(default=1)
    weight: Mapped[int | None] = mapped_column(BigInteger)
    made_at: Mapped[datetime | None] = mapped_column(UTCDateTime)
    below_id: Mapped[int | None] = mapped_column(ForeignKey("shelf.id"))


class Visit(Base):
    """A reference that PostgreSQL and SQLite check at COMMIT."""

    __tablename__ = "visit"
    id: Mapped[int] = mapped_column(primary_key=True)
    shelf_id: Mapped[int] = mapped_column(
        ForeignKey("shelf.id", deferrable=True, initially="DEFERRED")
    )


class ShelfIn(BaseModel):
    """What a client sends, without any limit: the database has to refuse it."""

    id: int | None = None
    name: str | None = SECRET
    height: int = 1
    weight: int | None = None
    made_at: datetime | None = None
    below_id: int | None = None


def shelves_app(database: Database, **options: Any) -> FastAPI:
    """Return the application, without handlers."""
    app = FastAPI(**options)
    DB = Annotated[AsyncSession, Depends(database.get_db)]
    ReadDB = Annotated[AsyncSession, Depends(database.get_read_db)]

    class Shelves(Repository[Shelf]):
        def __init__(self, session: DB) -> None:
            super().__init__(session)

    @app.post("/shelves", status_code=201)
    async def create(body: ShelfIn, db: DB) -> int:
        shelf = Shelf(**body.model_dump(exclude_none=True, exclude={"name"}), name=body.name)
        db.add(shelf)
        await db.flush()
        return shelf.id

    @app.get("/shelves/{shelf_id}")
    async def get(shelf_id: int, shelves: Annotated[Shelves, Depends()]) -> str | None:
        return (await shelves.get_or_raise(shelf_id)).name

    @app.get("/shelves")
    async def find(db: ReadDB, name: str, height: int | None = None) -> list[int]:
        found = select(Shelf.id).where(Shelf.name == name)
        return list(
            await db.scalars(found if height is None else found.where(Shelf.height == height))
        )

    @app.put("/shelves/{shelf_id}")
    async def change(shelf_id: int, db: DB) -> None:
        shelf = await db.get_one(Shelf, shelf_id)
        await db.execute(text("UPDATE shelf SET version = version + 1"))
        shelf.height += 1

    @app.post("/visits", status_code=201)
    async def visit(shelf_id: int, db: DB) -> None:
        db.add(Visit(shelf_id=shelf_id))

    @app.get("/wrong")
    async def wrong(db: DB) -> None:
        await db.execute(text("SELECT * FROM no_such_table WHERE name = :name"), {"name": SECRET})

    @app.get("/idle")
    async def idle(db: DB) -> str:
        await asyncio.sleep(0)
        return "served"

    return app
