from typing import Annotated

from fastapi import Depends, FastAPI, Request
from sqlalchemy import String, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from fastapi_asyncdb import Database, DatabaseSettings, create_lifespan


class Base(DeclarativeBase):
    pass


class Tag(Base):
    __tablename__ = "tags"
    name: Mapped[str] = mapped_column(String(20), primary_key=True)


# The database of development, which is not there: a test that starts on it fails.
database = Database(
    DatabaseSettings(url="postgresql://nobody@nowhere.invalid/shop"), metadata=Base.metadata
)
DB = Annotated[AsyncSession, Depends(database.get_db)]
app = FastAPI(lifespan=create_lifespan(databases=[database]))


@app.post("/tags/{name}", status_code=201)
async def create_tag(name: str, db: DB) -> None:
    db.add(Tag(name=name))


@app.get("/tags")
async def list_tags(request: Request, db: DB) -> list[str]:
    return list(await db.scalars(select(Tag.name).order_by(Tag.name)))


async def seed(session: AsyncSession) -> None:
    session.add(Tag(name="seeded"))
