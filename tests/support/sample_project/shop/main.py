"""An application with a handle of its own, whose settings name a database that is not there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI
from sqlalchemy import String, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fastapi_asyncdb import Database, DatabaseSettings, create_lifespan

database = Database(DatabaseSettings(url="postgresql://nobody@nowhere.invalid/production"))


@asynccontextmanager
async def warm_up(app: FastAPI) -> AsyncIterator[None]:
    async with database.read_session() as session:
        await session.execute(select(Item).limit(1))
    yield


app = FastAPI(lifespan=create_lifespan(databases=[database], lifespan=warm_up))
DB = Annotated[AsyncSession, Depends(database.get_db)]


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)


def create_app() -> FastAPI:
    return app


@app.post("/items/{name}", status_code=201)
async def create_item(name: str, db: DB) -> None:
    db.add(Item(name=name))


@app.get("/items")
async def list_items(db: DB) -> list[str]:
    return list(await db.scalars(select(Item.name).order_by(Item.name)))
